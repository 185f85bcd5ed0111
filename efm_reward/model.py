"""The judge on a robot: how many steps to go, and is it done; onnxruntime only."""

from __future__ import annotations

from dataclasses import dataclass, KW_ONLY
from pathlib import Path

from efm_core.embodiment import Embodiment
from efm_core.episode_rules import SuccessDetector
from efm_model.runtime import FrameHistory, InferenceBackend, model_inputs, Runtime
from efm_model.text import InstructionEncoder
import numpy as np


@dataclass(frozen=True)
class StepsToGoPrediction:
    """
    What the judge thinks of one observation.

    :param probabilities: the distribution over the embodiment's steps-to-go bins, ``(bins,)``
        float32.
    :param steps_to_go: d(o, g), its mean [steps].
    :param success: whether d <= s on this and enough observations before it.
    """

    probabilities: np.ndarray
    steps_to_go: float
    _: KW_ONLY
    success: bool


@dataclass
class RewardEpisode:
    """The state of one episode: its newest frames and its success detector."""

    history: FrameHistory
    detector: SuccessDetector


class RewardModel:
    """
    Turn observations into steps-to-go and success.

    Source: Ghasemipour et al. 2025 (arXiv:2509.15155), Stage 2::

        d(o, g)       = E[steps-to-go | o, g]
        success(o, g) = d(o, g) <= s

    Here success must hold on ``success_dwell`` observations in a row: on a single one the detector
    fires at the border of success. One episode at a time with ``begin`` and ``predict``; many at
    once with ``start`` and ``predict_batch``.
    """

    def __init__(
        self,
        runtime: InferenceBackend,
        text_encoder: InstructionEncoder,
        *,
        embodiment: Embodiment,
    ):
        """
        Judge by what ``runtime`` answers.

        :raises ValueError: when the robot's language is not the encoder's.
        """
        text_encoder.check_language(embodiment.instruction_language)
        self.runtime = runtime
        self.embodiment = embodiment
        self.text_encoder = text_encoder
        self._spec = embodiment.observation_spec
        self._values = embodiment.steps_to_go.values
        self._rules = embodiment.episode
        self._episode: RewardEpisode | None = None

    @classmethod
    def load(
        cls,
        path: str | Path,
        text_encoder: InstructionEncoder,
        embodiment: Embodiment,
        provider: str = 'auto',
    ) -> RewardModel:
        """
        Open an exported reward model.

        :param provider: of onnxruntime: auto, tensorrt, cuda or cpu.
        :raises ValueError: when the file was made for another embodiment, or the language is not
            the encoder's.
        """
        text_encoder.check_language(embodiment.instruction_language)
        return cls(
            Runtime(path, 'reward', embodiment=embodiment, provider=provider),
            text_encoder,
            embodiment=embodiment,
        )

    @property
    def version(self) -> int:
        """The version that the exported file names."""
        return self.runtime.version

    def begin(self, instruction: str) -> None:
        """
        Begin an episode.

        :raises ValueError: when the instruction is empty, too long or in another language.
        """
        self._episode = self.start(instruction)

    def predict(self, observation: np.ndarray) -> StepsToGoPrediction:
        """
        Return what to think of the next observation of the episode that ``begin`` began.

        :param observation: ``(H, W, 3)`` uint8 RGB.
        :raises ValueError: when the observation breaks its spec or the model's output is not
            finite.
        :raises RuntimeError: when no episode has begun.
        """
        if self._episode is None:
            raise RuntimeError('reward model: expected begin() before predict(), got none')
        return self.predict_batch([self._episode], [observation])[0]

    def start(self, instruction: str) -> RewardEpisode:
        """Return a new episode for ``predict_batch``; raises as ``begin``."""
        history = FrameHistory(self.text_encoder.encode(instruction))
        return RewardEpisode(history, SuccessDetector(self._rules))

    def predict_batch(
        self, episodes: list[RewardEpisode], observations: list[np.ndarray]
    ) -> list[StepsToGoPrediction]:
        """
        Return the prediction of each of ``episodes``, given its next observation.

        Raises as ``predict``.
        """
        frames = np.stack([self._spec.check(observation) for observation in observations])
        found = self.runtime.run(
            **model_inputs([episode.history for episode in episodes], frames)
        )['probabilities']
        return [
            self._conclude(episode, probabilities)
            for episode, probabilities in zip(episodes, found, strict=True)
        ]

    def _conclude(self, episode: RewardEpisode, probabilities: np.ndarray) -> StepsToGoPrediction:
        d = float(probabilities @ self._values)
        return StepsToGoPrediction(probabilities, d, success=episode.detector.fires(d))
