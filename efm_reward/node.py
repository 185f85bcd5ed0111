"""The reward node: camera to steps-to-go and success."""

from __future__ import annotations

import time
from typing import Any

from efm_core import ros_topics, topics
from efm_core.attempt import Attempt
from efm_core.embodiment import load_embodiment
from efm_core.messages import to_image, to_stamp
from efm_core.observation import observe
from efm_core.release import load_release
from efm_core.ros_diagnostics import Health
from efm_core.ros_lifecycle import ManagedNode, run
from efm_core.ros_messages import from_judgement
from efm_interfaces.msg import EpisodeEvent
from efm_model.text import ensure_text_encoder, TextEncoder
from efm_reward.config import RewardConfig
from efm_reward.judge import Judge


class RewardNode(ManagedNode):
    """
    Publish steps-to-go and success for every observation of an episode.

    Subscribes the embodiment's camera and ``episode_event``; publishes ``steps_to_go``. The reward
    itself, d(o_t) - d(o_t+1), is computed where it is learned from: in the trainer.
    """

    config_type = RewardConfig

    def __init__(self, **kwargs: Any):
        """Wait for configure."""
        super().__init__('reward', **kwargs)

    def build(self) -> None:
        """Load the judge, check the contract, connect the topics."""
        config = self.config
        self._embodiment = load_embodiment(config.embodiment)
        files = load_release(config.release, '', self._embodiment.hash)
        self._judge = Judge(
            files.reward,
            TextEncoder(config.text_encoder or ensure_text_encoder()),
            self._embodiment,
        )
        self._attempt, self._health = Attempt(), Health(self)
        self._health.facts['reward_version'] = str(self._judge.version)
        self._publisher = ros_topics.publisher(self, topics.STEPS_TO_GO)
        ros_topics.camera_subscription(
            self, self._embodiment.cameras[0], self._on_image, config.lockstep
        )
        ros_topics.subscription(self, topics.EPISODE_EVENT, self._on_event)

    def hold(self) -> None:
        """Judge nothing more."""
        self._attempt.end()

    def _on_event(self, event: EpisodeEvent) -> None:
        if event.event == EpisodeEvent.END:
            self._attempt.end()
        elif self.is_active:
            self._start(event)

    def _start(self, event: EpisodeEvent) -> None:
        self._attempt.end()  # topics may lose an END to the START that follows it
        try:
            self._embodiment.check_same(event.embodiment_hash, 'episode_event')
            self._judge.begin(event.instruction)
        except ValueError as error:
            self._health.fault = str(error)
            self.get_logger().error(str(error))
            return
        self._health.fault = ''
        waiting = self._attempt.start(event, to_stamp(event))
        if waiting:
            self._assess(*waiting)

    def _on_image(self, message: Any) -> None:
        stamp = to_stamp(message)
        if self.is_active and self._attempt.admit(stamp, message):
            self._assess(stamp, message)

    def _assess(self, stamp: int, message: Any) -> None:
        """Publish the judgement of one picture; a bad picture gets none."""
        started = time.monotonic()
        try:
            judgement = self._judge.judge(observe(to_image(message), self._embodiment))
        except ValueError as error:
            self._health.drop(str(error))
            return
        event, step = self._attempt.event, self._attempt.count(stamp)
        self._publisher.publish(
            from_judgement(
                judgement.probabilities,
                judgement.steps_to_go,
                judgement.success,
                stamp,
                episode_id=event.episode_id,
                step=step,
                reward_version=self._judge.version,
                embodiment_hash=self._embodiment.hash,
            )
        )
        self._health.done(started)


def main(args: list[str] | None = None) -> None:
    """Run the reward node."""
    run(RewardNode, args)


if __name__ == '__main__':
    main()
