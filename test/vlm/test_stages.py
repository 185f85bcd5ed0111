"""Both stages of learning, end to end, on tiny models of the real classes."""

from dataclasses import replace

from bags import make_episode, write_bag
from efm.cli import main
from efm_core.episode import Kind, Outcome
from efm_core.observation import MeasuredState
from efm_core.tokeniser import ActionTokeniser
from efm_model.checkpoint import load_checkpoint
from efm_model.network import log_probability
from efm_model.torch_runtime import TorchRuntime
from efm_model.vlm.network import new_vlm
from efm_policy.policy import Policy
from efm_reward.model import RewardModel
from efm_sim.rollout import rollout
from efm_trainer.config import SftConfig, VLM_PRACTICE
from efm_trainer.dataset import to_batch
from efm_trainer.imitation import make_objectives, OBJECTIVES
from efm_trainer.reinforce import Reinforce
from efm_trainer.sft import fine_tune
from efm_trainer.trainer import Trainer
from models import table_arm
import numpy as np
import pytest
import torch
from trainer_fakes import demonstrations, small_embodiment
from vlms import base_folder, FAMILIES, options

EMBODIMENT = small_embodiment()
CONFIG = SftConfig(
    iterations=12, batch_size=9, instruction_fraction=1 / 3, validate_every=6, learning_rate=2e-2
)


def losses_of(model):
    """Return the three losses on the demonstrations of stage 1."""
    episodes = demonstrations(EMBODIMENT, 3)
    found = make_objectives(model, episodes, EMBODIMENT, model.text_encoder, CONFIG).evaluate()
    model.eval()
    return {name: found[name] for name in OBJECTIVES}


def stage_one(directory, family, **changes):
    """Return the result of a short fine-tuning, and the base weights before it."""
    model = new_vlm(EMBODIMENT, options(family, **changes))
    before = {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}
    result = fine_tune(
        demonstrations(EMBODIMENT, 3),
        EMBODIMENT,
        model.text_encoder,
        CONFIG,
        directory,
        model=model,
    )
    return model, before, result


@pytest.mark.parametrize('family', FAMILIES)
def test_stage_1_improves_all_objectives_and_leaves_the_base_model_unchanged(family, tmp_path):
    fresh = losses_of(new_vlm(EMBODIMENT, options(family)))
    model, before, _ = stage_one(tmp_path, family)
    learned = losses_of(model)
    assert all(learned[name] < fresh[name] for name in OBJECTIVES), (fresh, learned)
    after = dict(model.named_parameters())
    assert before
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    for kind in ('policy', 'reward'):
        loaded, card = load_checkpoint(tmp_path / kind, EMBODIMENT)
        assert (card['kind'], card['family'], card['version']) == (kind, 'vlm', 1)
        assert loaded.config == model.config


def test_full_fine_tuning_changes_all_parts_of_the_model(tmp_path):
    model, before, _ = stage_one(tmp_path, 'paligemma', tuning='full', recompute=True)
    assert not before
    fresh = new_vlm(EMBODIMENT, options('paligemma', tuning='full'))
    assert losses_of(model)['action'] < losses_of(fresh)['action']
    old = dict(fresh.named_parameters())
    moved = [n for n, p in model.named_parameters() if not torch.equal(p, old[n])]
    assert any('vision_tower' in name for name in moved)
    assert any('language_model' in name for name in moved)


def test_the_same_seed_gives_the_same_adapters(tmp_path):
    one, other = (stage_one(tmp_path / name, 'smolvlm')[0].state_dict() for name in 'ab')
    assert all(torch.equal(one[name], other[name]) for name in one)


def learner(family, **changes):
    policy, reward = (new_vlm(EMBODIMENT, options(family, **changes), seed) for seed in (0, 1))
    config = replace(VLM_PRACTICE, update='episodes', learning_rate=1e-3, batch_size=64)
    return Reinforce(
        policy,
        reward,
        text_encoder=policy.text_encoder,
        scale=EMBODIMENT.steps_to_go,
        config=config,
    )


def weighed(learner, episodes):
    """Return the sum of R log p of the executed actions."""
    batch = learner.prepare(episodes)
    tokens = batch.episodes.tokens[batch.indices]
    with torch.no_grad():
        logits = learner.policy.policy_logits(
            learner.policy.features(batch.episodes.model_inputs(batch.indices)), tokens
        )
    return float((batch.returns * log_probability(logits, tokens)).sum())


@pytest.mark.parametrize('family', FAMILIES)
def test_stage_2_makes_rewarded_actions_more_probable_and_changes_no_frozen_part(family):
    one = learner(family)
    with (
        torch.no_grad()
    ):  # adapters start at zero, so that the reward model would ignore its input
        for value in one._reward_model.state_dict().values():
            value.add_(0.3 * torch.randn(value.shape, generator=torch.Generator().manual_seed(1)))
    episodes = [make_episode(EMBODIMENT, i, 4) for i in range(2)]
    grounding = dict(one.policy._transformer.get_encoder(modality='image').named_parameters())
    assert any('lora_' in name for name in grounding)
    sight = {name: value.detach().clone() for name, value in grounding.items()}
    reward = {name: value.clone() for name, value in one._reward_model.state_dict().items()}
    before = weighed(one, episodes)
    figures = [one.update(episodes) for _ in range(4)]
    assert weighed(one, episodes) > before
    assert figures[0]['samples'] == 8
    assert all(torch.equal(value, grounding[name]) for name, value in sight.items())
    assert all(torch.equal(reward[n], v) for n, v in one._reward_model.state_dict().items())


