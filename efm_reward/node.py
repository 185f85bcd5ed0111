"""The reward node: camera to steps-to-go and success."""

from __future__ import annotations

from typing import Any

from efm_core import ros_topics, topics
from efm_core.embodiment import load_embodiment
from efm_core.observation import Observation
from efm_core.ros_episodic import EpisodicNode
from efm_core.ros_lifecycle import run
from efm_core.ros_messages import from_steps_to_go
from efm_interfaces.msg import EpisodeEvent
from efm_model.text import ensure_text_encoder, TextEncoder
from efm_release.release import load_release
from efm_reward.config import RewardConfig
from efm_reward.model import RewardModel


class RewardNode(EpisodicNode):
    """
    Publishes steps-to-go and success for every observation of an episode, with chunks one a chunk.

    Subscribes the embodiment's camera and ``episode_event``; publishes ``steps_to_go``. The
    trainer computes the reward, d(o_t) - d(o_t+1).
    """

    config_type = RewardConfig
    config: RewardConfig

    def __init__(self, **kwargs: Any):
        super().__init__('reward', **kwargs)

    def build(self) -> None:
        """Load the reward model and connect the topics."""
        config = self.config
        self.subscribe_episodes(load_embodiment(config.embodiment), config.lockstep)
        files = load_release(config.release, None, self.embodiment.hash)
        self._reward_model = RewardModel.load(
            files.reward,
            TextEncoder(config.text_encoder or ensure_text_encoder()),
            self.embodiment,
            config.provider,
        )
        self.report_backend(self._reward_model.runtime)
        self.diagnostics.values['reward_version'] = str(self._reward_model.version)
        self._publisher = ros_topics.publisher(self, topics.STEPS_TO_GO)

    def on_episode_start(self, event: EpisodeEvent) -> bool:
        """Begin an episode with the instruction of its START."""
        self._reward_model.begin(event.instruction)
        return True

    def on_observation(self, stamp: int, observation: Observation) -> bool:
        """Publish the prediction for one image."""
        prediction = self._reward_model.predict(observation)
        event = self.matcher.event
        step = self.matcher.count(stamp)
        self.publish_reply(
            self._publisher,
            from_steps_to_go(
                prediction.probabilities,
                prediction.steps_to_go,
                prediction.success,
                stamp,
                episode_id=event.episode_id,
                step=step,
                reward_version=self._reward_model.version,
                embodiment_hash=self.embodiment.hash,
            ),
        )
        return True


def main(args: list[str] | None = None) -> None:
    """Run the reward node."""
    run(RewardNode, args)


if __name__ == '__main__':
    main()
