"""Simulated worlds, their demonstrators, and rollouts without ROS."""

from gymnasium.envs.registration import register

register(
    id='efm/Table-v0',
    entry_point='efm_sim.table.environment:TableEnvironment',
    max_episode_steps=40,
)
