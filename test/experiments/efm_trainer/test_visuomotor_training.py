"""Both stages with the visuomotor model, in small."""

from dataclasses import replace

from efm_core.episode import Outcome
from efm_model.checkpoint import load_checkpoint
from efm_model.visuomotor import new_visuomotor
from efm_trainer.augmentation import Augmentation
from efm_trainer.config import PRESETS, STAGE_ONE
from efm_trainer.dataset import compute_all_features, feature_lookup, to_batch
from efm_trainer.imitation import make_objectives
from efm_trainer.reinforce import Reinforce
from efm_trainer.sft import fine_tune
from efm_trainer.state import restore, write_state
import numpy as np
import pytest
import torch
from trainer_fakes import FakeTextEncoder
from visuomotor import gripper_arm, noise_episode

ROBOT = gripper_arm()
CONFIG = replace(
    STAGE_ONE['visuomotor'],
    iterations=4,
    batch_size=12,
    validate_every=2,
    hidden_size=16,
    reward_network='shared',
    second_reward=False,
)
ENCODER = FakeTextEncoder()
FIRST = torch.arange(6)


def noise(count=4, **fields):
    return [noise_episode(ROBOT, index, 3 + index, **fields) for index in range(count)]


def train(folder, episodes=None, robot=ROBOT, **changes):
    config = replace(CONFIG, **changes)
    return fine_tune(episodes or noise(), robot, ENCODER, config, folder, family='visuomotor')


def objectives(model, episodes=None, change=None, **changes):
    config = replace(CONFIG, **changes)
    return make_objectives(model, episodes or noise(), ROBOT, ENCODER, config, change)


def model_of(pieces=('grasp',), seed=0):
    return new_visuomotor(ROBOT, seed, pieces, hidden_size=16)


def test_stage_1_trains_encoder_and_heads_and_both_checkpoints_load(tmp_path):
    train(tmp_path)
    fresh = model_of(tuple(sorted({'grasp', 'the', 'red', 'block'})))
    for kind in ('policy', 'reward'):
        model, card = load_checkpoint(tmp_path / kind, ROBOT)
        assert (card['family'], card['kind']) == ('visuomotor', kind)
        pairs = zip(model.named_parameters(), fresh.parameters(), strict=True)
        still = {name for (name, one), other in pairs if torch.equal(one, other)}
        assert not still


def test_the_same_seed_gives_the_same_weights(tmp_path):
    one, other = (
        load_checkpoint(train(tmp_path / name).policy, ROBOT)[0].state_dict() for name in 'ab'
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize('chunk', [1, 2])
def test_the_checkpoint_standardises_with_the_training_data(tmp_path, chunk):
    robot = replace(ROBOT, action=replace(ROBOT.action, chunk=chunk))
    episodes = [replace(e, embodiment_hash=robot.hash) for e in noise()]
    train(tmp_path, episodes, robot, validation_fraction=0.0)
    held_out = int(torch.randperm(4, generator=torch.Generator().manual_seed(CONFIG.seed))[0])
    states = [e.observations.proprioception for i, e in enumerate(episodes) if i != held_out]
    moves = np.concatenate([part[chunk:] - part[:-chunk] for part in states])
    standardiser = load_checkpoint(tmp_path / 'policy', robot)[0].encoder.standardiser
    values = np.concatenate(states)
    np.testing.assert_allclose(standardiser.mean, values.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(standardiser.scale, 1 / values.std(axis=0), rtol=1e-5)
    np.testing.assert_allclose(standardiser.change_scale, 1 / moves.std(axis=0), rtol=1e-5)


@torch.no_grad()
def test_training_changes_images_and_validation_does_not():
    model = model_of()
    augmented = objectives(model, change=Augmentation(0))
    plain = objectives(model)
    samples = {'action': torch.arange(3)}
    assert augmented.losses(samples) != augmented.losses(samples)
    assert plain.losses(samples) == plain.losses(samples)
    assert plain.evaluate() == plain.evaluate()


def test_only_the_training_set_is_augmented(tmp_path, monkeypatch):
    changed = []
    monkeypatch.setattr(Augmentation, '__call__', lambda _, inputs: changed.append(1) or inputs)
    train(tmp_path, iterations=2, validate_every=1)
    assert len(changed) == 2  # one pass an optimiser step; two validations add none


def test_shared_samples_have_the_losses_of_separate_ones():
    model = model_of()
    samples = {'action': torch.tensor([1, 0, 1]), 'steps_to_go': torch.tensor([3, 1])}
    shared, apart = (objectives(model, shared_samples=value) for value in (True, False))
    one, other = (each.losses(samples) for each in (shared, apart))
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name])


