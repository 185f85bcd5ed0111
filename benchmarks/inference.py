"""
Latency from image to action: torch, torch.compile, onnxruntime, LeRobot's ACT and the policy node.

The output is tables and, as the last line, one JSON object. Run it with ``make bench-inference``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager, ExitStack
from datetime import date
import importlib.metadata
import json
import os
from pathlib import Path
import subprocess
import sys
import tempfile
from typing import Any, cast

from efm_bringup.graph import NodeSpec
from efm_bringup.processes import environment, reserve_domain, to_command
from efm_bringup.run import open_run
from efm_core.embodiment import Embodiment, load_embodiment
from efm_core.episode import Episode
from efm_model.runtime import model_inputs, ObservationHistory
from efm_model.text import ensure_text_encoder, TextEncoder
from figures import percentiles, ratio, spread, table
import numpy as np

HERE = Path(__file__).parent
PAUSE_S = 0.01  # between two images, so that the node finishes its other work
COMPARED = (
    'torch eager',
    'torch.compile',
    'onnxruntime',
    'ACT',
    'ACT chunk',
    'visuomotor',
    'ACT, two cameras',
)
ARM_IMAGE = 128  # [px], of both cameras of the visuomotor model
REQUIRED = (
    'torch_eager_over_onnxruntime',
    'node_over_onnxruntime_p50',
    'node_over_onnxruntime_p99',
    'act_over_compact',
    'act_over_visuomotor',
)
Figures = dict[str, Any]
Workers = dict[Any, 'Worker']


class Worker:
    """
    A process that measures latencies on request: ``backends.py`` or ``camera.py``.

    :ivar facts: facts about the backend; the key ``missing`` says why there is none.
    :ivar rounds: the latencies of each round [s].
    :ivar processor: the processor time per call of each round [s].
    """

    def __init__(self, command: list[str], env: dict[str, str]):
        """Start the process and read its facts."""
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )
        self.rounds: list[list[float]] = []
        self.processor: list[list[float]] = []
        self.facts = self._read()

    def measure(self, calls: int, seconds: float, pause: float = 0.0) -> None:
        """Measure one round; arguments as ``backends.measure``."""
        assert self._process.stdin  # a pipe
        self._process.stdin.write(f'{calls} {seconds} {pause}\n')
        self._process.stdin.flush()
        found = self._read()
        self.rounds.append(found['latencies'])
        self.processor.append([found['processor']])

    def _read(self) -> Any:
        """
        Return the next line of the process.

        :raises RuntimeError: when the process has ended.
        """
        assert self._process.stdout  # a pipe
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f'{self._process.args!r}: ended with {self._process.wait()}')
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin  # a pipe
        assert self._process.stdout  # a pipe
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()


def main(arguments: list[str] | None = None) -> Figures:
    """Measure; print tables, then the JSON line; return the figures."""
    options = parse(arguments)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        observations = prepare(folder, options)
        compared = compare(folder, options)
        node = measure_node(folder, options)
        sides = measure_in_process(folder, observations, options)
    figures = summarise(compared, node, options.threads[0])
    show(options, compared, node, sides, (load, os.getloadavg()[0]))
    figures |= {'load': [load, os.getloadavg()[0]], **sides}
    print(json.dumps(rounded(figures)))
    if options.require_act and figures['act_over_compact'] is None:
        raise SystemExit('ACT: expected LeRobot (--require-act), got none')
    return figures


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add(
        '--stage-one',
        type=Path,
        help='folder with the checkpoints policy and reward (default: fine-tune now)',
    )
    add(
        '--demonstrations',
        type=int,
        default=80,
        help='demonstrations; a quarter of them is for parity (default 80)',
    )
    add(
        '--iterations',
        type=int,
        default=1000,
        help='optimiser steps of fine-tuning, without --stage-one (default 1000)',
    )
    add(
        '--rounds',
        type=int,
        default=7,
        help='rounds; in each, all backends take turns (default 7)',
    )
    add('--calls', type=int, default=300, help='largest number of calls in a turn (default 300)')
    add('--seconds', type=float, default=2.0, help='largest time of a turn [s] (default 2)')
    add(
        '--threads',
        type=int,
        nargs='+',
        default=[1, 2],
        help='threads of the backends (default 1 2)',
    )
    add('--backends', nargs='+', default=COMPARED, choices=COMPARED, help='backends')
    add('--require-act', action='store_true', help='fail if LeRobot is not installed')
    add('--quick', action='store_true', help='skip the node and the slowest quantisations')
    return parser.parse_args(arguments)


def prepare(folder: Path, options: argparse.Namespace) -> dict[str, list[dict[str, np.ndarray]]]:
    """Write policy, release and inputs into ``folder``; return recorded observations."""
    import efm_model.torch_runtime  # noqa: F401, torch must be loaded before a GL context
    from efm_sim.rollout import demonstrate
    from efm_sim.table.config import TableConfig
    from efm_sim.table.world import Table
    import torch

    torch.set_num_threads(1)
    robot = load_embodiment(open_run(str(folder), ''))
    encoder = TextEncoder(ensure_text_encoder())
    tables = [Table(TableConfig()) for _ in range(4)]
    episodes = demonstrate(tables, range(options.demonstrations), robot)
    held_out = max(1, len(episodes) // 4)
    learning = episodes[held_out:]
    others = episodes[:held_out]
    publish(folder, robot, encoder, learning, options)
    calibration, parity = (
        [one for episode in some for one in inputs(episode, encoder, robot)]
        for some in (learning[:8], others)
    )
    export_visuomotor(folder)
    np.savez(folder / 'policy.npz', **cast(dict[str, Any], parity[0]))
    np.save(folder / 'frames.npy', others[0].observations.images[0])
    (folder / 'instruction.txt').write_text(others[0].instruction)
    return {'calibration': calibration[::4], 'parity': parity}


def publish(
    folder: Path,
    robot: Embodiment,
    encoder: TextEncoder,
    episodes: list[Episode],
    options: argparse.Namespace,
) -> None:
    """Fine-tune, or use ``--stage-one``; publish the result as the release for the node."""
    from efm_model.checkpoint import load_checkpoint
    from efm_model.export import export_policy, export_reward, parity
    from efm_release import publish as release
    from efm_trainer.config import SftConfig
    from efm_trainer.sft import fine_tune

    for kind in ('policy', 'reward') if options.stage_one else ():
        (folder / kind).symlink_to((options.stage_one / kind).absolute())
    if not options.stage_one:
        learning = SftConfig(iterations=options.iterations)
        fine_tune(episodes, robot, encoder, learning, folder)
    files = []
    reports = []
    for kind, export in (('policy', export_policy), ('reward', export_reward)):
        model = load_checkpoint(folder / kind, robot)[0]
        files.append(export(model, folder / f'{kind}.onnx', robot, 1))
        reports.append(parity(model, files[-1], robot, kind))
    policy, reward = files
    release.publish(
        folder / 'releases',
        1,
        policy=policy,
        reward=reward,
        embodiment=robot,
        parity=tuple(reports),
    )


def export_visuomotor(folder: Path) -> None:
    """Write a visuomotor policy of an arm with two cameras, with random weights, and an input."""
    from efm_core.embodiment_files import save_embodiment
    from efm_model.export import example_inputs, export_policy
    from efm_model.visuomotor import new_visuomotor
    from visuomotor_cost import two_cameras

    robot = two_cameras(ARM_IMAGE)
    model = new_visuomotor(robot)
    export_policy(model, folder / 'visuomotor.onnx', robot, 1)
    save_embodiment(robot, folder / 'visuomotor.yaml')
    np.savez(folder / 'visuomotor.npz', **cast(dict[str, Any], example_inputs(model, 'policy', 1)))


def inputs(
    episode: Episode, encoder: TextEncoder, robot: Embodiment
) -> list[dict[str, np.ndarray]]:
    """Return the inputs of the policy at each step of an episode, at temperature 0."""
    from efm_core.tokeniser import ActionTokeniser

    vocabulary = ActionTokeniser(robot.action).vocabulary
    zeros = np.zeros((1, len(vocabulary), max(vocabulary)), np.float32)
    history = ObservationHistory(encoder.encode(episode.instruction))
    return [{**model_inputs([history], [seen]), 'gumbel': zeros} for seen in episode.observations]


def start(stack: ExitStack, command: list[str], threads: int = 1, **env: str) -> Worker:
    """Return a worker that ends with ``stack``; numeric libraries use ``threads`` threads."""
    paths = [str(HERE), str(HERE.parent), os.environ.get('PYTHONPATH', '')]
    own = {'OMP_NUM_THREADS': str(threads), 'PYTHONPATH': os.pathsep.join(filter(None, paths))}
    worker = Worker(
        [sys.executable, *command], {**os.environ, **own, 'HF_HUB_OFFLINE': '1', **env}
    )
    stack.callback(worker.close)
    return worker


def compare(folder: Path, options: argparse.Namespace) -> Workers:
    """Measure each backend with each number of threads in turns; return the workers."""
    wanted = [(name, threads) for threads in options.threads for name in options.backends]
    with ExitStack() as stack:
        workers = {
            (name, threads): start(
                stack, [str(HERE / 'backends.py'), name, str(threads), str(folder)], threads
            )
            for name, threads in wanted
        }
        for _ in range(options.rounds):
            for worker in workers.values():
                if 'missing' not in worker.facts:
                    worker.measure(options.calls, options.seconds)
    return workers


def measure_node(folder: Path, options: argparse.Namespace) -> Workers:
    """Measure the policy node over DDS and its inference alone; return the workers."""
    if options.quick:
        return {}
    with ExitStack() as stack, ros_domain() as own, open(folder / 'node.log', 'w') as log:
        parameters = {
            'embodiment': str(folder / 'embodiment.yaml'),
            'release': str(folder / 'releases' / '000001'),
            'text_encoder': str(ensure_text_encoder()),
            'lockstep': True,
            'temperature': 0.0,
        }
        node = NodeSpec('policy_node', 'policy', namespace='robot_0', parameters=parameters)
        process = subprocess.Popen(to_command(node, 'warn'), env=own, stdout=log, stderr=log)
        stack.callback(process.wait)
        stack.callback(process.terminate)
        backend = [str(HERE / 'backends.py'), 'image', '1', str(folder)]
        workers = {
            'camera': start(stack, [str(HERE / 'camera.py'), str(folder)], 1, **own),
            'image': start(stack, backend),
        }
        for _ in range(options.rounds):
            for worker in workers.values():
                worker.measure(options.calls, options.seconds + options.calls * PAUSE_S, PAUSE_S)
    return workers


@contextmanager
def ros_domain() -> Iterator[dict[str, str]]:
    """Give the environment of a ROS domain that no other process uses."""
    domain, lock = reserve_domain()
    try:
        yield environment(domain, 'LOCALHOST')
    finally:
        lock.release()


def measure_in_process(
    folder: Path, observations: dict[str, list[dict[str, np.ndarray]]], options: argparse.Namespace
) -> Figures:
    """Return the figures of the precisions and of the session options."""
    from precision import measure_options, measure_precisions

    seconds = options.seconds / 4
    policy = folder / 'policy.onnx'
    return {
        'precision': measure_precisions(
            policy,
            observations['calibration'],
            observations['parity'],
            folder / 'precision',
            options.rounds,
            seconds,
            whole=not options.quick,
        ),
        'options': measure_options(policy, observations['parity'][0], options.rounds, seconds),
        'observations': len(observations['parity']),
    }


def rounded(value: Any) -> Any:
    """Return the figures with four significant digits."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return float(f'{value:.4g}') if isinstance(value, float) else value


