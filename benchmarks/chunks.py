"""
Cost of a chunk of 5 x 14 tokens with 256 levels in onnxruntime, against one action of the table.

All models take turns in one run: batch 1, one thread, random weights. Wall-clock times depend on
the load of the machine; processor times are those of the thread. The model ``own weights`` has
separate weights for every token, which the suite does not use. The last line is one JSON object.
Run it with ``python benchmarks/chunks.py``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
import json
from pathlib import Path
import tempfile
import time

from efm_core.embodiment import load_embodiment
from efm_model.config import ModelConfig, SessionConfig
from efm_model.export import example_inputs, export_policy
from efm_model.network import GroundingModel
from efm_model.providers import OnnxSession
import numpy as np

EMBODIMENTS = Path(__file__).resolve().parents[1] / 'config' / 'embodiments'
WARM_UP = 20  # forward passes of each model


def main() -> None:
    """Measure; print a line for each model, then the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--passes', type=int, default=500, help='forward passes of each model (default 500)'
    )
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), parser.parse_args().passes)
    for name, found in figures.items():
        print(f'{name:24}', *(f'{key} {value}' for key, value in found.items()))
    print(json.dumps(figures))


def measure(folder: Path, passes: int) -> dict[str, dict[str, float]]:
    """Return times [ms], their ratios to those of the table, and the file size [MB]."""
    files = export_all(folder)
    runs = {name: make_run(*file) for name, file in files.items()}
    for run in [*runs.values()] * WARM_UP:
        run()
    times = {name: np.empty((passes, 2)) for name in runs}
    for number in range(passes):
        for name, run in runs.items():
            before = time.perf_counter(), time.thread_time()
            run()
            after = time.perf_counter(), time.thread_time()
            times[name][number] = 1000 * np.subtract(after, before)
    base = np.median(times['table, one action'][:, 1])
    return {
        name: {
            'p50_ms': round(float(np.percentile(taken[:, 0], 50)), 3),
            'p99_ms': round(float(np.percentile(taken[:, 0], 99)), 3),
            'processor_p50_ms': round(float(np.median(taken[:, 1])), 3),
            'processor_over_table': round(float(np.median(taken[:, 1]) / base), 2),
            'file_mb': round(files[name][1].stat().st_size / 1e6, 1),
        }
        for name, taken in times.items()
    }


def export_all(folder: Path) -> dict[str, tuple[GroundingModel, Path]]:
    """Return each model with its exported file."""
    table, aloha = (load_embodiment(EMBODIMENTS / f'{n}.yaml') for n in ('table_arm', 'aloha'))
    config = ModelConfig.for_embodiment(aloha, pretrained='none')
    found = {
        'table, one action': (table, ModelConfig.for_embodiment(table, pretrained='none')),
        'aloha, 5 x 14 x 256': (aloha, config),
        'aloha, own weights': (aloha, replace(config, chunk=1)),
    }
    made = {}
    for number, (name, (robot, size)) in enumerate(found.items()):
        model = GroundingModel(size).eval()
        made[name] = (model, export_policy(model, folder / f'{number}.onnx', robot, 1))
    return made


def make_run(model: GroundingModel, path: Path) -> Callable[[], object]:
    """Return a function that runs one forward pass."""
    session = OnnxSession(path, 'policy', config=SessionConfig(provider='cpu'))
    inputs = example_inputs(model, 'policy', 1)
    return lambda: session.run(inputs)


if __name__ == '__main__':
    main()
