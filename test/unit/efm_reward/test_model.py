import dataclasses

from efm_core.embodiment import StepsToGoRange
from efm_core.episode_rules import EpisodeRules
from efm_core.observation import Observation
from efm_reward.model import RewardModel
from models import (
    exported,
    FakeTextEncoder,
    observations,
    opened,
    relabelled,
    SENTENCE,
    table_arm,
)
import numpy as np
import pytest


@pytest.fixture
def reward_model():
    return RewardModel(opened('reward'), FakeTextEncoder(), embodiment=table_arm())


class FakeRuntime:
    """An inference backend that predicts the given steps-to-go with certainty."""

    version = 1

    def __init__(self, steps):
        self.steps = iter(steps)

    def run(self, **inputs):
        d = next(self.steps)
        low = int(d)
        probabilities = np.zeros((1, 61), np.float32)
        probabilities[0, [low, low + 1]] = 1 - (d - low), d - low
        return {'probabilities': probabilities}


def predictions(reward_model, steps):
    reward_model.runtime = FakeRuntime(steps)
    reward_model.begin(SENTENCE)
    return [reward_model.predict(observations(1)[0]) for _ in steps]


def test_steps_to_go_is_the_mean_of_a_distribution(reward_model):
    reward_model.begin(SENTENCE)
    prediction = reward_model.predict(observations(1)[0])
    assert prediction.probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert prediction.steps_to_go == pytest.approx(
        sum(k * p for k, p in enumerate(prediction.probabilities)), abs=1e-3
    )
    assert reward_model.version == 7


def test_success_needs_two_observations_in_a_row_at_or_below_the_threshold(reward_model):
    reward_model._rules = EpisodeRules(success_threshold=2.0, success_dwell=2)
    predicted = predictions(reward_model, [9.0, 2.0, 2.5, 1.0, 2.0, 1.0, 7.0])
    assert [one.success for one in predicted] == [False, False, False, False, True, True, False]
    assert [one.steps_to_go for one in predicted] == pytest.approx(
        [9.0, 2.0, 2.5, 1.0, 2.0, 1.0, 7.0]
    )


def test_a_new_episode_forgets_the_success_of_the_last(reward_model):
    assert predictions(reward_model, [1.0, 1.0])[-1].success
    assert not predictions(reward_model, [1.0])[-1].success


def test_dwell_and_threshold_come_from_the_embodiment(reward_model):
    reward_model._rules = EpisodeRules(success_threshold=5.0, success_dwell=1)
    assert [one.success for one in predictions(reward_model, [6.0, 5.0])] == [False, True]


def test_bins_stand_for_the_steps_of_the_embodiment(reward_model):
    reward_model._values = StepsToGoRange(max_steps=120, bins=61).values
    assert predictions(reward_model, [3.0])[0].steps_to_go == pytest.approx(6.0)


def test_a_batch_of_episodes_gives_the_predictions_of_single_episodes(reward_model):
    seen = observations(3)
    episodes = [reward_model.start(SENTENCE), reward_model.start('push it')]
    together = [reward_model.predict_batch(episodes, [one, one])[1].steps_to_go for one in seen]
    reward_model.begin('push it')
    assert [reward_model.predict(one).steps_to_go for one in seen] == pytest.approx(
        together, abs=1e-3
    )


def test_an_observation_of_the_wrong_size_is_refused(reward_model):
    reward_model.begin(SENTENCE)
    with pytest.raises(ValueError, match='image of table: expected shape'):
        reward_model.predict(Observation.of(np.zeros((64, 48, 3), np.uint8)))


def test_a_model_that_gives_nan_is_refused(tmp_path):
    robot = table_arm()
    path = relabelled(
        exported('reward'), tmp_path / 'r.onnx', robot, 9, change=lambda w: w * np.nan
    )
    reward_model = RewardModel.load(path, FakeTextEncoder(), robot)
    reward_model.begin(SENTENCE)
    with pytest.raises(
        ValueError, match='probabilities: expected finite numbers from model version 9'
    ):
        reward_model.predict(observations(1)[0])


def test_predicting_before_an_episode_has_begun_is_refused(reward_model):
    with pytest.raises(RuntimeError, match=r'expected begin\(\) before predict'):
        reward_model.predict(observations(1)[0])


def test_another_embodiment_is_refused():
    other = dataclasses.replace(table_arm(), name='other')
    with pytest.raises(ValueError, match=f'{other.hash}.*{table_arm().hash}'):
        RewardModel.load(exported('reward'), FakeTextEncoder(), other)
