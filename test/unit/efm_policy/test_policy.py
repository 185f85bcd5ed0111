import dataclasses
import math
import sys

from efm_core.observation import Observation
from efm_policy.policy import gumbel, Policy
from models import exported, FakeTextEncoder, observations, opened, ROOT, SENTENCE, table_arm
import numpy as np
import pytest
from waiting import run_to_end


@pytest.fixture
def policy():
    return Policy(opened('policy'), FakeTextEncoder(), embodiment=table_arm())


def episode(policy, seed, seen):
    policy.begin(SENTENCE, seed)
    return [policy.act(observation).tokens.tolist() for observation in seen]


def test_an_action_obeys_its_spec_and_has_a_probability(policy):
    policy.begin(SENTENCE, 1)
    action = policy.act(observations(1)[0])
    table_arm().action.spec.check(action.values)
    assert -2 * math.log(11) * 2 < action.log_probability < 0
    assert policy.version == 7


def test_an_episode_can_be_repeated_after_other_episodes(policy):
    seen = observations(20)
    first = episode(policy, 5, seen)
    episode(policy, 6, seen[::-1])
    assert episode(policy, 5, seen) == first


def test_another_seed_gives_other_actions(policy):
    seen = observations(20)
    assert episode(policy, 5, seen) != episode(policy, 6, seen)


def test_a_batch_of_episodes_gives_the_actions_of_single_episodes(policy):
    seen = observations(6)
    episodes = [policy.start(SENTENCE, 1), policy.start('push it', 2)]
    together = [policy.act_batch(episodes, [one, one]) for one in seen]
    assert [actions[0].tokens.tolist() for actions in together] == episode(policy, 1, seen)
    policy.begin('push it', 2)
    alone = [policy.act(observation) for observation in seen]
    for actions, other in zip(together, alone, strict=True):
        assert actions[1].tokens.tolist() == other.tokens.tolist()
        assert actions[1].log_probability == pytest.approx(other.log_probability, abs=1e-4)


def test_at_temperature_zero_the_seed_does_not_matter():
    policy = Policy.load(exported('policy'), FakeTextEncoder(), table_arm(), temperature=0.0)
    seen = observations(10)
    assert episode(policy, 1, seen) == episode(policy, 2, seen)


def test_noise_has_the_mean_and_spread_of_a_gumbel_distribution():
    noise = np.array([gumbel(3, step, (2, 11)) for step in range(2000)])
    assert noise.mean() == pytest.approx(np.euler_gamma, abs=0.03)
    assert noise.std() == pytest.approx(math.pi / math.sqrt(6), abs=0.03)
    assert len({row.tobytes() for row in noise}) == 2000


def test_an_observation_of_the_wrong_size_is_refused(policy):
    policy.begin(SENTENCE, 1)
    with pytest.raises(
        ValueError, match=r'image of table: expected shape \(64, 64, 3\), got \(32, 32, 3\)'
    ):
        policy.act(Observation.of(np.zeros((32, 32, 3), np.uint8)))


def test_an_observation_of_the_wrong_type_is_refused(policy):
    policy.begin(SENTENCE, 1)
    with pytest.raises(ValueError, match='image of table: expected dtype uint8, got float64'):
        policy.act(Observation.of(np.zeros((64, 64, 3))))


def test_a_model_that_gives_nan_is_refused(tmp_path):
    from efm_model.export import export_policy
    from efm_model.network import new_model

    model = new_model(table_arm(), pretrained='none')
    model.policy.out[0].bias.data[3] = float('nan')
    policy = Policy.load(
        export_policy(model, tmp_path / 'p.onnx', table_arm(), 9), FakeTextEncoder(), table_arm()
    )
    policy.begin(SENTENCE, 1)
    with pytest.raises(ValueError, match='expected finite numbers from model version 9'):
        policy.act(observations(1)[0])


def test_acting_before_an_episode_has_begun_is_refused(policy):
    with pytest.raises(RuntimeError, match=r'expected begin\(\) before act'):
        policy.act(observations(1)[0])


def test_an_empty_instruction_is_refused(policy):
    with pytest.raises(ValueError, match='expected a sentence'):
        policy.begin(' ', 1)


def test_an_embodiment_in_another_language_is_refused():
    german = dataclasses.replace(table_arm(), instruction_language='de')
    with pytest.raises(ValueError, match=r"instruction_language: expected en.*got 'de'"):
        Policy.load(exported('policy'), FakeTextEncoder(), german)


def test_policy_and_reward_model_run_without_torch():
    code = '\n'.join(
        (
            'import sys; import numpy as np',
            'sys.modules["torch"] = sys.modules["transformers"] = None',
            'from efm_core.embodiment import load_embodiment',
            'from efm_policy.policy import Policy; from efm_reward.model import RewardModel',
            'from models import FakeTextEncoder, observations, table_arm',
            f'policy = Policy.load({str(exported("policy"))!r}, FakeTextEncoder(), table_arm())',
            f'path = {str(exported("reward"))!r}',
            'reward_model = RewardModel.load(path, FakeTextEncoder(), table_arm())',
            'policy.begin("push it", 1); policy.act(observations(1)[0])',
            'reward_model.begin("push it"); reward_model.predict(observations(1)[0])',
        )
    )
    path = f'{ROOT}:{ROOT / "test"}'
    done = run_to_end([sys.executable, '-c', code], 60, cwd=ROOT, env={'PYTHONPATH': path})
    assert done.returncode == 0, done.stderr
