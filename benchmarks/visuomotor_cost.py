"""
Cost of the visuomotor model with two cameras: a decision in onnxruntime, a step of stage 1.

All sizes take turns in one run, with random weights and one thread. Wall-clock times depend on the
load of the machine; processor times are those of the process. The last line is one JSON object.
Run it with ``python benchmarks/visuomotor_cost.py``. The option ``--vision-backbone`` measures the
model with a pretrained backbone.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
import json
from pathlib import Path
import tempfile
import time

from efm_core.embodiment import Embodiment, load_embodiment, Proprioception
from efm_model.config import SessionConfig
from efm_model.export import example_inputs, export_policy, parity
from efm_model.providers import OnnxSession
from efm_model.torch_runtime import single_threaded
from efm_model.visuomotor import new_visuomotor, VisuomotorModel
from efm_trainer.augmentation import Augmentation
from efm_trainer.config import STAGE_ONE
from efm_trainer.losses import action_loss
import numpy as np
import torch

EMBODIMENT = Path(__file__).resolve().parents[1] / 'config' / 'embodiments' / 'so101.yaml'
SIZES = (64, 96, 128, 224)  # of the square frames of both cameras [px]
WARM_UP = 20  # decisions of each size


def main() -> None:
    """Measure; print a line for each size, then the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--decisions', type=int, default=300, help='decisions of each size (default 300)'
    )
    parser.add_argument(
        '--sizes', type=int, nargs='+', default=SIZES, help='of the square frames [px]'
    )
    parser.add_argument(
        '--vision-backbone', default='', help='as in `efm train`; empty: the small network'
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, single_threaded():
        figures = measure(
            Path(folder), options.decisions, tuple(options.sizes), options.vision_backbone
        )
    for size, found in figures.items():
        print(f'{size:>4} px', *(f'{key} {value}' for key, value in found.items()))
    print(json.dumps(figures))


def measure(
    folder: Path, decisions: int, sizes: tuple[int, ...] = SIZES, backbone: str = ''
) -> dict[int, dict[str, float]]:
    """Return times [ms], weights [thousands] and the difference of the export by frame size."""
    robots = {size: two_cameras(size) for size in sizes}
    models = {
        size: new_visuomotor(robot, vision_backbone=backbone) for size, robot in robots.items()
    }
    files = {
        size: export_policy(model, folder / f'{size}.onnx', robots[size], 1)
        for size, model in models.items()
    }
    runs = {size: make_run(model, files[size]) for size, model in models.items()}
    for run in [*runs.values()] * WARM_UP:
        run()
    times: dict[int, list[tuple[float, float]]] = {size: [] for size in sizes}
    for _ in range(decisions):
        for size, run in runs.items():
            times[size].append(timed(run))
    return {
        size: {
            'p50_ms': round(float(np.median(np.array(times[size])[:, 0])), 2),
            'processor_p50_ms': round(float(np.median(np.array(times[size])[:, 1])), 2),
            'training_step_processor_ms': round(training_step(model), 0),
            'thousand_weights': round(sum(p.numel() for p in model.parameters()) / 1000),
            'export_difference': parity(model, files[size], robots[size]).difference,
        }
        for size, model in models.items()
    }


def two_cameras(size: int) -> Embodiment:
    """Return a robot arm with a scene camera, a wrist camera and the positions of its joints."""
    robot = load_embodiment(EMBODIMENT)
    scene = replace(robot.cameras[0], size=(size, size))
    wrist = replace(scene, name='wrist', topic='wrist/image', role='wrist')
    joints = (Proprioception('joint_positions', robot.command.joints),)
    return replace(robot, cameras=(scene, wrist), proprioception=joints)


def make_run(model: VisuomotorModel, path: Path) -> Callable[[], object]:
    """Return a function that makes one decision."""
    session = OnnxSession(path, 'policy', config=SessionConfig(provider='cpu'))
    inputs = example_inputs(model, 'policy', 1)
    return lambda: session.run(inputs)


def training_step(model: VisuomotorModel, repeats: int = 3) -> float:
    """Return the median processor time of augmentation, forward and backward pass [ms]."""
    count = STAGE_ONE['visuomotor'].batch_size
    found = example_inputs(model, 'reward', count)
    inputs = {name: torch.from_numpy(value) for name, value in found.items()}
    tokens = torch.zeros(count, len(model.config.vocabulary), dtype=torch.int64)
    augment = Augmentation(0)

    def step() -> None:
        logits = model.policy_logits(model.features(augment(inputs)), tokens)
        action_loss(logits, tokens).backward()

    return float(np.median([timed(step)[1] for _ in range(repeats)]))


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Return the wall-clock time and the processor time of one call [ms]."""
    before = time.perf_counter(), time.process_time()
    run()
    after = time.perf_counter(), time.process_time()
    return 1000 * (after[0] - before[0]), 1000 * (after[1] - before[1])


if __name__ == '__main__':
    main()
