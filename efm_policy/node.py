"""The policy node: camera to action."""

from __future__ import annotations

import threading
from typing import Any

from efm_core import ros_topics, topics
from efm_core.embodiment import load_embodiment
from efm_core.messages import to_image
from efm_core.observation import observe
from efm_core.ros_acting import ActingNode
from efm_core.ros_lifecycle import run
from efm_interfaces.msg import EpisodeEvent, PolicyRelease
from efm_model.text import ensure_text_encoder, TextEncoder
from efm_policy.config import PolicyConfig
from efm_policy.policy import Policy
from efm_release.release import load_release


class PolicyNode(ActingNode):
    """
    Answer every observation of an episode with an action, or one in every H with a chunk of H.

    Subscribes the embodiment's camera, ``episode_event``, ``policy_release``; publishes
    ``observation``, ``action``. A new release is loaded beside the running one and takes over at
    the next episode.
    """

    config_type = PolicyConfig
    source = 'policy'

    def __init__(self, **kwargs: Any):
        """Wait for configure."""
        super().__init__('policy', **kwargs)

    def build(self) -> None:
        """Load the first release, check the contract, connect the topics."""
        config = self.config
        self.connect(load_embodiment(config.embodiment), lockstep=config.lockstep)
        self.offer_actions()
        self._text_encoder = TextEncoder(config.text_encoder or ensure_text_encoder())
        self._policy = self._load(config.release, '') if config.release else None
        if self._policy is not None:
            self.report_backend(self._policy.runtime)
        self._next: Policy | None = None
        self._held: EpisodeEvent | None = None
        ros_topics.subscription(self, topics.POLICY_RELEASE, self._on_release)

    def _load(self, uri: str, sha256: str) -> Policy:
        files = load_release(uri, sha256, self.embodiment.hash)
        return Policy.load(
            files.policy,
            self._text_encoder,
            self.embodiment,
            self.config.temperature,
            self.config.provider,
        )

    def _on_release(self, message: PolicyRelease) -> None:
        if message.stage == 'active' and message.version != self._version():
            # No daemon: onnxruntime aborts a process that ends while it loads.
            threading.Thread(target=self._load_beside, args=(message,)).start()

    def _load_beside(self, message: PolicyRelease) -> None:
        """Load a release off the control thread; a bad one is refused and the old one goes on."""
        try:
            self._next = self._load(message.uri, message.sha256)
        except (ValueError, OSError) as error:
            self.diagnostics.fault = f'release {message.version} refused: {error}'
            self.diagnostics.counts['releases refused'] += 1
            self.get_logger().error(self.diagnostics.fault)
        if self.context.ok():
            self.executor.create_task(self._on_loaded)

    def _on_loaded(self) -> None:
        """Start the episode that was waiting for this release."""
        if self._held:
            self.on_event(self._held)

    def _version(self) -> int:
        newest = self._next or self._policy
        return newest.version if newest else 0

    def on_event(self, event: EpisodeEvent) -> None:
        """Begin or end an episode; an episode that waited for a release is over too."""
        self._held = None
        super().on_event(event)

    def on_episode_start(self, event: EpisodeEvent) -> bool:
        """Begin the episode with the release it asks for; wait for that if it is not here yet."""
        if self._next is not None:
            self._policy, self._next = self._next, None
            self.report_backend(self._policy.runtime)
        if self._policy is None or self._policy.version < event.policy_version:
            self._held = event
            return False
        self.diagnostics.values['policy_version'] = str(self._policy.version)
        self._policy.begin(event.instruction, event.seed)
        return True

    def on_observation(self, stamp: int, message: Any) -> bool:
        """Publish what to do about a picture, and what was seen of it."""
        observation = observe(to_image(message), self.embodiment)
        action = self._policy.act(observation)
        self.publish_action(action, observation, stamp, policy_version=self._policy.version)
        return True


def main(args: list[str] | None = None) -> None:
    """Run the policy node."""
    run(PolicyNode, args)


if __name__ == '__main__':
    main()
