"""The teleoperation node: a person demonstrates, by hand."""

from __future__ import annotations

import time
from typing import Any

from efm_core import ros_topics, topics
from efm_core.action import PolicyAction
from efm_core.embodiment import load_embodiment
from efm_core.messages import to_image, to_twist
from efm_core.observation import observe
from efm_core.ros_acting import ActingNode
from efm_core.ros_lifecycle import run
from efm_core.tokeniser import ActionTokeniser
from efm_interfaces.msg import EpisodeEvent
from efm_interfaces.srv import LabelEpisode
from efm_supervisor.config import TeleoperationConfig
from efm_supervisor.teleoperation import Buttons, Hand
from geometry_msgs.msg import TwistStamped
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import Joy
from std_srvs.srv import Trigger

LABELS = {'success': 'success', 'discard': 'failure'}


class TeleoperationNode(ActingNode):
    """
    Answer every observation of an episode with what a person's hand says.

    Subscribes the camera, ``episode_event``, ``teleop_twist`` and ``joy``; publishes ``action``
    and ``observation``. Keeps the supervisor paused, so that an episode begins when the person
    says so (``resume``, or a button), and passes on the person's word (``label_episode``).
    """

    config_type = TeleoperationConfig
    source = 'operator'

    def __init__(self, **kwargs: Any):
        """Wait for configure."""
        super().__init__('teleoperation', **kwargs)

    def build(self) -> None:
        """Connect the topics; nobody may begin before the supervisor is paused."""
        config = self.config
        robot = load_embodiment(config.embodiment)
        self.connect(robot, lockstep=False, every=True)
        self._hand = Hand(robot, config.axes, twist_timeout_s=config.twist_timeout_s)
        self._buttons = Buttons(
            start=config.start_button,
            success=config.success_button,
            discard=config.discard_button,
        )
        self._tokeniser = ActionTokeniser(robot.action.single_step)
        self._asked = None
        self._pause = self.create_client(Trigger, topics.PAUSE)
        self._resume = self.create_client(Trigger, topics.RESUME)
        self._label = self.create_client(LabelEpisode, topics.LABEL_EPISODE)
        ros_topics.subscription(self, topics.TELEOP_TWIST, self._on_twist)
        ros_topics.subscription(self, topics.JOY, self._on_joy)
        self.create_timer(0.2, self._on_tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _on_tick(self) -> None:
        """Offer actions, which the supervisor waits for, once it is paused."""
        if self._asked is None and self._pause.service_is_ready():
            self._asked = self._pause.call_async(Trigger.Request())
            self._asked.add_done_callback(self._offer)

    def _offer(self, future: Any) -> None:
        self.offer_actions()

    def on_episode_start(self, event: EpisodeEvent) -> bool:
        """Let no other episode follow this one before the person says so."""
        self._pause.call_async(Trigger.Request())
        return True

    def _on_twist(self, message: TwistStamped) -> None:
        try:
            self._hand.move(to_twist(message), message.header.frame_id, time.monotonic())
        except ValueError as error:
            self.diagnostics.count_dropped(str(error))

    def _on_joy(self, message: Joy) -> None:
        """Begin an episode, or end the running one with a word on it."""
        for word in self._buttons.press(message.buttons):
            if not self.is_active:
                continue
            if word == 'start':
                self._resume.call_async(Trigger.Request())
            elif self.matcher.event is not None:
                episode = self.matcher.event.episode_id
                request = LabelEpisode.Request(episode_id=episode, outcome=LABELS[word])
                self._label.call_async(request)

    def on_observation(self, stamp: int, message: Any) -> bool:
        """Publish the action that the twist asks for, and the observation."""
        if not self.offers_actions:
            return False
        observation = observe(to_image(message), self.embodiment)
        tokens = self._tokeniser.encode(self._hand.action(time.monotonic()))
        action = PolicyAction(tokens, self._tokeniser.decode(tokens))
        self.publish_action(action, observation, stamp)
        return True


def main(args: list[str] | None = None) -> None:
    """Run the teleoperation node."""
    run(TeleoperationNode, args)


if __name__ == '__main__':
    main()