def over(
    workers: Workers, slow: Any, fast: Any, percentile: float = 50, what: str = 'rounds'
) -> dict[str, float] | None:
    """
    Return the ratio of two workers, or None if one of them is missing.

    :param what: attribute to compare: ``rounds`` or ``processor``.
    """
    if not all(key in workers and workers[key].rounds for key in (slow, fast)):
        return None
    return ratio(getattr(workers[slow], what), getattr(workers[fast], what), percentile)


def summarise(compared: Workers, node: Workers, threads: int) -> Figures:
    """Return the ratios: their medians over the rounds, smallest and largest values."""
    fast = ('onnxruntime', threads)
    found = {
        'torch_eager_over_onnxruntime': over(compared, ('torch eager', threads), fast),
        'torch_compile_over_onnxruntime': over(compared, ('torch.compile', threads), fast),
        'act_over_compact': over(compared, ('ACT', threads), fast),
        'act_over_visuomotor': over(
            compared, ('ACT, two cameras', threads), ('visuomotor', threads)
        ),
        'act_over_compact_processor': over(compared, ('ACT', threads), fast, what='processor'),
        'node_over_onnxruntime_p50': over(node, 'camera', 'image'),
        'node_over_onnxruntime_p99': over(node, 'camera', 'image', 99),
    }
    medians = {key: value and value['median'] for key, value in found.items()}
    return {**medians, 'spreads': {k: v and [v['low'], v['high']] for k, v in found.items()}}


