"""The policy node: camera to action."""

from __future__ import annotations

import threading
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
from efm_core.ros_messages import from_action, from_ns, from_observation
from efm_interfaces.msg import EpisodeEvent, PolicyRelease
from efm_model.text import ensure_text_encoder, TextEncoder
from efm_policy.config import PolicyConfig
from efm_policy.policy import Policy


class PolicyNode(ManagedNode):
    """
    Answer every observation of an episode with an action.

    Subscribes the embodiment's camera, ``episode_event``, ``policy_release``; publishes
    ``observation``, ``action``. A new release is loaded beside the running one and takes over at
    the next episode.
    """

    config_type = PolicyConfig

    def __init__(self, **kwargs: Any):
        """Wait for configure."""
        super().__init__('policy', **kwargs)

    def build(self) -> None:
        """Load the first release, check the contract, connect the topics."""
        config = self.config
        self._embodiment = load_embodiment(config.embodiment)
        self._text_encoder = TextEncoder(config.text_encoder or ensure_text_encoder())
        self._policy = self._load(config.release, '') if config.release else None
        self._attempt, self._health = Attempt(), Health(self)
        self._next: Policy | None = None
        self._held: EpisodeEvent | None = None
        self._lifetime_ns = 0 if config.lockstep else int(1e9 * self._embodiment.action_lifetime_s)
        self._actions = ros_topics.publisher(self, topics.ACTION)
        self._observations = ros_topics.publisher(self, topics.OBSERVATION)
        ros_topics.camera_subscription(
            self, self._embodiment.cameras[0], self._on_image, config.lockstep
        )
        ros_topics.subscription(self, topics.EPISODE_EVENT, self._on_event)
        ros_topics.subscription(self, topics.POLICY_RELEASE, self._on_release)

    def hold(self) -> None:
        """Answer nothing more."""
        self._attempt.end()

    def _load(self, uri: str, sha256: str) -> Policy:
        files = load_release(uri, sha256, self._embodiment.hash)
        return Policy(files.policy, self._text_encoder, self._embodiment, self.config.temperature)

    def _on_release(self, message: PolicyRelease) -> None:
        if message.stage == 'active' and message.version != self._version():
            threading.Thread(target=self._load_beside, args=(message,), daemon=True).start()

    def _load_beside(self, message: PolicyRelease) -> None:
        """Load a release off the control thread; a bad one is refused and the old one goes on."""
        try:
            self._next = self._load(message.uri, message.sha256)
        except (ValueError, OSError) as error:
            self._health.fault = f'release {message.version} refused: {error}'
            self._health.counts['releases refused'] += 1
            self.get_logger().error(self._health.fault)
        self.executor.create_task(self._on_loaded)

    def _on_loaded(self) -> None:
        """Start the episode that was waiting for this release."""
        if self._held:
            self._on_event(self._held)

    def _version(self) -> int:
        newest = self._next or self._policy
        return newest.version if newest else 0

    def _on_event(self, event: EpisodeEvent) -> None:
        if event.event == EpisodeEvent.END:
            self._attempt.end()
            self._held = None
        elif self.is_active:
            self._start(event)

    def _start(self, event: EpisodeEvent) -> None:
        """Begin the episode with the release it asks for; wait for that if it is not here yet."""
        self._attempt.end()  # topics may lose an END to the START that follows it
        if self._next is not None:
            self._policy, self._next = self._next, None
        if self._policy is None or self._policy.version < event.policy_version:
            self._held = event
            return
        self._held = None
        self._health.facts['policy_version'] = str(self._policy.version)
        try:
            self._embodiment.check_same(event.embodiment_hash, 'episode_event')
            self._policy.begin(event.instruction, event.seed)
        except ValueError as error:
            self._health.fault = str(error)
            self.get_logger().error(str(error))
            return
        self._health.fault = ''
        waiting = self._attempt.start(event, to_stamp(event))
        if waiting:
            self._act(*waiting)

    def _on_image(self, message: Any) -> None:
        stamp = to_stamp(message)
        if self.is_active and self._attempt.admit(stamp, message):
            self._act(stamp, message)

    def _act(self, stamp: int, message: Any) -> None:
        """Publish what was seen and what to do about it; a bad picture gets no action."""
        started = time.monotonic()
        try:
            observation = observe(to_image(message), self._embodiment)
            action = self._policy.act(observation)
        except ValueError as error:
            self._health.drop(str(error))
            return
        event, step = self._attempt.event, self._attempt.count(stamp)
        self._actions.publish(
            from_action(
                action.tokens,
                action.values,
                action.log_probability,
                stamp,
                deadline=from_ns(stamp + self._lifetime_ns if self._lifetime_ns else 0),
                episode_id=event.episode_id,
                step=step,
                source='policy',
                policy_version=self._policy.version,
                embodiment_hash=self._embodiment.hash,
            )
        )
        self._observations.publish(from_observation(observation, stamp))
        self._health.done(started)


def main(args: list[str] | None = None) -> None:
    """Run the policy node."""
    run(PolicyNode, args)


if __name__ == '__main__':
    main()
