"""Prompts with several cameras and the measured state, and models that learn from them."""

from __future__ import annotations

from dataclasses import replace
import json

from efm_core.embodiment import Proprioception
from efm_core.episode import Kind
from efm_core.tokeniser import ActionTokeniser
from efm_model.checkpoint import load_checkpoint, save_checkpoint
from efm_model.network import log_probability
from efm_model.runtime import pad
from efm_model.vlm.network import new_vlm
from efm_model.vlm.prompts import describe_state
from efm_policy.policy import gumbel
from efm_policy.serving.loading import load_vlm_policy
from efm_trainer.config import SftConfig, VLM_PRACTICE
from efm_trainer.dataset import to_batch
from efm_trainer.imitation import make_objectives, OBJECTIVES
from efm_trainer.reinforce import Reinforce
from efm_trainer.sft import fine_tune
from models import table_arm
import numpy as np
import pytest
import torch
from visuomotor import gripper_arm, noise_episode
from vlms import FAMILIES, options

SCENE, WRIST = gripper_arm().cameras
ROBOT = gripper_arm(cameras=(replace(SCENE, name='top'), replace(WRIST, size=(16, 40))))
BARE = gripper_arm(cameras=(SCENE,), proprioception=())
TASK = 'grasp the red block'
STATE = 'State: joint positions x 0.125, y -1.500, gripper 0.000.'
ACTION = 'Question: what action does the robot take now? Answer:'
STEPS = 'Question: how many steps are left to do it? Answer:'
BETWEEN = 'Question: what did the robot do between these pictures? Answer:'
CONFIG = SftConfig(
    iterations=12, batch_size=9, instruction_fraction=1 / 3, validate_every=6, learning_rate=2e-2
)
MARKS = {
    'paligemma': '<image>',
    'idefics3': '<image>',
    'smolvlm': '<image>',
    'qwen2_5_vl': '<|vision_start|><|image_pad|><|vision_end|>',
}


class WatchedInputs(dict):
    """Inputs that keep the names of those that were read."""

    def __init__(self, inputs):
        super().__init__(inputs)
        self.read = set()

    def __getitem__(self, name):
        self.read.add(name)
        return super().__getitem__(name)


def in_chat(family, message):
    """Return a prompt of a family; all but PaliGemma have a chat template."""
    if family == 'paligemma':
        return message
    return f'<|im_start|>user\n{message}<|im_end|>\n<|im_start|>assistant\n'


def inputs_of(model, robot, count=2, seed=0):
    """Return all inputs that a robot has, with the state of ``STATE`` in the first row."""
    rng = np.random.default_rng(seed)
    text, mask = pad([model.text_encoder.encode(TASK)] * count)
    found = {'text': torch.from_numpy(text), 'text_mask': torch.from_numpy(mask)}
    for camera, (height, width) in enumerate(robot.image_sizes):
        frames = rng.integers(0, 256, (count, 2, height, width, 3), np.uint8)
        found[f'observations_{camera}' if camera else 'observations'] = torch.from_numpy(frames)
    if robot.proprioception:
        states = rng.normal(0, 2, (count, 2, len(robot.proprioception_names)))
        states[0, 1] = 0.125, -1.5, -0.0002
        found['proprioception'] = torch.from_numpy(states.astype(np.float32))
    return found


def noise(count):
    return torch.from_numpy(np.stack([gumbel(0, step, (3, 11)) for step in range(count)]))


@pytest.fixture(scope='module', params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope='module')
def model(family):
    return new_vlm(ROBOT, options(family), seed=1)


def test_one_camera_without_measured_state_keeps_the_prompts_of_earlier_versions(family):
    model = new_vlm(BARE, options(family))
    seen = model.features(inputs_of(model, BARE, 1))
    pictures = 2 * MARKS[family]
    for task, question in (
        ('action', f'Instruction: {TASK} {ACTION}'),
        ('steps_to_go', f'Instruction: {TASK} {STEPS}'),
        ('instruction', BETWEEN),
    ):
        assert model.prompter.texts(task, seen) == [in_chat(family, pictures + question)]


def test_a_prompt_names_the_cameras_in_their_order_and_the_numbers_of_the_state(family, model):
    seen = model.features(inputs_of(model, ROBOT))
    mark = MARKS[family]
    for task, question in (('action', ACTION), ('steps_to_go', STEPS)):
        asked = f'{STATE} Instruction: {TASK} {question}'
        pictures = (
            f'{4 * mark}Pictures: previous and current of top, wrist. '
            if family == 'paligemma'
            else f'Camera top, previous and current picture: {2 * mark}'
            f'Camera wrist, previous and current picture: {2 * mark}'
        )
        assert model.prompter.texts(task, seen)[0] == in_chat(family, pictures + asked)


