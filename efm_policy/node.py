"""The policy node: it answers images with actions."""

from __future__ import annotations

from functools import partial
import threading
from typing import Any

from efm_core import ros_topics, topics
from efm_core.embodiment import load_embodiment
from efm_core.observation import Observation
from efm_core.ros_acting import ActingNode
from efm_core.ros_lifecycle import run
from efm_interfaces.msg import EpisodeEvent, PolicyRelease
from efm_model.text import ensure_text_encoder, TextEncoder
from efm_policy.config import PolicyConfig
from efm_policy.policy import Policy
from efm_policy.releases import find_store, open_policy
from efm_release.release import ACTIVE, load_announced, load_release, ReleaseFiles


class PolicyNode(ActingNode):
    """
    Answers every observation of an episode with an action, with chunks one observation a chunk.

    Subscribes the embodiment's camera, ``episode_event``, ``policy_release``; publishes
    ``observation``, ``action``. A new release is loaded beside the deployed policy, and replaces
    it at the next episode.
    """

    config_type = PolicyConfig
    config: PolicyConfig
    source = 'policy'

    def __init__(self, **kwargs: Any):
        super().__init__('policy', **kwargs)

    def build(self) -> None:
        """Load the first release and connect the topics."""
        config = self.config
        self.connect(load_embodiment(config.embodiment), lockstep=config.lockstep)
        self.offer_actions()
        self._text_encoder = TextEncoder(config.text_encoder or ensure_text_encoder())
        self._policy: Policy | None = None
        self._store = find_store(config)
        self._next: Policy | None = None
        if config.release:
            self._next = self._open(load_release(config.release, None, self.embodiment.hash))
        self._waiting_event: EpisodeEvent | None = None
        self._deploy_next()
        ros_topics.subscription(self, topics.POLICY_RELEASE, self._on_release)

    def on_event(self, event: EpisodeEvent) -> None:
        """Start or end an episode; either ends the wait for a release."""
        self._waiting_event = None
        super().on_event(event)

    def on_episode_start(self, event: EpisodeEvent) -> bool:
        """Begin the episode with the release that START requires, or wait until it is loaded."""
        self._deploy_next()
        if self._policy is None or self._policy.version < event.policy_version:
            self._waiting_event = event
            return False
        self.diagnostics.values['policy_version'] = str(self._policy.version)
        self._policy.begin(event.instruction, event.seed)
        return True

    def on_observation(self, stamp: int, observation: Observation) -> bool:
        """Publish the action for one image, and the observation."""
        policy = self._policy
        if policy is None:
            return False
        action = policy.act(observation)
        self.publish_action(action, observation, stamp, policy_version=policy.version)
        return True

    def _open(self, files: ReleaseFiles) -> Policy:
        return open_policy(files, self._text_encoder, self.embodiment, self.config)

    @property
    def _newest(self) -> int:
        """The newest version that is loaded; 0 for none."""
        newest = self._next or self._policy
        return newest.version if newest else 0

    def _deploy_next(self) -> None:
        """Deploy the newest loaded release, if there is one."""
        if self._next is not None:
            self._policy = self._next
            self._next = None
            self.report_backend(self._policy.runtime)

    def _on_release(self, message: PolicyRelease) -> None:
        if message.stage == ACTIVE and message.version != self._newest:
            # No daemon: onnxruntime aborts a process that ends while it loads.
            threading.Thread(target=self._load_release, args=(message,)).start()

    def _load_release(self, message: PolicyRelease) -> None:
        """Load a release on another thread; after an error the deployed policy stays."""
        policy = None
        try:
            files = load_announced(
                message,
                self._store,
                newest=self._newest,
                embodiment_hash=self.embodiment.hash,
            )
            policy = self._open(files)
        except (ValueError, OSError) as error:
            self.diagnostics.fault = f'release {message.version} refused: {error}'
            self.diagnostics.counts['releases refused'] += 1
            self.get_logger().error(self.diagnostics.fault)
        if self.context.ok() and self.executor is not None:
            self.executor.create_task(partial(self._on_loaded, policy))

    def _on_loaded(self, policy: Policy | None) -> None:
        """Deploy a loaded release next, unless a newer one is; start the waiting episode."""
        if policy is not None and policy.version > self._newest:
            self._next = policy
        if self._waiting_event:
            self.on_event(self._waiting_event)


def main(args: list[str] | None = None) -> None:
    """Run the policy node."""
    run(PolicyNode, args)


if __name__ == '__main__':
    main()
