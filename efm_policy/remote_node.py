"""The policy node of a robot with a policy server: it requests each action over gRPC."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from efm_core.action import PolicyAction
from efm_core.config import expect
from efm_core.embodiment import load_embodiment
from efm_core.ros_acting import ActingNode
from efm_core.ros_lifecycle import run
from efm_interfaces.msg import EpisodeEvent
from efm_policy.config import RemotePolicyConfig
from efm_policy.serving.client import Client
from efm_policy.serving.remote import EpisodeRequest, PendingObservation, RemotePolicy
from rclpy.clock import Clock, ClockType

TICK_S = 0.1  # period of the check whether to request the episode again


class RemotePolicyNode(ActingNode):
    """
    Answers every observation of an episode with the action of a policy server.

    Topics as ``PolicyNode``, without ``policy_release``. The node never waits. It drops and counts
    late answers. Without an answer in time it publishes no action, and the guard holds the robot.
    """

    config_type = RemotePolicyConfig
    config: RemotePolicyConfig
    source = 'policy'

    def __init__(self, **kwargs: Any):
        super().__init__('policy', **kwargs)

    def build(self) -> None:
        """Connect the topics and the client of the server."""
        config = self.config
        self.connect(load_embodiment(config.embodiment), lockstep=config.lockstep)
        self.offer_actions()
        robot = config.robot or self.get_namespace().strip('/').replace('/', '.')
        expect(bool(robot), 'robot', 'a name, or a namespace', 'neither')
        self._waiting_event: EpisodeEvent | None = None
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
        """Close the connection too."""
        self._disconnect()
        super().dismantle()

    def destroy_node(self) -> None:
        """Close the connection too."""
        self._disconnect()
        super().destroy_node()

    def _disconnect(self) -> None:
        if hasattr(self, '_remote'):
            self._remote.close()
            del self._remote

    def hold(self) -> None:
        """End the episode: the node sends no more requests."""
        super().hold()
        self._remote.end()

    def on_event(self, event: EpisodeEvent) -> None:
        """Start or end an episode; the server needs no message at an end."""
        self._waiting_event = None
        if event.event == EpisodeEvent.END:
            self._remote.end()
        super().on_event(event)

    def on_episode_start(self, event: EpisodeEvent) -> bool:
        """Request the episode from the server; wait until the server has begun it."""
        episode = EpisodeRequest(
            event.episode_id,
            event.instruction,
            seed=event.seed,
            policy_version=event.policy_version,
        )
        if not self._remote.begin(episode):
            self._waiting_event = event
            return False
        self.diagnostics.values['policy_version'] = str(self._remote.version)
        return True

    def try_observation(self, observation: tuple[int, Any] | None) -> None:
        """Request the action for an observation; keep it while another request is pending."""
        if observation is None:
            return
        if self._remote.is_busy or not self._remote.has_begun:
            self.matcher.keep(*observation)
            return
        stamp, message = observation
        try:
            seen = self.assemble(stamp, message)
        except ValueError as error:
            self.diagnostics.count_dropped(str(error))
            return
        if seen is None:
            self.matcher.keep(stamp, message)
            return
        self._remote.request_action(seen, stamp, self.matcher.step, self.deadline(stamp))

    def _post(self, task: Callable[[], None]) -> None:
        """Run a function on the thread of the node; drop it once the node is destroyed."""
        if self.executor is not None:
            self.executor.create_task(task)

    def _on_begun(self) -> None:
        if self._waiting_event:
            self.on_event(self._waiting_event)
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
    """Run the policy node of a robot with a policy server."""
    run(RemotePolicyNode, args)


if __name__ == '__main__':
    main()
