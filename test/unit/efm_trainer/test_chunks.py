"""Chunks in the trainer: targets of demonstrations, bags, losses of both stages."""

from __future__ import annotations

from dataclasses import replace

from bags import make_episode, write_bag
from efm_core.embodiment import load_embodiment
from efm_core.episode import Kind
from efm_core.tokeniser import ActionTokeniser
from efm_data.episodes import read_episode, TornBag
from efm_data.message_types import known_types
from efm_model.checkpoint import load_checkpoint
from efm_reward.reward import rewards
from efm_trainer.config import PRESETS, SftConfig
from efm_trainer.dataset import to_batch
from efm_trainer.imitation import with_chunks
from efm_trainer.reinforce import Reinforce
from efm_trainer.sft import fine_tune
import numpy as np
import pytest
from rosbags.typesys import get_types_from_msg, get_typestore, Stores
import torch
from trainer_fakes import FakeTextEncoder, small_embodiment, TABLE_ARM

TABLE = small_embodiment()
CHUNKED = replace(TABLE, action=replace(TABLE.action, chunk=3))
CONFIG = SftConfig(
    iterations=9, batch_size=12, validate_every=3, pretrained='none', learning_rate=3e-3
)


def small_aloha():
    """Return the paper's Aloha setting with small images."""
    robot = load_embodiment(TABLE_ARM.with_name('aloha.yaml'))
    return replace(robot, cameras=TABLE.cameras, observation_size=TABLE.observation_size)


def shown(robot, index=0, steps=7, **fields):
    """Return a demonstration, one action at each control step."""
    single = replace(robot, action=robot.action.single_step)
    fields = {'kind': Kind.DEMONSTRATION, 'embodiment_hash': robot.hash, **fields}
    return make_episode(single, index, steps, **fields)


def samples_of(*episodes, robot=CHUNKED):
    episodes = [with_chunks(episode, robot) for episode in episodes]
    return to_batch(episodes, FakeTextEncoder(), ActionTokeniser(robot.action))


def test_no_chunk_with_a_deliberate_mistake_is_imitated():
    batch = samples_of(shown(CHUNKED, steps=6, perturbed=np.arange(6) == 3))
    assert batch.has_action.tolist() == [True, False, False, False, True, True, False]


def test_each_control_step_of_a_demonstration_gets_the_chunk_that_starts_there():
    episode = shown(CHUNKED, steps=4)
    tokens = samples_of(episode).tokens
    step = ActionTokeniser(CHUNKED.action.single_step).encode(episode.actions).tolist()
    still = [5, 5]  # the middle level, no displacement
    assert tokens.tolist() == [
        step[0] + step[1] + step[2],
        step[1] + step[2] + step[3],
        step[2] + step[3] + still,
        step[3] + still + still,
        [0] * 6,
    ]


def test_steps_to_go_count_the_remaining_chunks_at_every_phase():
    samples = samples_of(shown(CHUNKED, steps=7))
    assert samples.steps_to_go.tolist() == [3, 2, 2, 2, 1, 1, 1, 0]
    # A demonstrated chunk has a reward of one step at every phase.
    d = samples.steps_to_go.numpy()
    for phase in (1, 2, 4):
        assert rewards(d[phase::3]).tolist() == [1.0] * len(d[phase::3][1:])


def test_the_previous_frame_is_one_chunk_earlier_as_in_the_policys_input():
    samples = samples_of(shown(CHUNKED, steps=4), shown(CHUNKED, 1, steps=3))
    assert samples.previous.tolist() == [0, 1, 2, 0, 1, 5, 6, 7, 5]


def test_steps_to_go_of_practice_count_decisions():
    samples = to_batch([make_episode(CHUNKED, steps=4)], FakeTextEncoder())
    assert samples.tokens.shape == (5, 6)
    assert samples.steps_to_go.tolist() == [4, 3, 2, 1, 0]
    assert samples.previous.tolist() == [0, 0, 1, 2, 3]


def test_a_demonstration_in_chunks_is_used_unchanged_and_another_chunk_length_is_refused():
    episode = make_episode(CHUNKED, kind=Kind.DEMONSTRATION)
    assert with_chunks(episode, CHUNKED) is episode
    with pytest.raises(ValueError, match='chunk steps: expected 1 or 1, got 3'):
        with_chunks(episode, TABLE)


