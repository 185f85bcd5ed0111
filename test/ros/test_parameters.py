"""The fields of a configuration and the parameters of its node agree."""

from __future__ import annotations

from dataclasses import fields, FrozenInstanceError, MISSING
from functools import partial

from efm_core.ros_params import declare
from efm_data.config import RecorderConfig
from efm_guard.config import GuardConfig
from efm_policy.config import PolicyConfig, RemotePolicyConfig, ServerConfig
from efm_policy.serving.config import ServingConfig
from efm_reward.config import RewardConfig
from efm_sim.config import DemonstratorNodeConfig, WorldConfig
from efm_sim.fake_arm.config import FakeDriverConfig
from efm_sim.gazebo.config import DriverConfig, GazeboConfig
from efm_sim.table.config import DemonstratorConfig, TableConfig
from efm_supervisor.config import FleetConfig, SupervisorConfig, TeleoperationConfig
from efm_trainer.config import PracticeConfig, PRESETS
from efm_trainer.node import TrainerNodeConfig
import pytest
from rclpy.node import Node
from rclpy.parameter import Parameter

CONFIGS = (
    PolicyConfig,
    RemotePolicyConfig,
    ServerConfig,
    ServingConfig,
    RewardConfig,
    SupervisorConfig,
    TeleoperationConfig,
    GuardConfig,
    RecorderConfig,
    FleetConfig,
    WorldConfig,
    TableConfig,
    GazeboConfig,
    DriverConfig,
    FakeDriverConfig,
    DemonstratorConfig,
    DemonstratorNodeConfig,
    PracticeConfig,
    TrainerNodeConfig,
)
RANGED = [(c, f) for c in CONFIGS for f in fields(c) if f.metadata['low'] is not None]
each_config = pytest.mark.parametrize('config_type', CONFIGS, ids=lambda c: c.__name__)


@each_config
def test_every_field_is_a_parameter_with_its_default_text_and_range(stage, config_type):
    node = stage.peer
    assert declare(node, config_type) == config_type()
    for field in fields(config_type):
        assert field.default is not MISSING
        found = node.describe_parameter(field.name)
        assert node.get_parameter(field.name).value == field.default
        assert found.read_only
        assert field.metadata['description'] in found.description
        assert field.metadata['unit'] in found.description
        ranges = [*found.floating_point_range, *found.integer_range]
        assert [(r.from_value, r.to_value) for r in ranges] == (
            []
            if field.metadata['low'] is None
            else [(field.metadata['low'], field.metadata['high'])]
        )


@each_config
def test_every_parameter_is_read_only_and_every_config_frozen(stage, config_type):
    declare(stage.peer, config_type)
    name = fields(config_type)[0].name
    value = stage.peer.get_parameter(name).value
    answer = stage.peer.set_parameters([Parameter(name, value=value)])[0]
    assert not answer.successful
    with pytest.raises(FrozenInstanceError):
        setattr(config_type(), name, value)


@pytest.mark.parametrize(
    ('config_type', 'field'), RANGED, ids=[f'{c.__name__}.{f.name}' for c, f in RANGED]
)
def test_a_value_out_of_range_is_refused_with_the_range(stage, config_type, field):
    too_much = type(field.default)(2 * field.metadata['high'] + 1)
    node = stage.make(partial(Node, 'given'), **{field.name: too_much})
    with pytest.raises(ValueError, match=f'{field.name}: .*{too_much}') as error:
        declare(node, config_type)
    assert str(field.metadata['high']) in str(error.value)


def test_a_value_inside_the_range_reaches_the_config(stage):
    node = stage.make(partial(Node, 'given'), temperature=0.5, lockstep=True)
    assert declare(node, PolicyConfig) == PolicyConfig(temperature=0.5, lockstep=True)


def test_a_value_of_another_type_is_refused_with_the_name(stage):
    node = stage.make(partial(Node, 'given'), temperature='hot')
    with pytest.raises(ValueError, match='temperature'):
        declare(node, PolicyConfig)


def test_a_value_outside_the_choices_is_refused_with_the_choices(stage):
    node = stage.make(partial(Node, 'given'), body='legs')
    with pytest.raises(ValueError, match="body: expected one of arm, tool, got 'legs'"):
        declare(node, TableConfig)


def test_a_preset_replaces_the_defaults(stage):
    assert declare(stage.peer, PracticeConfig, PRESETS['paper']) == PRESETS['paper']


def test_a_node_that_is_configured_again_keeps_its_parameters(stage):
    node = stage.make(partial(Node, 'given'), temperature=0.5)
    assert declare(node, PolicyConfig) == declare(node, PolicyConfig)