def test_the_instruction_is_asked_from_the_first_camera_alone(family, model, monkeypatch):
    texts = model.prompter.texts
    asked = []

    def kept(task, inputs):
        asked.append(texts(task, inputs))
        return asked[-1]

    monkeypatch.setattr(model.prompter, 'texts', kept)
    first, last = inputs_of(model, ROBOT)['observations'].unbind(1)
    pieces = model.encode_pieces(model.text_encoder.pieces(TASK))
    logits = model.instruction_logits(first, last, torch.tensor([pieces[:-1]] * 2))
    assert logits.shape[:2] == (2, len(pieces) - 1)
    assert asked == [[in_chat(family, 2 * MARKS[family] + BETWEEN)] * 2]


def test_a_template_that_puts_pictures_first_gets_the_names_behind_them():
    model = new_vlm(ROBOT, options('smolvlm'))
    template = (
        "{% for part in messages[0].content if part.type == 'image' %}<image>{% endfor %}{{ ' ' }}"
        "{% for part in messages[0].content if part.type == 'text' %}{{ part.text }}{% endfor %}"
    )
    model.prompter._processor.chat_template = template
    prompter = type(model.prompter)(
        model.prompter._processor,
        'smolvlm',
        device=torch.device('cpu'),
        cameras=('top', 'wrist'),
        proprioception=ROBOT.proprioception_names,
    )
    asked = f'{STATE} Instruction: {TASK} {ACTION}'
    assert prompter.texts('action', model.features(inputs_of(model, ROBOT, 1))) == [
        f'<image><image><image><image> Pictures: previous and current of top, wrist. {asked}'
    ]


def test_pictures_are_in_the_order_of_cameras_previous_before_current():
    model = new_vlm(ROBOT, options('paligemma'))
    inputs = inputs_of(model, ROBOT, 1)
    shades = {'observations': (0, 60), 'observations_1': (120, 240)}
    for name, pair in shades.items():
        for frame, shade in enumerate(pair):
            inputs[name][:, frame] = shade
    pixels = model.prompter.build('action', model.features(inputs))['pixel_values']
    found = pixels.flatten(1)
    expected = 2 * torch.tensor([0, 60, 120, 240]) / 255 - 1  # SigLIP's scale
    torch.testing.assert_close(found, expected[:, None].expand_as(found), atol=1e-4, rtol=0)


def test_a_state_is_text_with_three_decimals_and_each_source_once():
    tool = Proprioception('tool_pose').names[:2]
    names = ('joint_positions.a.b', 'joint_positions.slide', 'joint_velocities.a.b', *tool)
    assert describe_state(names, [1.23449, -0.0004, 12.0, -0.5, 1e-9]) == (
        'State: joint positions a.b 1.234, slide 0.000; joint velocities a.b 12.000; '
        'tool pose x -0.500, y 0.000.'
    )


def test_a_state_with_other_numbers_than_the_robot_names_is_refused(model):
    inputs = inputs_of(model, ROBOT)
    inputs['proprioception'] = inputs['proprioception'][..., :2]
    with pytest.raises(ValueError, match='shorter'):
        model.policy_logits(model.features(inputs), torch.tensor([[3, 4, 5]] * 2))


def test_only_inputs_that_the_robot_has_are_read(family):
    for robot in (
        BARE,
        ROBOT,
        replace(ROBOT, proprioception=()),
        replace(ROBOT, cameras=ROBOT.cameras[:1]),
    ):
        model = new_vlm(robot, options(family))
        own = inputs_of(model, robot)
        given = WatchedInputs({**inputs_of(model, ROBOT), **own})
        seen = model.features(given)
        assert given.read == set(own)
        assert model.steps_to_go_logits(seen).isfinite().all()


def test_sampling_agrees_with_teacher_forcing(model):
    seen = model.features(inputs_of(model, ROBOT, 3))
    tokens, found, logits = model.sample(seen, noise(3))
    with torch.no_grad():
        taught = model.policy_logits(seen, tokens)
    assert logits.shape == (3, 3, 11)
    torch.testing.assert_close(logits, taught, rtol=0, atol=1e-5)
    torch.testing.assert_close(found, log_probability(taught, tokens), rtol=0, atol=1e-5)
    assert model.steps_to_go_logits(seen).shape == (3, 21)


def test_each_picture_and_the_current_state_change_the_answers(model):
    inputs = inputs_of(model, ROBOT)
    tokens = torch.tensor([[3, 4, 5]] * 2)

    def answers(inputs):
        seen = model.features(inputs)
        with torch.no_grad():
            logits = model.policy_logits(seen, tokens)
            return torch.cat([logits.flatten(1), model.steps_to_go_logits(seen)], dim=1)

    before = answers(inputs)
    for name in ('observations', 'observations_1', 'proprioception'):
        for frame in range(2):
            other = {**inputs, name: inputs[name].clone()}
            other[name][:, frame] = inputs[name][:, frame].flip(0)
            change = (answers(other) - before).abs().max()
            used = name != 'proprioception' or frame == 1
            assert change > 1e-6 if used else change == 0


def test_a_longer_state_in_the_batch_does_not_change_the_logits(model):
    inputs = inputs_of(model, ROBOT)
    inputs['proprioception'][1] = -123.456
    alone = {name: value[:1] for name, value in inputs.items()}
    with torch.no_grad():
        both, one = (model.steps_to_go_logits(model.features(part)) for part in (inputs, alone))
    torch.testing.assert_close(both[:1], one, rtol=0, atol=1e-5)


