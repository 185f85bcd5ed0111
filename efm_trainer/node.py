"""The trainer node: learns from finished bags and publishes releases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from efm_core import ros_topics, topics
from efm_core.config import config, parameter
from efm_core.embodiment import load_embodiment
from efm_core.ros_diagnostics import Diagnostics
from efm_core.ros_lifecycle import ManagedNode, run
from efm_core.ros_params import declare
from efm_core.shared_config import EmbodimentConfig, PresetConfig, TextEncoderConfig
from efm_interfaces.msg import PolicyRelease, TrainerStatus
from efm_release.release import Release
from efm_trainer.config import PracticeConfig, PRESETS
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn


@config
class TrainerNodeConfig(PresetConfig, TextEncoderConfig, EmbodimentConfig):
    """How the trainer node runs; ``PracticeConfig`` has the learning parameters."""

    run: str = parameter('', 'Directory of the run: episodes in, releases out')
    poll_period_s: float = parameter(
        0.1, 'Time between two reads of the inbox of episodes', 's', 0.01, 60.0
    )
    threads: int = parameter(
        1, 'Threads for learning; more slow down robots on the same small machine', '', 1, 256
    )


class TrainerNode(ManagedNode):
    """
    Turn practice episodes into releases.

    Reads the run's spool; publishes ``policy_release`` and ``trainer_status``.
    """

    config_type = TrainerNodeConfig

    def __init__(self, **kwargs: Any):
        """Wait for configure."""
        super().__init__('trainer', **kwargs)
        self._trainer: Any = None

    def build(self) -> None:
        """Load the checkpoints or what an earlier trainer left, connect the topics."""
        from efm_model.text import ensure_text_encoder, TextEncoder
        from efm_trainer.trainer import Trainer
        import torch

        config = self.config
        torch.set_num_threads(config.threads)
        encoder = TextEncoder(config.text_encoder or ensure_text_encoder())
        practice = declare(self, PracticeConfig, PRESETS[config.preset])
        self._trainer = Trainer(
            Path(config.run), load_embodiment(config.embodiment), encoder=encoder, config=practice
        )
        self._diagnostics = Diagnostics(self)
        self._releases = ros_topics.publisher(self, topics.POLICY_RELEASE)
        self._statuses = ros_topics.publisher(self, topics.TRAINER_STATUS)
        self._said = ()

    def begin(self) -> None:
        """Announce the newest release and look at the spool from now on."""
        self._announce(self._trainer.release)
        self._timer = self.create_timer(
            self.config.poll_period_s,
            self._on_timer,
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )

    def hold(self) -> None:
        """Look at the spool no more."""
        self.destroy_timer(self._timer)

    def dismantle(self) -> None:
        """Let another trainer work here."""
        self._close()
        super().dismantle()

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let another trainer work here."""
        result = super().on_shutdown(state)
        self._close()
        return result

    def _close(self) -> None:
        if self._trainer is not None:
            self._trainer.close()
            self._trainer = None

    def _on_timer(self) -> None:
        """Take in what has come and learn from it; a full disk is said and tried again."""
        try:
            self._announce(self._trainer.step())
            self._diagnostics.fault = ''
        except OSError as error:
            self._diagnostics.count_dropped(str(error))
            self._diagnostics.fault = str(error)
        self._say()

    def _announce(self, release: Release | None) -> None:
        if release is None:
            return
        self._releases.publish(
            PolicyRelease(
                version=release.version,
                stage=release.stage,
                uri=release.uri,
                sha256=release.sha256,
                embodiment_hash=release.embodiment_hash,
            )
        )

    def _say(self) -> None:
        """Publish the state of learning whenever it has changed."""
        status = self._trainer.status
        values = {
            key: status[key] for key in ('version', 'updates', 'episodes', 'stale', 'quarantined')
        }
        if tuple(values.values()) != self._said:
            self._said = tuple(values.values())
            self._statuses.publish(TrainerStatus(**values))


def main(args: list[str] | None = None) -> None:
    """Run the trainer node."""
    run(TrainerNode, args)


if __name__ == '__main__':
    main()
