"""The base of every node that publishes ``action`` and ``observation``."""

from __future__ import annotations

from typing import ClassVar

from efm_core import ros_topics, topics
from efm_core.action import PERTURBATION, PolicyAction
from efm_core.embodiment import Embodiment
from efm_core.observation import Observation
from efm_core.ros_episodic import EpisodicNode
from efm_core.ros_messages import (
    from_action,
    from_ns,
    from_observation,
    from_period,
    from_proprioception,
)
import numpy as np
from rclpy.publisher import Publisher


class ActingNode(EpisodicNode):
    """
    Publishes one ``action`` for each observation, and the ``observation`` itself.

    Policies, demonstrators and teleoperation derive from it. A derived class calls `connect` and
    `offer_actions` from `build`.

    :cvar source: field ``source`` of the actions, except of perturbations.
    """

    source: ClassVar[str]

    def connect(self, embodiment: Embodiment, *, lockstep: bool, every: bool = False) -> None:
        """
        Subscribe to the episodes of an embodiment, and create the publisher of ``observation``.

        :param lockstep: the world waits for each action; actions then have no deadline.
        :param every: act on one image a control period. A policy with chunks acts on one image a
            chunk.
        """
        self.subscribe_episodes(embodiment, lockstep, every)
        self._lifetime_ns = 0 if lockstep else int(1e9 * embodiment.action_lifetime_s)
        rows = topics.observation_topics(embodiment.cameras)
        self._images = [ros_topics.publisher(self, row) for row in rows]
        self._proprioception: Publisher | None = None
        if embodiment.proprioception:
            self._proprioception = ros_topics.publisher(self, topics.PROPRIOCEPTION)
        self._actions: Publisher | None = None

    def offer_actions(self) -> None:
        """Create the publisher of ``action``. The supervisor waits for it before any episode."""
        self._actions = ros_topics.publisher(self, topics.ACTION)

    @property
    def offers_actions(self) -> bool:
        """Whether the publisher of ``action`` exists."""
        return self._actions is not None

    def deadline(self, stamp: int) -> int:
        """Return the latest time [ns] to execute the action for this stamp [ns]; 0 for none."""
        return stamp + self._lifetime_ns if self._lifetime_ns else 0

    def publish_action(
        self,
        action: PolicyAction,
        observation: Observation,
        stamp: int,
        *,
        policy_version: int = 0,
    ) -> None:
        """
        Publish the action for an observation, then the observation.

        :param observation: what the policy saw.
        :param stamp: of the observation [ns].
        :param policy_version: release that made the action; 0 for a demonstrator.
        :raises RuntimeError: before `offer_actions`.
        """
        if self._actions is None:
            raise RuntimeError(f'{self.get_name()}: expected offer_actions() first, got none')
        is_chunk = np.ndim(action.values) == 2
        message = from_action(
            action.tokens,
            action.values,
            action.log_probability,
            stamp,
            deadline=from_ns(self.deadline(stamp)),
            episode_id=self.matcher.event.episode_id,
            step=self.matcher.count(stamp),
            source=PERTURBATION if action.is_perturbation else self.source,
            policy_version=policy_version,
            embodiment_hash=self.embodiment.hash,
            period=from_period(self.embodiment.period_ns if is_chunk else 0),
        )
        self.publish_reply(self._actions, message)
        self._publish_observation(observation, stamp)

    def publish_last_observation(self, observation: Observation, stamp: int) -> None:
        """Publish an observation that no action follows; arguments as `publish_action`."""
        self.matcher.count(stamp)
        self._publish_observation(observation, stamp)

    def _publish_observation(self, observation: Observation, stamp: int) -> None:
        for publisher, image in zip(self._images, observation.images, strict=True):
            self.publish_reply(publisher, from_observation(image, stamp))
        if self._proprioception is not None:
            names = self.embodiment.proprioception_names
            message = from_proprioception(names, observation.proprioception, stamp)
            self.publish_reply(self._proprioception, message)
