"""The policy on a robot: from observation and instruction to action, without torch."""

from __future__ import annotations

from dataclasses import dataclass, KW_ONLY
from pathlib import Path

from efm_core.action import PolicyAction
from efm_core.embodiment import Embodiment
from efm_core.files import FileContent
from efm_core.observation import Observation
from efm_core.preprocessing import check_observation
from efm_core.tokeniser import ActionTokeniser
from efm_model.runtime import InferenceBackend, model_inputs, ObservationHistory, Runtime
from efm_model.text import InstructionEncoder
import numpy as np


@dataclass
class PolicyEpisode:
    """The state of one episode; ``step`` is the number of decisions so far."""

    history: ObservationHistory
    seed: int
    _: KW_ONLY
    step: int = 0


class Policy:
    """
    Samples actions from p(a | o, g).

    Use ``begin`` and ``act`` for one episode at a time, ``start`` and ``act_batch`` for many at
    once. The sampling noise depends only on the seed of the episode and on the step. So an episode
    can be repeated, whatever ran before it.

    :ivar embodiment: the robot that the policy was trained for.
    """

    def __init__(
        self,
        runtime: InferenceBackend,
        text_encoder: InstructionEncoder,
        *,
        embodiment: Embodiment,
        temperature: float = 1.0,
    ):
        """
        Make a policy from its parts.

        :param runtime: runs the network.
        :param text_encoder: encodes the instructions.
        :param temperature: of sampling; 0 selects the most probable token, which is unreliable
            after practice.
        :raises ValueError: when the encoder does not know the language of the instructions.
        """
        text_encoder.check_language(embodiment.instruction_language)
        self.runtime = runtime
        self.embodiment = embodiment
        self.text_encoder = text_encoder
        self._temperature = temperature
        self._tokeniser = ActionTokeniser(embodiment.action)
        self._noise_shape = tuple(map(int, self.runtime.input_shape('gumbel')[1:]))
        self._episode: PolicyEpisode | None = None

    @classmethod
    def load(
        cls,
        source: str | Path | FileContent,
        text_encoder: InstructionEncoder,
        embodiment: Embodiment,
        temperature: float = 1.0,
        provider: str = 'auto',
    ) -> Policy:
        """
        Open an exported policy; other arguments as the constructor.

        :param source: path of the ONNX file, or its content.
        :param provider: onnxruntime provider: auto, tensorrt, cuda or cpu.
        :raises FileNotFoundError: when the file does not exist.
        :raises ValueError: when the file was made for another embodiment, or the encoder does not
            know the language of the instructions.
        """
        text_encoder.check_language(embodiment.instruction_language)
        runtime = Runtime(source, 'policy', embodiment=embodiment, provider=provider)
        return cls(runtime, text_encoder, embodiment=embodiment, temperature=temperature)

    @property
    def version(self) -> int:
        """The version of the policy, from the metadata of its file."""
        return self.runtime.version

    def begin(self, instruction: str, seed: int) -> None:
        """
        Begin an episode.

        :param instruction: the goal g, in the language of the embodiment.
        :param seed: of the sampling noise.
        :raises ValueError: when the instruction is empty, too long or in another language.
        """
        self._episode = self.start(instruction, seed)

    def act(self, observation: Observation) -> PolicyAction:
        """
        Return the next action of the episode that ``begin`` began.

        :raises ValueError: when the observation does not fit the embodiment, or an output of the
            model is not finite.
        :raises RuntimeError: before ``begin``.
        """
        if self._episode is None:
            raise RuntimeError('policy: expected begin() before act(), got none')
        return self.act_batch([self._episode], [observation])[0]

    def start(self, instruction: str, seed: int) -> PolicyEpisode:
        """Return a new episode for ``act_batch``; arguments and errors as ``begin``."""
        return PolicyEpisode(ObservationHistory(self.text_encoder.encode(instruction)), seed)

    def act_batch(
        self, episodes: list[PolicyEpisode], observations: list[Observation]
    ) -> list[PolicyAction]:
        """
        Return the next action of each episode.

        :param episodes: ``N`` episodes of ``start``.
        :param observations: one for each episode.
        :raises ValueError: as ``act``.
        """
        seen = [check_observation(observation, self.embodiment) for observation in observations]
        noise = np.stack(
            [gumbel(episode.seed, episode.step, self._noise_shape) for episode in episodes]
        )
        found = self.runtime.run(
            **model_inputs([episode.history for episode in episodes], seen),
            gumbel=noise * np.float32(self._temperature),
        )
        for episode in episodes:
            episode.step += 1
        values = self._tokeniser.decode(found['tokens'])
        log_probabilities = found['log_probability'].tolist()
        return [
            PolicyAction(tokens, decoded, log_probability=log_probability)
            for tokens, decoded, log_probability in zip(
                found['tokens'], values, log_probabilities, strict=True
            )
        ]


def gumbel(seed: int, step: int, shape: tuple[int, ...]) -> np.ndarray:
    """
    Return standard Gumbel noise, ``shape`` float32, that depends only on ``seed`` and ``step``.

    The index of the maximum of logits plus this noise is a sample from their softmax.
    """
    generator = np.random.Generator(np.random.Philox(key=[seed, step]))
    return generator.gumbel(size=shape).astype(np.float32)