def show(
    options: argparse.Namespace,
    compared: Workers,
    node: Workers,
    sides: Figures,
    load: tuple[float, float],
) -> None:
    """Print the figures as Markdown tables, as docs/benchmarks.md has them."""
    versions = ', '.join(
        f'{name} {importlib.metadata.version(name)}' for name in ('onnxruntime', 'torch', 'numpy')
    )
    print(
        f'{date.today()}, load {load[0]:.1f} before and {load[1]:.1f} after, {versions}; '
        f'{options.rounds} rounds\n'
    )
    print(backend_table(compared), end='\n\n')
    for key, worker in compared.items():
        if 'missing' in worker.facts:
            print(f'{key[0]}: not measured: {worker.facts["missing"]}')
    if node:
        print(node_table(node), end='\n\n')
    print(option_table(sides['options']), end='\n\n')
    print(precision_table(sides), end='\n\n')


def backend_table(compared: Workers) -> str:
    """Return the table of backends, batch 1."""
    rows = []
    for (name, threads), worker in compared.items():
        if worker.rounds:
            actions = worker.facts.get('actions', 1)
            p = percentiles([np.asarray(r) / actions for r in worker.rounds])
            against = spread(over(compared, (name, threads), ('onnxruntime', threads)))
            against = 'each of its actions' if actions > 1 else against
            processor = percentiles([np.asarray(r) / actions for r in worker.processor])['p50']
            latencies = [f'{value:.2f}' for value in (p['p50'], p['p99'], processor)]
            rows.append([name, threads, *latencies, worker.facts['memory_mb'], against])
    header = ['batch 1', 'threads', 'p50 [ms]', 'p99 [ms]', 'processor [ms]', 'memory [MB]']
    header.append('over onnxruntime, p50')
    return table(header, rows)