def test_tokens_of_the_answers_do_not_occur_in_a_prompt(model):
    tokens = model.config.tokens
    built = model.prompter.build('action', model.features(inputs_of(model, ROBOT, 9)))
    assert not {*tokens.action, *tokens.steps_to_go} & set(built['input_ids'].flatten().tolist())


def test_a_checkpoint_holds_the_names_of_cameras_and_numbers(model, tmp_path):
    directory = save_checkpoint(tmp_path / 'policy', model, ROBOT, 'policy', 1)
    loaded, card = load_checkpoint(directory, ROBOT)
    assert card['model']['cameras'] == ['top', 'wrist']
    assert card['model']['proprioception'] == [
        'joint_positions.x',
        'joint_positions.y',
        'joint_positions.gripper',
    ]
    assert loaded.config == model.config
    inputs = inputs_of(model, ROBOT)
    found, expected = (
        one.sample(one.features(inputs), noise(2))[2].detach() for one in (loaded, model)
    )
    assert torch.equal(found, expected)


def test_a_checkpoint_of_an_earlier_version_sees_the_first_camera_alone(tmp_path):
    directory = save_checkpoint(
        tmp_path / 'policy', new_vlm(BARE, options('smolvlm')), ROBOT, 'policy', 1
    )
    card = json.loads((directory / 'config.json').read_text())
    for name in ('cameras', 'proprioception'):
        del card['model'][name]
    (directory / 'config.json').write_text(json.dumps(card))
    model, _ = load_checkpoint(directory, ROBOT)
    texts = model.prompter.texts('action', model.features(inputs_of(model, ROBOT, 1)))
    assert texts == [in_chat('smolvlm', f'<image><image>Instruction: {TASK} {ACTION}')]


def test_a_served_policy_acts_from_all_cameras_and_the_state(tmp_path):
    folder = save_checkpoint(
        tmp_path / 'policy', new_vlm(ROBOT, options('qwen2_5_vl')), ROBOT, 'policy', 1
    )
    policy = load_vlm_policy(str(folder), ROBOT)
    batch = to_batch([noise_episode(ROBOT)], policy.text_encoder)
    episode = noise_episode(ROBOT)
    policy.begin(episode.instruction, 3)
    model, _ = load_checkpoint(folder, ROBOT)
    for step in range(2):
        acted = policy.act(episode.observations[step])
        seen = model.features(batch.model_inputs(torch.tensor([step])))
        drawn = torch.from_numpy(gumbel(3, step, (3, 11)))[None]
        assert acted.tokens.tolist() == model.sample(seen, drawn)[0][0].tolist()


def demonstrations():
    """Return demonstrations of one action that repeats; a model can learn it."""
    found = []
    for index in range(3):
        steps = 3 + index
        actions = np.tile(np.float32([0.15, -0.15, 1.0]), (steps, 1))
        tokens = ActionTokeniser(ROBOT.action).encode(actions)
        changed = {'actions': actions, 'tokens': tokens, 'kind': Kind.DEMONSTRATION}
        found.append(replace(noise_episode(ROBOT, index, steps), **changed))
    return found


def losses_of(model):
    found = make_objectives(model, demonstrations(), ROBOT, model.text_encoder, CONFIG).evaluate()
    model.eval()
    return {name: found[name] for name in OBJECTIVES}


def test_both_stages_learn_from_two_cameras_and_the_state(family, tmp_path):
    model = new_vlm(ROBOT, options(family))
    fresh = losses_of(model)
    fine_tune(demonstrations(), ROBOT, model.text_encoder, CONFIG, tmp_path, model=model)
    policy, reward = (load_checkpoint(tmp_path / kind, ROBOT)[0] for kind in ('policy', 'reward'))
    learned = losses_of(reward)
    assert all(learned[name] < fresh[name] for name in OBJECTIVES), (fresh, learned)
    assert losses_of(policy)['action'] < fresh['action'] / 2

    config = replace(VLM_PRACTICE, update='episodes', learning_rate=1e-3, batch_size=64)
    learner = Reinforce(
        policy,
        reward,
        text_encoder=policy.text_encoder,
        scale=ROBOT.steps_to_go,
        config=config,
    )
    episodes = [noise_episode(ROBOT, i) for i in range(2)]
    batch = learner.prepare(episodes)
    tokens = batch.episodes.tokens[batch.indices]

    def weighed():
        with torch.no_grad():
            seen = policy.features(batch.episodes.model_inputs(batch.indices))
            logits = policy.policy_logits(seen, tokens)
        return float((batch.returns * log_probability(logits, tokens)).sum())

    before = weighed()
    for _ in range(4):
        figures = learner.update(episodes)
    assert weighed() > before
    assert figures['samples'] == 8


def test_the_simulated_table_has_one_camera_and_no_state():
    config = new_vlm(table_arm(), options('smolvlm')).config
    assert (len(config.cameras), config.proprioception) == (1, ())
