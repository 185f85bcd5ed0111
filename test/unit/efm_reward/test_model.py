import dataclasses

from efm_core.embodiment import EpisodeRules, StepsToGoRange
from efm_reward.model import RewardModel
from models import exported, FakeTextEncoder, frames, SENTENCE, table_arm
import numpy as np
import pytest


@pytest.fixture
def judge():
    return RewardModel.load(exported('reward'), FakeTextEncoder(), table_arm())


class FakeRuntime:
    """Says that steps-to-go are surely as many as it is told."""

    version = 1

    def __init__(self, steps):
        self.steps = iter(steps)

    def run(self, **inputs):
        d = next(self.steps)
        low = int(d)
        probabilities = np.zeros((1, 61), np.float32)
        probabilities[0, [low, low + 1]] = 1 - (d - low), d - low
        return {'probabilities': probabilities}


def verdicts(judge, steps):
    judge.runtime = FakeRuntime(steps)
    judge.begin(SENTENCE)
    return [judge.judge(frames(1)[0]) for _ in steps]


def test_steps_to_go_is_the_mean_of_a_distribution(judge):
    judge.begin(SENTENCE)
    judgement = judge.judge(frames(1)[0])
    assert judgement.probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert judgement.steps_to_go == pytest.approx(
        sum(k * p for k, p in enumerate(judgement.probabilities)), abs=1e-3
    )
    assert judge.version == 7


def test_success_needs_two_observations_in_a_row_at_or_below_the_threshold(judge):
    judge._rules = EpisodeRules(success_threshold=2.0, success_dwell=2)
    found = verdicts(judge, [9.0, 2.0, 2.5, 1.0, 2.0, 1.0, 7.0])
    assert [one.success for one in found] == [False, False, False, False, True, True, False]
    assert [one.steps_to_go for one in found] == pytest.approx([9.0, 2.0, 2.5, 1.0, 2.0, 1.0, 7.0])


def test_a_new_episode_forgets_the_success_of_the_last(judge):
    assert verdicts(judge, [1.0, 1.0])[-1].success
    assert not verdicts(judge, [1.0])[-1].success


def test_dwell_and_threshold_come_from_the_embodiment(judge):
    judge._rules = EpisodeRules(success_threshold=5.0, success_dwell=1)
    assert [one.success for one in verdicts(judge, [6.0, 5.0])] == [False, True]


def test_bins_stand_for_the_steps_that_the_embodiment_says(judge):
    judge._values = StepsToGoRange(max_steps=120, bins=61).values
    assert verdicts(judge, [3.0])[0].steps_to_go == pytest.approx(6.0)


def test_many_episodes_at_once_are_judged_as_each_alone(judge):
    pictures = frames(3)
    episodes = [judge.start(SENTENCE), judge.start('push it')]
    together = [
        judge.predict_batch(episodes, [picture, picture])[1].steps_to_go for picture in pictures
    ]
    judge.begin('push it')
    assert [judge.judge(picture).steps_to_go for picture in pictures] == pytest.approx(
        together, abs=1e-3
    )


def test_an_observation_of_the_wrong_size_is_refused(judge):
    judge.begin(SENTENCE)
    with pytest.raises(ValueError, match='observation: expected shape'):
        judge.judge(np.zeros((64, 48, 3), np.uint8))


def test_a_model_that_gives_nan_is_refused(tmp_path):
    from efm_model.export import export_reward
    from efm_model.network import new_model

    model = new_model(table_arm(), pretrained='none')
    model.steps_to_go.weight.data.fill_(float('nan'))
    judge = RewardModel.load(
        export_reward(model, tmp_path / 'r.onnx', table_arm(), 9), FakeTextEncoder(), table_arm()
    )
    judge.begin(SENTENCE)
    with pytest.raises(
        ValueError, match='probabilities: expected finite numbers from model version 9'
    ):
        judge.judge(frames(1)[0])


def test_judging_before_an_episode_has_begun_is_refused(judge):
    with pytest.raises(RuntimeError, match=r'expected begin\(\) before judge'):
        judge.judge(frames(1)[0])


def test_another_embodiment_is_refused():
    other = dataclasses.replace(table_arm(), name='other')
    with pytest.raises(ValueError, match=f'{other.hash}.*{table_arm().hash}'):
        RewardModel.load(exported('reward'), FakeTextEncoder(), other)
