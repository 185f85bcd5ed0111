"""
Steps per second of the node graph in lockstep, against the same loop in one process.

The last line is one JSON object. Run it with ``make bench-graph``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
import re
import tempfile
import threading
import time
from typing import Any

from efm_bringup.graph import EVALUATE, GraphConfig, make_graph, results_path
from efm_bringup.processes import run_processes, to_command
from efm_bringup.run import open_run
from efm_core.embodiment import Embodiment, load_embodiment
from efm_core.files import FileContent
from efm_core.images import encode_png
from efm_core.preprocessing import observe
from efm_model.providers import OnnxSession
from efm_model.text import ensure_text_encoder, TextEncoder
from efm_policy.policy import Policy
from efm_release.release import load_release
from efm_reward.model import RewardModel
from efm_sim.table.config import TableConfig
from efm_sim.table.world import Table
import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[1]
OBSERVER = Path(__file__).with_name('observer.py')
BARE_CALLS = 1000
NODE_NAME = re.compile(r'__node:=(\w+)')
Usage = dict[str, dict[str, float]]  # memory [B] and processor time [s] by node


def main() -> None:
    """Measure; print a table, then the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--episodes', type=int, default=60, help='episodes through the graph (default 60)'
    )
    parser.add_argument(
        '--rounds',
        type=int,
        default=3,
        help='rounds of graph and single process in turns (default 3)',
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        embodiment = load_embodiment(open_run(str(run), ''))
        publish_untrained(run, embodiment)
        rounds = [
            measure_round(run, embodiment, options.episodes, number)
            for number in range(options.rounds)
        ]
        figures = {
            key: float(np.median([r[key] for r in rounds])) for key in rounds[0] if key != 'nodes'
        }
        figures['graph_over_in_process'] = (
            figures['graph_steps_per_s'] / figures['in_process_steps_per_s']
        )
        figures = {key: round(value, 4) for key, value in figures.items()}
        figures['nodes'] = rounds[-1]['nodes']
    show(figures)
    print(json.dumps(figures))


def publish_untrained(run: Path, embodiment: Embodiment) -> None:
    """Publish a release with the shipped encoder and untrained heads, to measure its speed."""
    from efm_model.export import export_policy, export_reward, parity
    from efm_model.network import new_model
    from efm_release.publish import publish
    import torch

    torch.set_num_threads(1)
    model = new_model(embodiment, seed=0)
    policy = export_policy(model, run / 'policy.onnx', embodiment, 1)
    reward = export_reward(model, run / 'reward.onnx', embodiment, 1)
    reports = (
        parity(model, policy, embodiment, 'policy'),
        parity(model, reward, embodiment, 'reward'),
    )
    publish(
        run / 'releases', 1, policy=policy, reward=reward, embodiment=embodiment, parity=reports
    )


def measure_round(run: Path, embodiment: Embodiment, episodes: int, number: int) -> dict[str, Any]:
    """Return the figures of one round: both loops in turn, under the same load."""
    graph = measure_graph(run, episodes, f'round{number}')
    return {
        **graph,
        **measure_in_process(run, embodiment, episodes * embodiment.episode.max_steps // 4),
    }


def measure_graph(run: Path, episodes: int, folder: str) -> dict[str, Any]:
    """Return steps per second, latencies at an observer, and memory and time of each node."""
    config = GraphConfig(
        run=str(run),
        num_robots=1,
        episodes=episodes,
        episodes_subdir=folder,
        text_encoder=str(ensure_text_encoder()),
    )
    results_path(config, EVALUATE).parent.mkdir(parents=True, exist_ok=True)
    nodes = make_graph(EVALUATE, config)
    commands = {node.full_name: to_command(node, 'warn') for node in nodes}
    seen = run / f'{folder}.json'
    commands['observer'] = [commands['fleet'][0], str(OBSERVER), str(seen)]
    usage: Usage = {}
    over = threading.Event()
    watcher = threading.Thread(target=watch, args=(usage, over))
    watcher.start()
    try:
        run_processes(commands, run / 'logs' / folder)
    finally:
        over.set()
        watcher.join()
    lines = [json.loads(line) for line in results_path(config, EVALUATE).read_text().splitlines()]
    steps = sum(line['steps'] for line in lines[1:])
    seconds = lines[-1]['time'] - lines[0]['time']
    observed = json.loads(seen.read_text()) if seen.is_file() else {}
    cpu = {
        name: {
            'rss_mb': round(u['rss'] / 2**20),
            'cpu_ms_per_step': round(1e3 * u['cpu'] / steps, 3),
        }
        for name, u in sorted(usage.items())
    }
    return {'graph_steps_per_s': steps / seconds, **observed, 'nodes': cpu}


def watch(usage: Usage, over: threading.Event) -> None:
    """Note the memory [B] and the processor time [s] of each node until ``over`` is set."""
    while not over.wait(0.5):
        for process in psutil.Process().children(recursive=True):
            try:
                name = NODE_NAME.search(' '.join(process.cmdline()))
                if name:
                    times = process.cpu_times()
                    entry = usage.setdefault(name[1], {'start': times.user + times.system})
                    entry.update(
                        rss=process.memory_info().rss,
                        cpu=times.user + times.system - entry['start'],
                    )
            except psutil.Error:
                continue


def measure_in_process(run: Path, embodiment: Embodiment, steps: int) -> dict[str, Any]:
    """Return steps per second of world, policy and reward model in one loop, and latencies."""
    files = load_release(str(run / 'releases' / '000001'), None)
    encoder = TextEncoder(ensure_text_encoder())
    policy = Policy.load(files.policy, encoder, embodiment)
    reward_model = RewardModel.load(files.reward, encoder, embodiment)
    table = Table(TableConfig())
    latencies = []
    started = time.perf_counter()
    for step in range(steps):
        if step % embodiment.episode.max_steps == 0:
            table.reset(step)
            policy.begin(table.instruction, step)
            reward_model.begin(table.instruction)
        image = table.render()
        seen = observe((image,), embodiment)
        before = time.perf_counter()
        action = policy.act(seen)
        latencies.append(time.perf_counter() - before)
        reward_model.predict(seen)
        encode_png(image)
        table.step(action.values)
    seconds = time.perf_counter() - started
    p50, p99 = 1e3 * np.percentile(latencies, (50, 99))
    return {
        'in_process_steps_per_s': steps / seconds,
        'policy_act_p50_ms': p50,
        'policy_act_p99_ms': p99,
        **measure_session(files.policy, encoder.encode(table.instruction), table.render()),
    }


def measure_session(
    file: Path | FileContent, text: np.ndarray, image: np.ndarray
) -> dict[str, Any]:
    """Return the latency of onnxruntime alone on the policy's file, with prepared inputs."""
    session = OnnxSession(file, 'policy')
    inputs = {
        'observations': np.stack([image, image])[None],
        'text': text[None],
        'text_mask': np.ones((1, len(text)), np.float32),
        'gumbel': np.zeros((1, *map(int, session.inputs['gumbel'].shape[1:])), np.float32),
    }
    latencies = []
    for _ in range(BARE_CALLS):
        before = time.perf_counter()
        session.run(inputs)
        latencies.append(time.perf_counter() - before)
    p50, p99 = 1e3 * np.percentile(latencies[BARE_CALLS // 10 :], (50, 99))
    return {'onnxruntime_p50_ms': p50, 'onnxruntime_p99_ms': p99}


def show(figures: dict[str, Any]) -> None:
    """Print the figures as a table."""
    print(f'{"node":12} {"memory [MB]":>12} {"processor [ms/step]":>20}')
    for name, usage in figures['nodes'].items():
        print(f'{name:12} {usage["rss_mb"]:12d} {usage["cpu_ms_per_step"]:20.3f}')
    for key, value in figures.items():
        if key != 'nodes':
            print(f'{key:28} {value:.3f}')


if __name__ == '__main__':
    main()
