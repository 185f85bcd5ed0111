"""The demonstrator node: a scripted demonstrator in place of a person with a joystick."""

from __future__ import annotations

from typing import Any

from efm_core import ros_topics, topics
from efm_core.embodiment import load_embodiment
from efm_core.messages import to_info, to_positions, to_stamp
from efm_core.observation import Observation
from efm_core.observation_matcher import EARLY_IMAGES
from efm_core.ros_acting import ActingNode
from efm_core.ros_lifecycle import run
from efm_core.ros_params import declare
from efm_core.tokeniser import ActionTokeniser
from efm_interfaces.msg import EpisodeEvent, WorldState
from efm_interfaces.srv import LabelEpisode
from efm_sim.config import DemonstratorNodeConfig
from efm_sim.demonstrator import action_of, load_demonstrator
from efm_sim.scene import Scene
from efm_sim.table.config import DemonstratorConfig


class DemonstratorNode(ActingNode):
    """
    Demonstrates a task with simulator truth, one action for each control step.

    Subscribes the camera, ``world_state`` and ``episode_event``; publishes ``action`` and
    ``observation``; calls ``label_episode`` when the task is done.
    """

    config_type = DemonstratorNodeConfig
    source = 'demonstrator'

    def __init__(self, **kwargs: Any):
        """Wait for configure."""
        super().__init__('demonstrator', **kwargs)

    def build(self) -> None:
        """Load the demonstrator; create publishers, subscriptions and the client."""
        robot = load_embodiment(self.config.embodiment)
        self.connect(robot, lockstep=self.config.lockstep, every=True)
        self.offer_actions()
        table_config = declare(self, DemonstratorConfig)
        self._demonstrator = load_demonstrator(self.config.demonstrator, table_config)
        self._tokeniser = ActionTokeniser(robot.action.single_step)
        self._states: dict[int, WorldState] = {}
        self._label = self.create_client(LabelEpisode, topics.LABEL_EPISODE)
        ros_topics.subscription(self, topics.WORLD_STATE, self._on_state)

    def on_episode_start(self, event: EpisodeEvent) -> bool:
        """Start the demonstrator; its speed and noise depend on the seed of the episode."""
        self._demonstrator.begin(event.seed)
        return True

    def _on_state(self, state: WorldState) -> None:
        """Keep the newest states until the images with the same stamps arrive."""
        self._states[to_stamp(state)] = state
        if len(self._states) > EARLY_IMAGES:
            del self._states[next(iter(self._states))]
        self.try_observation(self.matcher.waiting_for(to_stamp(state)))

    def on_observation(self, stamp: int, observation: Observation) -> bool:
        """Publish the action for one stamp, once its image and ``world_state`` have arrived."""
        if stamp not in self._states:
            return False
        state = self._states[stamp]
        if state.success:
            self.publish_last_observation(observation, stamp)
            self._report_success(state)
            return True
        scene = Scene(
            to_positions(state),
            self.matcher.event.instruction,
            info=to_info(state),
            images=observation.images,
        )
        action = action_of(self._demonstrator, scene, self._tokeniser)
        self.publish_action(action, observation, stamp)
        return True

    def _report_success(self, state: WorldState) -> None:
        request = LabelEpisode.Request(
            episode_id=self.matcher.event.episode_id, outcome='success', stamp=state.header.stamp
        )
        self._label.call_async(request)


def main(args: list[str] | None = None) -> None:
    """Run the demonstrator node."""
    run(DemonstratorNode, args)


if __name__ == '__main__':
    main()
