"""
One way to run a model, in a process of its own; started by ``inference.py``.

Says first what it is, or why it cannot be had; then, for each line ``calls seconds pause``, the
latencies of that many calls [s], or of those that fit into so many seconds, and the processor's
time for a call. All as JSON, one line each.
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
from typing import Any

import numpy as np
import psutil

WARM_UP = 30  # calls
WARM_UP_S = 3.0  # seconds
LEAST = 3  # calls, however long they take

Call = Callable[[], Any]


def serve(call: Call, answers: Any, **facts: Any) -> None:
    """Warm up, then measure as often as the other side asks."""
    measure(call, WARM_UP, WARM_UP_S)
    memory = psutil.Process().memory_info().rss / 2**20
    say(answers, {'memory_mb': round(memory), **facts})
    for line in sys.stdin:
        calls, seconds, pause = line.split()
        before = time.process_time()
        latencies = measure(call, int(calls), float(seconds), float(pause))
        processor = (time.process_time() - before) / len(latencies)
        say(answers, {'latencies': latencies, 'processor': processor})


def measure(call: Call, calls: int, seconds: float, pause: float = 0.0) -> list[float]:
    """Return the latencies of as many calls as asked for and as time allows [s]."""
    end = time.monotonic() + seconds
    latencies = []
    while len(latencies) < calls and (len(latencies) < LEAST or time.monotonic() < end):
        latencies.append(timed(call, pause))
    return latencies


def timed(call: Call, pause: float) -> float:
    """Return how long a call took [s]; rest before it."""
    time.sleep(pause)
    before = time.perf_counter()
    call()
    return time.perf_counter() - before


def say(answers: Any, what: Any) -> None:
    """Answer with one line."""
    answers.write(json.dumps(what) + '\n')
    answers.flush()


def own_stdout() -> Any:
    """Return standard output as a file for answers; what libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    return answers


def onnxruntime_session(folder: Path, threads: int) -> tuple[Call, dict]:
    """Run the exported policy on inputs made beforehand."""
    from efm_model.config import SessionConfig
    from efm_model.providers import OnnxSession

    session = OnnxSession(folder / 'policy.onnx', 'policy', config=SessionConfig(threads=threads))
    inputs = dict(np.load(folder / 'inputs.npz'))
    return functools.partial(session.run, inputs), {'provider': session.provider}


def picture_session(folder: Path, threads: int) -> tuple[Call, dict]:
    """Run the exported policy on a picture that has just come, and nothing else of the node."""
    from efm_core.embodiment import load_embodiment
    from efm_core.observation import observe
    from efm_model.config import SessionConfig
    from efm_model.providers import OnnxSession
    from efm_model.runtime import FrameHistory, model_inputs

    robot = load_embodiment(folder / 'embodiment.yaml')
    session = OnnxSession(folder / 'policy.onnx', 'policy', config=SessionConfig(threads=threads))
    inputs = dict(np.load(folder / 'inputs.npz'))
    history = FrameHistory(inputs['text'][0])
    picture = inputs['observations'][0, 1]

    def call():
        session.run(
            {**model_inputs([history], observe(picture, robot)[None]), 'gumbel': inputs['gumbel']}
        )

    return call, {}


def torch_graph(folder: Path, threads: int, compiled: bool = False) -> tuple[Call, dict]:
    """Run what the file was exported from, in torch."""
    from efm_core.embodiment import load_embodiment
    from efm_model.checkpoint import load_checkpoint
    from efm_model.export import PolicyGraph
    import torch

    if compiled and not shutil.which(os.environ.get('CXX', 'g++')):
        raise ImportError('torch.compile needs a C++ compiler; there is no g++')
    torch.set_num_threads(threads)
    robot = load_embodiment(folder / 'embodiment.yaml')
    graph = PolicyGraph(load_checkpoint(folder / 'policy', robot)[0]).eval()
    inputs = [torch.from_numpy(value) for value in np.load(folder / 'inputs.npz').values()]
    run = torch.compile(graph) if compiled else graph
    return functools.partial(torch.inference_mode()(run), *inputs), {}


def act(folder: Path, threads: int, whole_chunk: bool = False) -> tuple[Call, dict]:
    """Let LeRobot's ACT choose: one action from a new chunk, or all actions of one."""
    import act_policy

    height, width = np.load(folder / 'inputs.npz')['observations'].shape[2:4]
    policy, batch, facts = act_policy.make(height, width, threads)
    actions = policy.config.n_action_steps if whole_chunk else 1

    def call():
        policy.reset()
        for _ in range(actions):
            policy.select_action(batch)

    return call, {**facts, 'actions': actions}


BACKENDS = {
    'torch eager': torch_graph,
    'torch.compile': functools.partial(torch_graph, compiled=True),
    'onnxruntime': onnxruntime_session,
    'picture': picture_session,
    'ACT': act,
    'ACT chunk': functools.partial(act, whole_chunk=True),
}


def main() -> None:
    """Serve one backend until standard input ends."""
    name = sys.argv[1]
    threads = int(sys.argv[2])
    folder = Path(sys.argv[3])
    answers = own_stdout()
    try:
        call, facts = BACKENDS[name](folder, threads)
        serve(call, answers, threads=threads, **facts)
    except ImportError as error:
        say(answers, {'missing': f'{name}: {error}'})


if __name__ == '__main__':
    main()