def test_microbatches_give_the_gradient_of_one_batch():
    found = []
    for max_batch_size in (3, 64):
        one = learner('smolvlm', max_batch_size=max_batch_size)
        figures = one.update([make_episode(EMBODIMENT, i, 4) for i in range(2)])
        assert figures['optimiser_steps'] == 1
        gradients = {n: p.grad for n, p in one.policy.named_parameters() if p.grad is not None}
        found.append((figures, gradients))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-3, abs=1e-6)
    for name, value in found[1][1].items():
        torch.testing.assert_close(found[0][1][name], value, rtol=1e-3, atol=1e-7)


class Line:
    """A world with one position, rendered as brightness; the goal is on the right."""

    instruction = 'push the red cube to the blue cylinder'

    def reset(self, seed):
        self._place = 0.1 * (seed % 3)

    def step(self, action):
        self._place = float(np.clip(self._place + 8 * action[0], 0, 1))

    def images(self):
        camera = EMBODIMENT.cameras[0]
        size = (camera.height, camera.width, 3)
        return (np.full(size, round(255 * self._place), np.uint8),)

    def state(self):
        return MeasuredState()

    def terminated(self):
        return False

    def success(self):
        return self._place > 0.9


def test_practice_in_one_process_is_reproducible(tmp_path):
    stage_one(tmp_path, 'qwen2_5_vl')
    policy, reward = (load_checkpoint(tmp_path / k, EMBODIMENT)[0] for k in ('policy', 'reward'))
    practice = replace(VLM_PRACTICE, update='episodes', learning_rate=1e-3)
    one = Reinforce(
        policy,
        reward,
        text_encoder=policy.text_encoder,
        scale=EMBODIMENT.steps_to_go,
        config=practice,
    )
    actor = Policy(TorchRuntime(policy), policy.text_encoder, embodiment=EMBODIMENT)
    reward_model = RewardModel(TorchRuntime(reward), reward.text_encoder, embodiment=EMBODIMENT)

    def practise():
        return rollout([Line(), Line()], actor, reward_model, range(3), EMBODIMENT, max_steps=4)

    episodes = practise()
    again = practise()
    for left, right in zip(episodes, again, strict=True):
        assert np.array_equal(left.tokens, right.tokens)
        assert left.kind is Kind.PRACTICE
    samples = to_batch(episodes, policy.text_encoder)
    rows = samples.has_action.nonzero()[:, 0]
    with torch.no_grad():
        logits = policy.policy_logits(
            policy.features(samples.model_inputs(rows)), samples.tokens[rows]
        )
    taught = log_probability(logits, samples.tokens[rows]).numpy()
    np.testing.assert_allclose(np.concatenate([e.log_probs for e in episodes]), taught, atol=1e-4)
    judged = one.prepare(episodes).steps_to_go.numpy()
    np.testing.assert_allclose(
        np.concatenate([e.steps_to_go for e in episodes]), judged, atol=1e-3
    )
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    one.update(episodes)
    assert any(not torch.equal(before[name], v) for name, v in policy.state_dict().items())


def write_demonstrations(run):
    tokeniser = ActionTokeniser(table_arm().action)
    for index in range(3):
        episode = make_episode(table_arm(), index, 3, kind=Kind.DEMONSTRATION)
        episode = replace(
            episode, outcome=Outcome.SUCCESS, tokens=tokeniser.encode(episode.actions)
        )
        folder = run / 'episodes' / 'demonstration'
        folder.mkdir(parents=True, exist_ok=True)
        write_bag(episode, folder / f'{index:06d}')


def test_efm_train_writes_checkpoints_of_a_vlm_and_no_release(tmp_path, capsys):
    run = tmp_path / 'run'
    base = str(base_folder('smolvlm'))
    write_demonstrations(run)
    words = ['--model', 'vlm', '--base', base, '--iterations', '2', '--rank', '2']
    words += ['--batch-size', '3']
    with pytest.raises(SystemExit) as done:
        main(['train', '--run', str(run), *words])
    said = capsys.readouterr()
    assert done.value.code == 0, said.err
    assert 'checkpoints' in said.out
    _, card = load_checkpoint(run / 'sft' / 'policy', table_arm())
    assert (card['sft']['learning_rate'], card['sft']['batch_size']) == (1e-4, 3)
    with pytest.raises(ValueError, match='whose releases are ONNX files'):
        Trainer(run, table_arm(), text_encoder=None)


def test_efm_train_reports_a_missing_base_model(tmp_path, capsys):
    words = ['train', '--run', str(tmp_path), '--model', 'vlm', '--base', 'nowhere']
    with pytest.raises(SystemExit) as done:
        main(words)
    assert done.value.code == 1
    assert 'expected a folder with a transformers model' in capsys.readouterr().err
