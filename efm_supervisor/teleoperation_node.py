"""The teleoperation node: a person demonstrates the task with a twist device and buttons."""

from __future__ import annotations

import time
from typing import Any

from efm_core import ros_topics, topics
from efm_core.action import PolicyAction
from efm_core.embodiment import load_embodiment
from efm_core.episode import Outcome
from efm_core.messages import to_twist
from efm_core.observation import Observation
from efm_core.ros_acting import ActingNode
from efm_core.ros_lifecycle import run
from efm_core.tokeniser import ActionTokeniser
from efm_interfaces.msg import EpisodeEvent
from efm_interfaces.srv import LabelEpisode
from efm_supervisor.config import TeleoperationConfig
from efm_supervisor.teleoperation import Buttons, TeleopInput
from geometry_msgs.msg import TwistStamped
from rclpy.clock import Clock, ClockType
from rclpy.task import Future
from sensor_msgs.msg import Joy
from std_srvs.srv import Trigger

LABELS = {'success': Outcome.SUCCESS, 'discard': Outcome.FAILURE}
TICK_PERIOD_S = 0.2


class TeleoperationNode(ActingNode):
    """
    Publishes the action that the newest twist asks for, for every observation of an episode.

    Subscribes the camera, ``episode_event``, ``teleop_twist`` and ``joy``; publishes ``action``
    and ``observation``. Keeps the supervisor paused: an episode begins only after ``resume`` or
    the start button. The other buttons label the running episode (``label_episode``).
    """

    config_type = TeleoperationConfig
    config: TeleoperationConfig
    source = 'operator'

    def __init__(self, **kwargs: Any):
        super().__init__('teleoperation', **kwargs)

    def build(self) -> None:
        """Connect the topics; ``action`` follows once the supervisor is paused."""
        config = self.config
        robot = load_embodiment(config.embodiment)
        self.connect(robot, lockstep=False, every=True)
        self._input = TeleopInput(robot, config.axes, twist_timeout_s=config.twist_timeout_s)
        self._buttons = Buttons(
            start=config.start_button,
            success=config.success_button,
            discard=config.discard_button,
        )
        self._tokeniser = ActionTokeniser(robot.action.single_step)
        self._has_asked_for_pause = False
        self._pause = self.create_client(Trigger, topics.PAUSE)
        self._resume = self.create_client(Trigger, topics.RESUME)
        self._label = self.create_client(LabelEpisode, topics.LABEL_EPISODE)
        ros_topics.subscription(self, topics.TELEOP_TWIST, self._on_twist)
        ros_topics.subscription(self, topics.JOY, self._on_joy)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(TICK_PERIOD_S, self._on_tick, clock=steady)

    def on_episode_start(self, event: EpisodeEvent) -> bool:
        """Pause the supervisor, so that the next episode waits for the person."""
        self._pause.call_async(Trigger.Request())
        return True

    def on_observation(self, stamp: int, observation: Observation) -> bool:
        """Publish the action that the twist asks for, and the observation."""
        if not self.offers_actions:
            return False
        tokens = self._tokeniser.encode(self._input.action(time.monotonic()))
        action = PolicyAction(tokens, self._tokeniser.decode(tokens))
        self.publish_action(action, observation, stamp)
        return True

    def _on_tick(self) -> None:
        """Pause the supervisor as soon as it is there, then offer the actions it waits for."""
        if not self._has_asked_for_pause and self._pause.service_is_ready():
            self._has_asked_for_pause = True
            self._pause.call_async(Trigger.Request()).add_done_callback(self._on_paused)

    def _on_paused(self, future: Future) -> None:
        self.offer_actions()

    def _on_twist(self, message: TwistStamped) -> None:
        try:
            self._input.receive(to_twist(message), message.header.frame_id, time.monotonic())
        except ValueError as error:
            self.diagnostics.count_dropped(str(error))

    def _on_joy(self, message: Joy) -> None:
        events = self._buttons.press(message.buttons)
        for event in events if self.is_active else ():
            if event == 'start':
                self._resume.call_async(Trigger.Request())
            elif self.matcher.event is not None:
                episode_id = self.matcher.event.episode_id
                request = LabelEpisode.Request(episode_id=episode_id, outcome=LABELS[event].value)
                self._label.call_async(request)


def main(args: list[str] | None = None) -> None:
    """Run the teleoperation node."""
    run(TeleoperationNode, args)


if __name__ == '__main__':
    main()
