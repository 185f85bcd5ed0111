"""The demonstrator node: a scripted teacher in the place of a person with a joystick."""

from __future__ import annotations

from typing import Any

from efm_core import ros_topics, topics
from efm_core.embodiment import load_embodiment
from efm_core.messages import to_image, to_positions, to_stamp
from efm_core.observation import observe
from efm_core.observation_matcher import EARLY_PICTURES
from efm_core.ros_episodic import EpisodicNode
from efm_core.ros_lifecycle import run
from efm_core.ros_messages import from_action, from_observation
from efm_core.ros_params import declare
from efm_core.tokeniser import ActionTokeniser
from efm_interfaces.msg import EpisodeEvent, WorldState
from efm_interfaces.srv import LabelEpisode
from efm_sim.config import DemonstratorNodeConfig
from efm_sim.table.config import DemonstratorConfig
from efm_sim.table.demonstrator import load_demonstrator


class DemonstratorNode(EpisodicNode):
    """
    Show the task, from simulator truth, one control step at a time.

    Subscribes the camera, ``world_state`` and ``episode_event``; publishes ``action`` and
    ``observation``; calls ``label_episode`` when the task is done.
    """

    config_type = DemonstratorNodeConfig

    def __init__(self, **kwargs: Any):
        """Wait for configure."""
        super().__init__('demonstrator', **kwargs)

    def build(self) -> None:
        """Connect the topics."""
        self.subscribe_episodes(
            load_embodiment(self.config.embodiment), self.config.lockstep, every=True
        )
        own = declare(self, DemonstratorConfig)
        self._demonstrator = load_demonstrator(self.config.demonstrator, own)
        self._tokeniser = ActionTokeniser(self.embodiment.action.single_step)
        self._states: dict[int, WorldState] = {}
        self._actions = ros_topics.publisher(self, topics.ACTION)
        self._observations = ros_topics.publisher(self, topics.OBSERVATION)
        self._label = self.create_client(LabelEpisode, topics.LABEL_EPISODE)
        ros_topics.subscription(self, topics.WORLD_STATE, self._on_state)

    def on_episode_start(self, event: EpisodeEvent) -> bool:
        """Draw how fast and how well to show it this time."""
        self._demonstrator.begin(event.seed)
        return True

    def _on_state(self, state: WorldState) -> None:
        """Keep the newest states, until the pictures with their stamps can be answered."""
        self._states[to_stamp(state)] = state
        if len(self._states) > EARLY_PICTURES:
            del self._states[next(iter(self._states))]
        self.try_observation(self.matcher.waiting_for(to_stamp(state)))

    def on_observation(self, stamp: int, message: Any) -> bool:
        """Act on the picture and the truth of one stamp, once both are here."""
        if stamp not in self._states:
            return False
        state = self._states[stamp]
        event = self.matcher.event
        step = self.matcher.count(stamp)
        seen = observe(to_image(message), self.embodiment)
        self.publish_reply(self._observations, from_observation(seen, stamp))
        if state.success:
            self._label.call_async(
                LabelEpisode.Request(
                    episode_id=event.episode_id, outcome='success', stamp=state.header.stamp
                )
            )
            return True
        tokens = self._tokeniser.encode(self._demonstrator.act(to_positions(state)))
        self.publish_reply(
            self._actions,
            from_action(
                tokens,
                self._tokeniser.decode(tokens),
                0.0,
                stamp,
                episode_id=event.episode_id,
                step=step,
                source='demonstrator',
                embodiment_hash=self.embodiment.hash,
            ),
        )
        return True


def main(args: list[str] | None = None) -> None:
    """Run the demonstrator node."""
    run(DemonstratorNode, args)


if __name__ == '__main__':
    main()
