"""The trainer node: train on finished bags and publish releases."""

from __future__ import annotations

from pathlib import Path
import time
from typing import Any, TYPE_CHECKING

from efm_core import ros_topics, topics
from efm_core.config import config, parameter
from efm_core.embodiment import load_embodiment
from efm_core.files import describe
from efm_core.ros_diagnostics import Diagnostics
from efm_core.ros_lifecycle import ManagedNode, run
from efm_core.ros_messages import from_release
from efm_core.ros_params import declare
from efm_core.shared_config import (
    DetectorGateConfig,
    EmbodimentConfig,
    PresetConfig,
    TextEncoderConfig,
)
from efm_interfaces.msg import TrainerStatus
from efm_release.release import Release
from efm_trainer.config import PracticeConfig, PRESETS
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn

if TYPE_CHECKING:
    from efm_trainer.trainer import Trainer

REPEAT_S = 10.0  # between two equal statuses while the disk is full
COUNTS = ('version', 'updates', 'episodes', 'stale', 'quarantined')  # fields of TrainerStatus


@config
class TrainerNodeConfig(PresetConfig, DetectorGateConfig, TextEncoderConfig, EmbodimentConfig):
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
    Train on the practice episodes of a run and publish the resulting releases.

    Reads the inbox of the run; publishes ``policy_release`` and ``trainer_status``.
    """

    config_type = TrainerNodeConfig

    def __init__(self, **kwargs: Any):
        """Create the node, unconfigured."""
        super().__init__('trainer', **kwargs)
        self._trainer: Trainer | None = None
        self._published: dict[str, int] = {}
        self._said_at = 0.0
        self.is_done = False
        self.exit_code = 0

    def build(self) -> None:
        """Load the checkpoints or the last state of the run; create the publishers."""
        from efm_model.text import ensure_text_encoder, TextEncoder
        from efm_trainer.detector import check_detector, read_report
        from efm_trainer.trainer import Trainer
        import torch

        config = self.config
        robot = load_embodiment(config.embodiment)
        found = read_report(Path(config.run) / 'sft')
        for line in check_detector(found, robot.episode, config.min_precision):
            self.get_logger().info(line)
        torch.set_num_threads(config.threads)
        self._trainer = Trainer(
            Path(config.run),
            robot,
            text_encoder=TextEncoder(config.text_encoder or ensure_text_encoder()),
            config=declare(self, PracticeConfig, PRESETS[config.preset]),
        )
        self._diagnostics = Diagnostics(self)
        self._releases = ros_topics.publisher(self, topics.POLICY_RELEASE)
        self._statuses = ros_topics.publisher(self, topics.TRAINER_STATUS)
        self._published = {}

    @property
    def _current(self) -> Trainer:
        assert self._trainer is not None  # from configure to cleanup
        return self._trainer

    def begin(self) -> None:
        """Publish the newest release and start to read the inbox."""
        self._publish_release(self._current.release)
        self._publish_status()
        self._heed_alarm()
        self._timer = self.create_timer(
            self.config.poll_period_s,
            self._on_timer,
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )

    def hold(self) -> None:
        """Stop reading the inbox."""
        self.destroy_timer(self._timer)

    def dismantle(self) -> None:
        """Release the lock of the run."""
        self._close()
        super().dismantle()

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release the lock of the run."""
        result = super().on_shutdown(state)
        self._close()
        return result

    def _close(self) -> None:
        if self._trainer is not None:
            self._trainer.close()
            self._trainer = None

    def _on_timer(self) -> None:
        """Train on what has arrived; report a full disk and try again at the next call."""
        try:
            release = self._current.step()
            if release is not None:
                self._publish_release(release)
            self._diagnostics.fault = ''
            self._publish_status()
            if release is not None:
                self._heed_alarm()
        except OSError as error:
            self._diagnostics.count_dropped(describe(error))
            self._diagnostics.fault = describe(error)
            self._repeat_status()

    def _heed_alarm(self) -> None:
        """Log the alarm of the newest update; end the process if practice must stop."""
        alarm = self._current.alarm
        if not alarm:
            return
        self.get_logger().error(alarm)
        if self.config.on_alarm == 'stop':
            self.is_done = True
            self.exit_code = 1

    def _publish_release(self, release: Release) -> None:
        self._releases.publish(from_release(release))

    def _publish_status(self) -> None:
        """Publish the counts of the trainer if they have changed."""
        status = self._current.status
        counts = {name: status[name] for name in COUNTS}
        if counts != self._published:
            self._published = counts
            self._statuses.publish(TrainerStatus(**counts))

    def _repeat_status(self) -> None:
        """Publish the last status again: the trainer is alive and waits for free space."""
        if time.monotonic() - self._said_at > REPEAT_S:
            self._said_at = time.monotonic()
            self._statuses.publish(TrainerStatus(**self._published))


def main(args: list[str] | None = None) -> None:
    """Run the trainer node."""
    run(TrainerNode, args)


if __name__ == '__main__':
    main()
