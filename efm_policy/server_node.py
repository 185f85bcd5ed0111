"""The policy server as a node, which loads the releases of the trainer."""

from __future__ import annotations

import threading
from typing import Any

from efm_core import ros_topics, topics
from efm_core.embodiment import load_embodiment
from efm_core.ros_diagnostics import Diagnostics
from efm_core.ros_lifecycle import ManagedNode, run
from efm_core.ros_params import declare
from efm_interfaces.msg import PolicyRelease
from efm_policy.config import ServerConfig
from efm_policy.releases import find_store
from efm_policy.serving.config import ServingConfig
from efm_policy.serving.loading import Releases
from efm_policy.serving.server import PolicyServer
from efm_release.release import ACTIVE
from rclpy.clock import Clock, ClockType


class ServerNode(ManagedNode):
    """
    Answers the requests of robots over gRPC with the newest release.

    Subscribes ``policy_release``. A new release is loaded beside the deployed one, and acts in the
    episodes that begin later.

    :ivar port: of the server.
    """

    config_type = ServerConfig
    config: ServerConfig

    def __init__(self, **kwargs: Any):
        super().__init__('policy_server', **kwargs)

    def build(self) -> None:
        """Load the first release and open the port; requests are rejected until activation."""
        config = self.config
        embodiment = load_embodiment(config.embodiment)
        self._store = find_store(config)
        self._releases = Releases(embodiment, config.text_encoder, sampling=config)
        policy = self._releases.load(config.release) if config.release else None
        self._diagnostics = Diagnostics(self)
        self._server = PolicyServer(declare(self, ServingConfig), embodiment, policy=policy)
        self._server.is_active = False
        self.port = self._server.start()
        self.get_logger().info(f'port {self.port}: {self._server.describe()}')
        ros_topics.subscription(self, topics.POLICY_RELEASE, self._on_release)
        self.create_timer(1.0, self._on_second, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def begin(self) -> None:
        """Accept requests."""
        self._server.is_active = True

    def hold(self) -> None:
        """Reject all requests."""
        self._server.is_active = False

    def dismantle(self) -> None:
        """Close the port too."""
        self._close()
        super().dismantle()

    def destroy_node(self) -> None:
        """Close the port too."""
        self._close()
        super().destroy_node()

    def _close(self) -> None:
        if hasattr(self, '_server'):
            self._server.stop()
            del self._server

    def _on_release(self, message: PolicyRelease) -> None:
        if message.stage == ACTIVE and message.version != self._server.sessions.version:
            # No daemon: onnxruntime aborts a process that ends while it loads.
            threading.Thread(target=self._load_release, args=(message,)).start()

    def _load_release(self, message: PolicyRelease) -> None:
        """Load a release on another thread; after an error the deployed release stays."""
        sessions = self._server.sessions
        try:
            policy = self._releases.load_announced(message, self._store, sessions.version)
            sessions.adopt(policy)
        except (ValueError, OSError) as error:
            self._diagnostics.fault = f'release {message.version} refused: {error}'
            self._diagnostics.counts['releases refused'] += 1
            self.get_logger().error(self._diagnostics.fault)

    def _on_second(self) -> None:
        """Copy the counts of the server into the diagnostics."""
        self._diagnostics.values.update(
            policy_version=str(self._server.sessions.version),
            robots=str(self._server.sessions.robots),
        )
        for name, count in self._server.counts.items():
            self._diagnostics.counts[name] = count


def main(args: list[str] | None = None) -> None:
    """Run the policy server."""
    run(ServerNode, args)


if __name__ == '__main__':
    main()