def test_shared_samples_are_encoded_once(monkeypatch):
    model = model_of()
    imitation = objectives(model)
    counts = []
    encode = model.features
    monkeypatch.setattr(
        model, 'features', lambda inputs: counts.append(len(inputs['text'])) or encode(inputs)
    )
    imitation.losses({'action': torch.tensor([1, 0, 1]), 'steps_to_go': torch.tensor([3, 1])})
    assert counts == [3]  # observations 0, 1 and 3


def test_drawn_samples_are_shared_as_far_as_they_have_targets():
    episodes = [*noise(2), noise_episode(ROBOT, 2, 3, outcome=Outcome.UNLABELLED)]
    imitation = objectives(model_of(), episodes)
    counts = {'action': 300, 'steps_to_go': 300, 'instruction': 2}
    drawn = imitation.draw(counts, torch.Generator().manual_seed(0))
    # observations 0 to 3 and 4 to 8 have goals, 9 to 12 have none; 3, 8 and 12 have no action
    assert set(drawn['action'].tolist()) == set(range(12)) - {3, 8}
    assert set(drawn['steps_to_go'].tolist()) == set(range(9))
    both = set(range(8)) - {3}
    one, other = ([i for i in drawn[k].tolist() if i in both] for k in ('action', 'steps_to_go'))
    assert one == other


def make_learner(**changes):
    policy, reward = (model_of(seed=seed) for seed in (0, 1))
    config = replace(PRESETS['default'], batch_size=5, **changes)
    return Reinforce(policy, reward, text_encoder=ENCODER, scale=ROBOT.steps_to_go, config=config)


def test_stage_2_trains_the_trunk_and_the_policy_head_only():
    learner = make_learner()
    before = {name: value.clone() for name, value in learner.policy.state_dict().items()}
    learner.update(noise())
    after = learner.policy.state_dict()
    moved = {name.split('.')[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {'trunk', 'policy'}


def test_stage_2_with_cached_features_learns_what_it_learns_without(monkeypatch):
    cached = make_learner()
    uncached = make_learner()
    figures = cached.update(noise())
    monkeypatch.setattr(type(uncached.policy), 'features_are_frozen', False)
    expected = uncached.update(noise())
    assert figures == pytest.approx(expected, rel=1e-4, abs=1e-5)
    pairs = zip(cached.policy.parameters(), uncached.policy.parameters(), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_stage_2_encodes_each_observation_once_for_each_model(monkeypatch):
    learner = make_learner()
    counts = {}
    encode = type(learner.policy).features

    def count(model, inputs):
        counts[id(model)] = counts.get(id(model), 0) + len(inputs['text'])
        return encode(model, inputs)

    monkeypatch.setattr(type(learner.policy), 'features', count)
    learner.update(noise())
    observations = 4 + 5 + 6 + 7
    assert counts == {
        id(learner._reward_model): observations,
        id(learner.policy): observations,
    }


def test_equal_encoders_encode_once_for_both(monkeypatch):
    config = replace(PRESETS['default'], batch_size=5)
    learner = Reinforce(
        model_of(), model_of(), text_encoder=ENCODER, scale=ROBOT.steps_to_go, config=config
    )
    counts = []
    encode = type(learner.policy).features
    monkeypatch.setattr(
        type(learner.policy),
        'features',
        lambda model, inputs: counts.append(len(inputs['text'])) or encode(model, inputs),
    )
    learner.update(noise())
    assert sum(counts) == 4 + 5 + 6 + 7


def test_frozen_features_are_those_of_the_model():
    model = model_of()
    batch = to_batch(noise(), ENCODER)
    expected = model.features(batch.model_inputs(FIRST))
    model.freeze_vision()
    torch.testing.assert_close(feature_lookup(model, batch)(FIRST), expected)
    torch.testing.assert_close(compute_all_features(model, batch)[FIRST], expected)


def test_a_restored_learner_continues_as_the_one_that_was_stored(tmp_path):
    learner = make_learner()
    learner.update(noise())
    write_state(tmp_path / 'state', learner, {'version': 2})
    restored = make_learner()
    restore(tmp_path / 'state', restored)
    assert learner.update(noise()) == restored.update(noise())
    for name, value in learner.deployed.state_dict().items():
        assert torch.equal(value, restored.deployed.state_dict()[name]), name
