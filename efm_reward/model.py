"""The reward model on a robot: it predicts steps-to-go and detects success, without torch."""

from __future__ import annotations

from dataclasses import dataclass, KW_ONLY
from pathlib import Path

from efm_core.embodiment import Embodiment
from efm_core.episode_rules import SuccessDetector
from efm_core.files import FileContent
from efm_core.observation import Observation
from efm_core.preprocessing import check_observation
from efm_model.runtime import InferenceBackend, model_inputs, ObservationHistory, Runtime
from efm_model.text import InstructionEncoder
import numpy as np


@dataclass(frozen=True)
class StepsToGoPrediction:
    """
    The prediction for one observation.

    :param probabilities: distribution over the steps-to-go bins of the embodiment, ``(bins,)``
        float32.
    :param steps_to_go: d(o, g), the mean of the distribution [steps].
    :param success: whether the success detector fires on this observation.
    """

    probabilities: np.ndarray
    steps_to_go: float
    _: KW_ONLY
    success: bool


@dataclass
class RewardEpisode:
    """The state of one episode: its newest observation and its success detector."""

    history: ObservationHistory
    detector: SuccessDetector


class RewardModel:
    """
    Predicts steps-to-go from observations and detects success.

    Source: Ghasemipour et al. 2025 (arXiv:2509.15155), Stage 2::

        d(o, g)       = E[steps-to-go | o, g]
        success(o, g) = d(o, g) <= s

    Success must also hold on ``success_dwell`` consecutive observations, see
    `efm_core.episode_rules`. Use ``begin`` and ``predict`` for one episode at a time, ``start``
    and ``predict_batch`` for many at once.

    :ivar embodiment: the robot that the model was trained for.
    """

    def __init__(
        self,
        runtime: InferenceBackend,
        text_encoder: InstructionEncoder,
        *,
        embodiment: Embodiment,
    ):
        """
        Make a reward model from its parts.

        :param runtime: runs the network.
        :param text_encoder: encodes the instructions.
        :raises ValueError: when the encoder does not know the language of the instructions.
        """
        text_encoder.check_language(embodiment.instruction_language)
        self.runtime = runtime
        self.embodiment = embodiment
        self.text_encoder = text_encoder
        self._values = embodiment.steps_to_go.values
        self._rules = embodiment.episode
        self._episode: RewardEpisode | None = None

    @classmethod
    def load(
        cls,
        source: str | Path | FileContent,
        text_encoder: InstructionEncoder,
        embodiment: Embodiment,
        provider: str = 'auto',
    ) -> RewardModel:
        """
        Open an exported reward model.

        :param source: path of the ONNX file, or its content.
        :param provider: onnxruntime provider: auto, tensorrt, cuda or cpu.
        :raises FileNotFoundError: when the file does not exist.
        :raises ValueError: when the file was made for another embodiment, or the encoder does not
            know the language of the instructions.
        """
        text_encoder.check_language(embodiment.instruction_language)
        return cls(
            Runtime(source, 'reward', embodiment=embodiment, provider=provider),
            text_encoder,
            embodiment=embodiment,
        )

    @property
    def version(self) -> int:
        """The version of the model, from the metadata of its file."""
        return self.runtime.version

    def begin(self, instruction: str) -> None:
        """
        Begin an episode.

        :param instruction: the goal g, in the language of the embodiment.
        :raises ValueError: when the instruction is empty, too long or in another language.
        """
        self._episode = self.start(instruction)

    def predict(self, observation: Observation) -> StepsToGoPrediction:
        """
        Return the prediction for the next observation of the episode that ``begin`` began.

        :raises ValueError: when the observation does not fit the embodiment, or an output of the
            model is not finite.
        :raises RuntimeError: before ``begin``.
        """
        if self._episode is None:
            raise RuntimeError('reward model: expected begin() before predict(), got none')
        return self.predict_batch([self._episode], [observation])[0]

    def start(self, instruction: str) -> RewardEpisode:
        """Return a new episode for ``predict_batch``; arguments and errors as ``begin``."""
        history = ObservationHistory(self.text_encoder.encode(instruction))
        return RewardEpisode(history, SuccessDetector(self._rules))

    def predict_batch(
        self, episodes: list[RewardEpisode], observations: list[Observation]
    ) -> list[StepsToGoPrediction]:
        """
        Return the prediction for the next observation of each episode.

        :param episodes: ``N`` episodes of ``start``.
        :param observations: one for each episode.
        :raises ValueError: as ``predict``.
        """
        seen = [check_observation(observation, self.embodiment) for observation in observations]
        found = self.runtime.run(**model_inputs([episode.history for episode in episodes], seen))[
            'probabilities'
        ]
        return [
            self._conclude(episode, probabilities)
            for episode, probabilities in zip(episodes, found, strict=True)
        ]

    def _conclude(self, episode: RewardEpisode, probabilities: np.ndarray) -> StepsToGoPrediction:
        d = float(probabilities @ self._values)
        return StepsToGoPrediction(probabilities, d, success=episode.detector.fires(d))