@pytest.mark.parametrize('robot', [CHUNKED, small_aloha()], ids=lambda robot: robot.name)
def test_both_stages_learn_from_chunks(robot, tmp_path):
    episodes = [shown(robot, i, 5 + i) for i in range(4)]
    result = fine_tune(episodes, robot, FakeTextEncoder(), CONFIG, tmp_path)
    assert result.curve[-1]['training/action'] < 0.98 * result.curve[0]['training/action']
    policy, reward = (load_checkpoint(tmp_path / k, robot)[0] for k in ('policy', 'reward'))
    before = policy.policy.chunk_steps.weight.detach().clone()
    config = replace(PRESETS['paper'], batch_size=5, updates=3)
    learner = Reinforce(
        policy, reward, text_encoder=FakeTextEncoder(), scale=robot.steps_to_go, config=config
    )
    figures = learner.update([make_episode(robot, i, 5 + i) for i in range(3)])
    assert figures['samples'] == 15
    assert np.isfinite(figures['loss'])
    assert not torch.equal(policy.policy.chunk_steps.weight, before)


def test_a_bag_of_chunks_is_read_with_all_its_steps(tmp_path):
    episode = make_episode(CHUNKED)
    found = read_episode(write_bag(episode, tmp_path / 'bag'), CHUNKED)
    assert (found.tokens.shape, found.actions.shape) == ((4, 6), (4, 3, 2))
    assert found.observations.equals(episode.observations)
    for name in ('stamps', 'tokens', 'actions', 'log_probs', 'steps_to_go'):
        np.testing.assert_array_equal(getattr(found, name), getattr(episode, name), name)


def test_a_demonstration_may_have_one_action_for_each_control_step(tmp_path):
    episode = shown(CHUNKED)
    found = read_episode(write_bag(episode, tmp_path / 'bag'), CHUNKED)
    np.testing.assert_array_equal(found.actions, episode.actions)


@pytest.mark.parametrize(
    ('episode', 'steps'),
    [
        (make_episode(replace(TABLE, action=replace(TABLE.action, chunk=2))), r'\[2\]'),
        (make_episode(TABLE), r'\[1\]'),
        (shown(CHUNKED, kind=Kind.PRACTICE), r'\[1\]'),
    ],
    ids=['two_steps', 'another_robot', 'practice_without_chunks'],
)
def test_a_bag_with_another_chunk_length_is_refused_with_the_reason(tmp_path, episode, steps):
    bag = write_bag(episode, tmp_path / 'bag')
    with pytest.raises(
        ValueError, match=f'chunk steps of an action: expected 3 .*, got {steps}'
    ) as error:
        read_episode(bag, CHUNKED)
    assert not isinstance(error.value, TornBag)


def test_a_bag_of_chunks_is_refused_by_a_robot_without_chunks(tmp_path):
    bag = write_bag(make_episode(CHUNKED), tmp_path / 'bag')
    with pytest.raises(ValueError, match=r'chunk steps of an action: expected 1 .*, got \[3\]'):
        read_episode(bag, TABLE)


def test_a_chunk_counts_if_at_least_one_of_its_steps_was_executed(tmp_path):
    episode = make_episode(CHUNKED)
    first, second, _, fourth, _ = episode.stamps.tolist()
    period = (second - first) // 3
    commands = (first, second + 2 * period, fourth + period)
    bag = write_bag(episode, tmp_path / 'bag', commands=commands, steps=3)
    found = read_episode(bag, CHUNKED)
    np.testing.assert_array_equal(found.stamps, episode.stamps[[0, 1, 3, 4]])
    np.testing.assert_array_equal(found.actions, episode.actions[[0, 1, 3]])


def test_images_within_a_chunk_need_no_action(tmp_path):
    episode = make_episode(CHUNKED, steps=2)
    bag = write_bag(episode, tmp_path / 'bag', without=('observation',), between=True)
    found = read_episode(bag, CHUNKED)
    np.testing.assert_array_equal(found.stamps, episode.stamps)


def test_a_missing_chunk_is_an_error_although_images_within_chunks_need_no_action(tmp_path):
    episode = make_episode(CHUNKED, steps=3)
    late = replace(episode, stamps=episode.stamps + np.repeat([0, 10**9], 2))
    bag = write_bag(late, tmp_path / 'bag', without=('observation',), between=True)
    with pytest.raises(TornBag, match='missing: action'):
        read_episode(bag, CHUNKED)


OLDER = """std_msgs/Header header
builtin_interfaces/Time deadline
string episode_id
uint32 step
string source
uint32 policy_version
string embodiment_hash
int32[] tokens
float32 log_probability
float32[] values
"""


def older_types(definitions):
    """Return the message types of the version before chunks."""
    name = 'efm_interfaces/msg/Action'
    store = get_typestore(Stores.EMPTY)
    store.register({**known_types(), **get_types_from_msg(OLDER, name)})
    return store


def test_a_bag_of_the_version_before_chunks_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr('bags.typestore_for', older_types)
    episode = make_episode(TABLE)
    bag = write_bag(episode, tmp_path / 'bag')
    monkeypatch.undo()
    assert b'uint32 rows' not in next(bag.glob('*.mcap')).read_bytes()
    found = read_episode(bag, TABLE)
    np.testing.assert_array_equal(found.actions, episode.actions)
    np.testing.assert_array_equal(found.tokens, episode.tokens)
