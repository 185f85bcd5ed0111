"""A policy server with a vision-language model, loaded from its checkpoint."""

from __future__ import annotations

from efm_model.checkpoint import save_checkpoint
from efm_model.network import new_model
from efm_model.vlm.network import new_vlm
from efm_policy.serving.loading import load_vlm_policy
from models import observations, SENTENCE, table_arm
import pytest
from serving import BlockingClient, numbers, serving
from vlms import options


def test_robots_act_with_a_vision_language_model(tmp_path):
    model = new_vlm(table_arm(), options('smolvlm'))
    folder = save_checkpoint(tmp_path / 'policy', model, table_arm(), 'policy', 1)
    alone = load_vlm_policy(str(folder), table_arm())
    alone.begin(SENTENCE, 3)
    with serving(load_vlm_policy(str(folder), table_arm())) as (_, where):
        robots = [BlockingClient(where, f'robot_{i}') for i in range(2)]
        for robot in robots:
            assert robot.begin(seed=3).policy_version == 1
        for step, seen in enumerate(observations(3)):
            expected = alone.act(seen)
            for robot in robots:
                tokens, values, log_probability = numbers(robot.act(seen, step))
                assert (tokens, values) == (expected.tokens.tolist(), expected.values.tolist())
                assert log_probability == pytest.approx(expected.log_probability, abs=1e-4)
        for robot in robots:
            robot.close()


@pytest.mark.parametrize('kind', ['reward', 'policy'])
def test_a_checkpoint_of_another_kind_or_family_is_refused(tmp_path, kind):
    make = {
        'reward': lambda: new_vlm(table_arm(), options('smolvlm')),
        'policy': lambda: new_model(table_arm(), seed=0, pretrained='none'),
    }
    folder = save_checkpoint(tmp_path / kind, make[kind](), table_arm(), kind, 1)
    with pytest.raises(ValueError, match='expected a policy of the family vlm, got a'):
        load_vlm_policy(str(folder), table_arm())
