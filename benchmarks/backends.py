"""
Runs a model with one backend in a process of its own; ``inference.py`` starts it.

The process first writes facts about the backend, or why it is missing. Then it reads lines
``calls seconds pause`` and answers each with the latencies of these calls [s] and the processor
time per call [s]. ``seconds`` limits the time of the calls. All output is JSON, one line each.
"""

from __future__ import annotations

from collections.abc import Callable
import functools
import json
import os
from pathlib import Path
import shutil
import sys
import time
from typing import Any, TextIO

import numpy as np
import psutil

WARM_UP_CALLS = 30
WARM_UP_S = 3.0
MIN_CALLS = 3  # even if they exceed the time

Call = Callable[[], Any]


def serve(call: Call, output: TextIO, **facts: Any) -> None:
    """Warm up; then measure as often as standard input requests."""
    measure(call, WARM_UP_CALLS, WARM_UP_S)
    memory = psutil.Process().memory_info().rss / 2**20
    write_line(output, {'memory_mb': round(memory), **facts})
    for line in sys.stdin:
        calls, seconds, pause = line.split()
        before = time.process_time()
        latencies = measure(call, int(calls), float(seconds), float(pause))
        processor = (time.process_time() - before) / len(latencies)
        write_line(output, {'latencies': latencies, 'processor': processor})


def measure(call: Call, calls: int, seconds: float, pause: float = 0.0) -> list[float]:
    """
    Return the latencies of several calls [s].

    :param calls: largest number of calls.
    :param seconds: after this time no further call starts [s].
    :param pause: rest before each call [s].
    """
    end = time.monotonic() + seconds
    latencies: list[float] = []
    while len(latencies) < calls and (len(latencies) < MIN_CALLS or time.monotonic() < end):
        latencies.append(timed(call, pause))
    return latencies


def timed(call: Call, pause: float) -> float:
    """Return the time of one call [s], after a rest of ``pause`` [s]."""
    time.sleep(pause)
    before = time.perf_counter()
    call()
    return time.perf_counter() - before


def write_line(output: TextIO, content: Any) -> None:
    """Write one line of JSON."""
    output.write(json.dumps(content) + '\n')
    output.flush()


def claim_stdout() -> TextIO:
    """Return standard output as a file; prints of libraries go to standard error instead."""
    output = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    return output


def onnxruntime_session(
    folder: Path, threads: int, name: str = 'policy'
) -> tuple[Call, dict[str, Any]]:
    """Return a call that runs an exported policy on prepared inputs, and facts."""
    from efm_model.config import SessionConfig
    from efm_model.providers import OnnxSession

    path = folder / f'{name}.onnx'
    session = OnnxSession(path, 'policy', config=SessionConfig(threads=threads))
    inputs = dict(np.load(folder / f'{name}.npz'))
    return functools.partial(session.run, inputs), {'provider': session.provider}


def image_session(folder: Path, threads: int) -> tuple[Call, dict[str, Any]]:
    """Return a call that runs the exported policy on a camera image, without the node."""
    from efm_core.embodiment import load_embodiment
    from efm_core.preprocessing import observe
    from efm_model.config import SessionConfig
    from efm_model.providers import OnnxSession
    from efm_model.runtime import model_inputs, ObservationHistory

    robot = load_embodiment(folder / 'embodiment.yaml')
    session = OnnxSession(folder / 'policy.onnx', 'policy', config=SessionConfig(threads=threads))
    inputs = dict(np.load(folder / 'policy.npz'))
    history = ObservationHistory(inputs['text'][0])
    image = inputs['observations'][0, 1]

    def call() -> None:
        seen = observe((image,), robot)
        session.run({**model_inputs([history], [seen]), 'gumbel': inputs['gumbel']})

    return call, {}


def torch_graph(folder: Path, threads: int, compiled: bool = False) -> tuple[Call, dict[str, Any]]:
    """Return a call that runs the model behind the export in torch, and facts."""
    from efm_core.embodiment import load_embodiment
    from efm_model.checkpoint import load_checkpoint
    from efm_model.export import PolicyGraph
    import torch

    if compiled and not shutil.which(os.environ.get('CXX', 'g++')):
        raise ImportError('torch.compile: expected the C++ compiler g++, got none')
    torch.set_num_threads(threads)
    robot = load_embodiment(folder / 'embodiment.yaml')
    graph = PolicyGraph(load_checkpoint(folder / 'policy', robot)[0]).eval()
    inputs = [torch.from_numpy(value) for value in np.load(folder / 'policy.npz').values()]
    run = torch.compile(graph) if compiled else graph
    return functools.partial(torch.inference_mode()(run), *inputs), {}


def act(
    folder: Path, threads: int, *, of_an_arm: bool = False, whole_chunk: bool = False
) -> tuple[Call, dict[str, Any]]:
    """
    Return a call of LeRobot's ACT: one action of a new chunk, or all actions of a chunk.

    :param of_an_arm: whether it has the cameras, state and actions of the visuomotor model; else
        the camera of the grounding model.
    """
    import act_policy
    from efm_core.embodiment import load_embodiment

    name = 'visuomotor' if of_an_arm else 'embodiment'
    robot = load_embodiment(folder / f'{name}.yaml')
    dimensions = len(robot.action.names)
    state = len(robot.proprioception_names) or dimensions
    policy, batch, facts = act_policy.make(robot.image_sizes, state, dimensions, threads=threads)
    actions = policy.config.n_action_steps if whole_chunk else 1

    def call() -> None:
        policy.reset()
        for _ in range(actions):
            policy.select_action(batch)

    return call, {**facts, 'actions': actions}


BACKENDS: dict[str, Callable[[Path, int], tuple[Call, dict[str, Any]]]] = {
    'torch eager': torch_graph,
    'torch.compile': functools.partial(torch_graph, compiled=True),
    'onnxruntime': onnxruntime_session,
    'image': image_session,
    'ACT': act,
    'visuomotor': functools.partial(onnxruntime_session, name='visuomotor'),
    'ACT, two cameras': functools.partial(act, of_an_arm=True),
    'ACT chunk': functools.partial(act, whole_chunk=True),
}


def main() -> None:
    """Measure one backend until standard input ends."""
    name = sys.argv[1]
    threads = int(sys.argv[2])
    folder = Path(sys.argv[3])
    output = claim_stdout()
    try:
        call, facts = BACKENDS[name](folder, threads)
        serve(call, output, threads=threads, **facts)
    except ImportError as error:
        write_line(output, {'missing': f'{name}: {error}'})


if __name__ == '__main__':
    main()