def node_table(node: Workers) -> str:
    """Return the table of the policy node."""
    names = {'camera': 'image published to action received', 'image': 'onnxruntime, same pace'}
    rows = []
    for key, text in names.items():
        p = percentiles(node[key].rounds)
        rows.append([text, f'{p["p50"]:.2f}', f'{p["p99"]:.2f}'])
    rows.append(['**ratio**', *(spread(over(node, 'camera', 'image', p)) for p in (50, 99))])
    return table(['policy node over DDS', 'p50 [ms]', 'p99 [ms]'], rows)


def option_table(found: Figures) -> str:
    """Return the table of session options."""
    rows = [
        [name, f'{f["p50"]:.3f}', f'{f["p99"]:.3f}', spread(f['speed'])]
        for name, f in found.items()
    ]
    return table(['session', 'p50 [ms]', 'p99 [ms]', 'speed'], rows)


def precision_table(sides: Figures) -> str:
    """Return the table of precisions."""
    rows = [
        [
            name,
            f'{f["p50"]:.3f}',
            spread(f['speed']),
            f'{100 * f["same_tokens"]:.1f} %',
            f'{f["kl_mean"]:.1e}',
            f'{f["kl_p99"]:.1e}',
            f['kilobytes'],
        ]
        for name, f in sides['precision'].items()
    ]
    header = [
        f'{sides["observations"]} observations',
        'p50 [ms]',
        'speed',
        'same tokens',
        'KL, mean',
        'KL, p99',
        'kB',
    ]
    return table(header, rows)


if __name__ == '__main__':
    main()
