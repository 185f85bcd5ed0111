"""A second reward model that watches practice; it gives no reward and is in no release."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from efm_core.embodiment import Embodiment
from efm_core.episode import Episode, Termination
from efm_core.episode_rules import EpisodeRules
from efm_model.checkpoint import load_checkpoint
from efm_model.protocol import Model
from efm_model.text import InstructionEncoder
from efm_trainer.detector import read_report
from efm_trainer.prediction import predict_each
from efm_trainer.sft import SECOND


class SecondOpinion:
    """Counts with how many detections of the robot a second reward model agrees."""

    def __init__(
        self,
        model: Model,
        text_encoder: InstructionEncoder,
        *,
        embodiment: Embodiment,
        rules: EpisodeRules,
    ):
        """
        Keep the model.

        :param rules: with the threshold and dwell of this model.
        """
        self._model = model
        self._text_encoder = text_encoder
        self._scale = embodiment.steps_to_go
        self._rules = rules

    @classmethod
    def load(
        cls, folder: Path, embodiment: Embodiment, text_encoder: InstructionEncoder
    ) -> SecondOpinion | None:
        """
        Return the second reward model of stage 1; None where stage 1 made none.

        :param folder: ``sft`` of the run.
        :raises ValueError: when the checkpoint is damaged or of another embodiment.
        """
        found = read_report(folder)
        if not (folder / SECOND).is_dir() or found is None or found.second is None:
            return None
        model, _ = load_checkpoint(folder / SECOND, embodiment)
        rules = found.second.rules(embodiment.episode)
        return cls(model, text_encoder, embodiment=embodiment, rules=rules)

    def examine(self, episodes: Sequence[Episode]) -> dict[str, int]:
        """
        Return how many episodes the robot's detector ended, and with how many this one agrees.

        It agrees when its own d <= s holds on the last observations, as many as its dwell.

        :param episodes: of practice, each with at least one action.
        """
        fired = [e for e in episodes if e.termination is Termination.SUCCESS_DETECTED]
        predicted = predict_each(self._model, fired, self._text_encoder, self._scale)
        last = [d[-self._rules.success_dwell :] for d in predicted]
        agreed = [bool((d <= self._rules.success_threshold).all()) for d in last]
        return {'fired': len(fired), 'second_agrees': sum(agreed)}
