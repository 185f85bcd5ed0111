"""Both stages on Meta-World in small: caches, scenes, evaluations and methods of practice."""

from __future__ import annotations

from dataclasses import replace

from efm_experiments import progress
from efm_experiments.config import DEMONSTRATION_SCENES, EVALUATION_SCENES, PRACTICE_SCENES
from efm_experiments.metaworld import evaluation, practice, stage_one
from efm_experiments.metaworld.config import (
    CLONING,
    LABELLED_SCENES,
    LIMITS,
    limits_of,
    load_robot,
    make_worlds,
    MetaWorldCell,
    NEW_TASK,
    OWN_REWARD,
    scenes_of,
    sentences_of,
    SEPARATE,
    StageOne,
    TEN,
    TRUE_REWARD,
)
from efm_experiments.metaworld.evaluation import NEVER
from efm_experiments.studies import mt10
from models import FakeTextEncoder
import numpy as np
import pytest
import torch

pytest.importorskip('metaworld', reason='metaworld is not here; `make setup` installs it')

TASKS = ('button-press-topdown-v3', 'reach-v3')
TINY = StageOne(TASKS, 2, iterations=2)
CELL = MetaWorldCell(TINY, practice=1, evaluations=1, episodes_per_update=2)


@pytest.fixture(scope='module', autouse=True)
def cache(tmp_path_factory):
    """Give all tests one cache, so that they share their stage 1."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('EFM_CACHE', str(tmp_path_factory.mktemp('cache')))
        for module in (practice, stage_one):
            patch.setattr(module, 'text_encoder', FakeTextEncoder)
        yield


def weights(model):
    return torch.cat([value.flatten() for value in model.state_dict().values()])


def test_the_ten_tasks_are_those_of_the_package_with_a_limit_each():
    import metaworld.env_dict

    assert tuple(metaworld.env_dict.MT10_V3) == TEN
    assert NEW_TASK not in TEN
    assert max(LIMITS.values()) == load_robot().episode.max_steps
    assert limits_of(TEN)['close the drawer'] == LIMITS['drawer-close-v3']
    assert len(set(sentences_of((*TEN, NEW_TASK)).values())) == 11


def test_no_two_purposes_and_no_two_seeds_share_a_scene():
    purposes = (DEMONSTRATION_SCENES, PRACTICE_SCENES, EVALUATION_SCENES, LABELLED_SCENES)
    found = [scenes_of(purpose, seed, TEN, 1000) for purpose in purposes for seed in (0, 1, 100)]
    assert len({scene for scenes in found for scene in scenes}) == len(found) * 10_000
    assert [scene % 10 for scene in found[1]][:12] == [*range(10), 0, 1]


def test_a_new_task_is_of_the_same_robot():
    (world,) = make_worlds((NEW_TASK,), 1)
    world.reset(3)
    assert (world.instruction, world.info()['task']) == ('open the faucet', NEW_TASK)


def test_stage_one_of_a_seed_is_made_once(monkeypatch):
    first = stage_one.load_or_train(TINY, 3)
    monkeypatch.setattr(stage_one, 'fine_tune', None)  # a call would fail
    again = stage_one.load_or_train(TINY, 3)
    assert torch.equal(weights(first.policy), weights(again.policy))
    assert first.robot == again.robot
    with pytest.raises(TypeError):
        stage_one.load_or_train(TINY, 4)


def test_demonstrations_from_disk_are_the_collected_ones_of_each_task(monkeypatch):
    first = stage_one.demonstrations(TINY, 5)
    monkeypatch.setattr(stage_one, 'collect', None)
    again = stage_one.demonstrations(TINY, 5)
    assert [e.instruction for e in first] == [
        s for s in sentences_of(TASKS).values() for _ in '12'
    ]
    marks = [episode.perturbed is not None for episode in first]
    assert any(marks)  # bursts of noise
    for one, other in zip(first, again, strict=True):
        assert one.observations.equals(other.observations)
        np.testing.assert_array_equal(one.actions, other.actions)
        np.testing.assert_array_equal(one.tokens, other.tokens)
        np.testing.assert_array_equal(one.perturbed, other.perturbed)
        assert one.true_success_per_step.sum() == 1


def test_labels_change_the_reward_model_and_leave_the_policy():
    plain = stage_one.load_or_train(TINY, 3)
    labelled = stage_one.load_or_train(replace(TINY, labels=2, reward=SEPARATE), 3)
    assert torch.equal(weights(plain.policy), weights(labelled.policy))
    assert labelled.reward.config.proprioception_size == 0
    assert plain.reward.config.proprioception_size == 4
    attempts = stage_one.labelled_attempts(replace(TINY, labels=2, reward=SEPARATE), 3)
    assert len(attempts) == 4
    for attempt in attempts:
        truth = attempt.episode.true_success_per_step
        assert attempt.success_at is None or truth[attempt.success_at]
        assert truth.any() == (attempt.success_at is not None)


def test_a_new_stage_one_begins_with_the_weights_of_another():
    new = StageOne((NEW_TASK,), 2, iterations=1, start=TINY)
    start = weights(stage_one.load_or_train(TINY, 3).policy)
    found = weights(stage_one.load_or_train(new, 3).policy)
    other = weights(stage_one.load_or_train(replace(new, start=None), 3).policy)
    assert (found - start).abs().max() < 0.01  # one step
    assert len(other) != len(start) or (other - start).abs().max() > 0.1


def test_an_evaluation_has_each_scene_of_each_task_and_is_made_once(monkeypatch):
    cell = replace(CELL, evaluations=2)
    models = stage_one.load_or_train(TINY, 3)
    found = evaluation.evaluate_before(cell, models, 3)
    assert set(found) == {f'{n}_before_{t}' for n in ('reached', 'fired', 'right') for t in TASKS}
    for task in TASKS:
        assert len(found[f'reached_before_{task}']) == 2
        assert max(found[f'reached_before_{task}']) <= LIMITS[task]
    monkeypatch.setattr(evaluation, 'evaluate', None)
    assert evaluation.evaluate_before(cell, models, 3) == found


def test_columns_are_the_first_goal_the_detection_and_the_truth_there():
    models = stage_one.load_or_train(TINY, 3)
    shown = stage_one.demonstrations(TINY, 3)[0]
    steps = len(shown)
    rules = models.robot.episode
    d = np.full(steps + 1, 50, np.float32)
    never = replace(shown, steps_to_go=d, true_success_per_step=np.zeros(steps + 1, bool))
    early = d.copy()
    early[3 : 3 + rules.success_dwell] = 0
    late = d.copy()
    late[-rules.success_dwell :] = 0
    episodes = [never, replace(shown, steps_to_go=early), replace(shown, steps_to_go=late)]
    found = dict(evaluation.columns(episodes, models))
    assert found['reached'] == [NEVER, steps, steps]
    assert found['fired'] == [NEVER, 2 + rules.success_dwell, steps]
    assert found['right'] == [0, 0, 1]


def test_other_noise_gives_other_actions_in_the_same_scene():
    models = stage_one.load_or_train(TINY, 3)
    policy, _ = stage_one.acting(models, 1)
    other, _ = stage_one.acting(models, 1, evaluation.OtherNoise)
    (world,) = make_worlds(TASKS, 1)
    world.reset(1)
    assert policy.start(world.instruction, 1).seed != other.start(world.instruction, 1).seed


@pytest.mark.parametrize('method', [OWN_REWARD, TRUE_REWARD, CLONING])
def test_practice_changes_a_copy_of_the_policy_and_nothing_else(method):
    models = stage_one.load_or_train(TINY, 3)
    practised = models.copy()
    before = weights(models.policy).clone()
    reward = weights(models.reward).clone()
    log = practice.practise(replace(CELL, method=method, practice=2), practised, 3)
    assert torch.equal(weights(models.policy), before)
    assert torch.equal(weights(models.reward), reward)
    learns = method != TRUE_REWARD or any(map(any, log.values()))  # without success no reward
    assert torch.equal(weights(practised.policy), before) != learns
    assert {len(column) for column in log.values()} == {2}


def test_a_cell_reports_what_it_does():
    notes = []
    with progress.reporting_to(notes.append), progress.naming('own reward, seed 3'):
        practice.practise(CELL, stage_one.load_or_train(TINY, 3).copy(), 3)
    assert notes[-1].startswith('own reward, seed 3: practice, 2 of 2 episodes, fired ')
    progress.report('nobody receives this')
    assert 'nobody' not in notes[-1]


def test_cells_of_a_seed_share_their_stage_one():
    cells = mt10.cells(mt10.Mt10Config())
    base = cells[OWN_REWARD].stage_one
    shared = [name for name, cell in cells.items() if cell.stage_one == base]
    assert shared == [OWN_REWARD, TRUE_REWARD, CLONING, mt10.FROZEN, mt10.MORE_PRACTICE]
    assert cells[mt10.NEW_FROM_TEN].stage_one.start == base
    assert cells[mt10.LABELLED].stage_one.of_policy == base
    assert cells[mt10.MORE_PRACTICE].practice == 140
