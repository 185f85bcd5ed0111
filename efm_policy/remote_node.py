"""The policy node of a robot whose policy is elsewhere: camera to server, server to action."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from efm_core.action import PolicyAction
from efm_core.config import expect
from efm_core.embodiment import load_embodiment
from efm_core.messages import to_image
from efm_core.observation import observe
from efm_core.ros_acting import ActingNode
from efm_core.ros_lifecycle import run
from efm_interfaces.msg import EpisodeEvent
from efm_policy.config import RemotePolicyConfig
from efm_policy.serving.client import Client
from efm_policy.serving.remote import EpisodeRequest, PendingObservation, RemotePolicy
from rclpy.clock import Clock, ClockType

TICK_S = 0.1  # how often it is looked whether to ask again for an episode


class RemotePolicyNode(ActingNode):
    """
    Answer every observation of an episode with the action that a policy server gives in time.

    Topics as ``PolicyNode``. It never waits: what comes too late is thrown away and counted, and
    where nothing comes nothing is published, so that the guard holds the robot.
    """

    config_type = RemotePolicyConfig
    source = 'policy'

    def __init__(self, **kwargs: Any):
        """Wait for configure."""
        super().__init__('policy', **kwargs)

    def build(self) -> None:
        """Connect the topics; get ready to ask the server."""
        config = self.config
        self.connect(load_embodiment(config.embodiment), lockstep=config.lockstep)
        self.offer_actions()
        robot = config.robot or self.get_namespace().strip('/').replace('/', '.')
        expect(bool(robot), 'robot', 'a name, or a namespace', 'neither')
        self._held: EpisodeEvent | None = None
        self._remote = RemotePolicy(
            Client(config.server, robot, authority=config.server_ca, token=config.token),
            self.embodiment,
            timeout_s=config.answer_timeout_s,
            diagnostics=self.diagnostics,
            post=self._post,
            now=lambda: self.get_clock().now().nanoseconds,
            on_begun=self._on_begun,
            on_action=self._on_action,
        )
        self.create_timer(TICK_S, self._remote.tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def dismantle(self) -> None:
        """End the connection too."""
        self._disconnect()
        super().dismantle()

    def destroy_node(self) -> None:
        """End the connection too."""
        self._disconnect()
        super().destroy_node()

    def _disconnect(self) -> None:
        remote = getattr(self, '_remote', None)
        self._remote = None
        if remote:
            remote.close()

    def hold(self) -> None:
        """Ask nothing more."""
        super().hold()
        self._remote.end()

    def on_event(self, event: EpisodeEvent) -> None:
        """Begin or end an episode; the server need not be told of an end."""
        self._held = None
        if event.event == EpisodeEvent.END:
            self._remote.end()
        super().on_event(event)

    def on_episode_start(self, event: EpisodeEvent) -> bool:
        """Ask the server to begin the episode; say so once it has."""
        episode = EpisodeRequest(
            event.episode_id,
            event.instruction,
            seed=event.seed,
            policy_version=event.policy_version,
        )
        if not self._remote.begin(episode):
            self._held = event
            return False
        self.diagnostics.values['policy_version'] = str(self._remote.version)
        return True

    def try_observation(self, observation: tuple[int, Any] | None) -> None:
        """Ask about an observation; keep it while another is under way."""
        if observation is None:
            return
        if self._remote.is_busy or not self._remote.has_begun:
            self.matcher.keep(*observation)
            return
        stamp, message = observation
        try:
            picture = observe(to_image(message), self.embodiment)
        except ValueError as error:
            self.diagnostics.count_dropped(str(error))
            return
        self._remote.request_action(picture, stamp, self.matcher.step, self.deadline(stamp))

    def _post(self, task: Callable[[], None]) -> None:
        """Run a function on the node's own thread; nobody is left to once it is destroyed."""
        if self.executor:
            self.executor.create_task(task)

    def _on_begun(self) -> None:
        if self._held:
            self.on_event(self._held)
        else:
            self.try_observation(self.matcher.take())

    def _on_action(self, pending: PendingObservation, action: PolicyAction | None) -> None:
        event = self.matcher.event
        if action is not None and event and event.episode_id == pending.episode_id:
            self.publish_action(
                action,
                pending.observation,
                pending.stamp,
                policy_version=self._remote.version,
            )
            self.diagnostics.count_processed(pending.sent)
        self.try_observation(self.matcher.take())


def main(args: list[str] | None = None) -> None:
    """Run the policy node of a robot whose policy is elsewhere."""
    run(RemotePolicyNode, args)


if __name__ == '__main__':
    main()
