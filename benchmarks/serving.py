"""
Throughput and latency of the policy server against the number of robots.

Every robot has its own connection. All robots run in this process, each server in its own. There
are two kinds of requests. *Flat out*: the next observation follows the answer at once. *Paced*: at
the embodiment's control rate, with its action lifetime as the deadline. Servers with and without
micro-batching and the policy in one process take turns in short slices, under the same load. The
last line is one JSON object. Run it with ``python benchmarks/serving.py``; it takes two minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager, ExitStack
import json
from pathlib import Path
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

from efm_bringup.run import open_run
from efm_core.embodiment import Embodiment, load_embodiment
from efm_core.observation import Observation
from efm_model.text import ensure_text_encoder, TextEncoder
from efm_policy.policy import Policy
from efm_policy.serving.client import Client, Failure
from efm_release.release import load_release
import numpy as np
import psutil

ROBOTS = (1, 2, 4, 8, 16)
INSTRUCTION = 'push the red cube to the blue cylinder'
READY_S = 120.0
Figures = dict[str, Any]
SERVERS = {'batched': (), 'one by one': ('--max-batch', '1', '--max-wait-s', '0')}


def main() -> None:
    """Measure; print a table, then the JSON line."""
    from graph import publish_untrained

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--rounds', type=int, default=3, help='slices of each measurement (default 3)'
    )
    parser.add_argument(
        '--seconds', type=float, default=0.4, help='length of a slice [s] (default 0.4)'
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as servers:
        run = Path(folder)
        embodiment = load_embodiment(open_run(str(run), ''))
        publish_untrained(run, embodiment)
        tls = make_tls(run)
        words = {**SERVERS, 'batched, TLS': ('--certificate', tls[0], '--key', tls[1])}
        running = {
            name: servers.enter_context(served(run, name, extra)) for name, extra in words.items()
        }
        local = LocalPolicy(run, embodiment)
        rows = []
        for robots in ROBOTS:
            slices = [
                measure_slice(running, tls[0], embodiment, local, robots, options.seconds)
                for _ in range(options.rounds)
            ]
            rows += [summarise(parts) for parts in zip(*slices, strict=True)]
    show(rows)
    print(json.dumps(rows))


def make_tls(folder: Path) -> tuple[str, str]:
    """Return the paths of a certificate for this host, and its key, made by openssl."""
    certificate = folder / 'server.pem'
    key = folder / 'server.key'
    subprocess.run(
        ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256',
         '-nodes', '-keyout', str(key), '-out', str(certificate), '-days', '1',
         '-subj', '/CN=policy server', '-addext', 'subjectAltName=IP:127.0.0.1'],
        check=True, capture_output=True,
    )  # fmt: skip
    key.chmod(0o600)
    return str(certificate), str(key)


@contextmanager
def served(run: Path, name: str, words: tuple[str, ...]) -> Iterator[tuple[str, psutil.Process]]:
    """Run `efm serve` in a process of its own; yield its address and the process."""
    path = run / f'{name}.txt'
    command = [sys.executable, '-m', 'efm.cli', 'serve', '--run', str(run)]
    with open(path, 'w') as out:
        process = subprocess.Popen([*command, '--port', '0', *words], stdout=out, stderr=out)
    try:
        end = time.monotonic() + READY_S
        while ' on port ' not in path.read_text():
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f'{name}: expected a server, got {path.read_text()}')
            time.sleep(0.05)
        port = path.read_text().split(' on port ')[1].split(':')[0]
        yield f'127.0.0.1:{port}', psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


class LocalPolicy:
    """The same policy in this process, without a server."""

    def __init__(self, run: Path, embodiment: Embodiment):
        files = load_release(str(run / 'releases' / '000001'), None)
        encoder = TextEncoder(ensure_text_encoder())
        self._policy = Policy.load(files.policy, encoder, embodiment)
        self._embodiment = embodiment

    def measure(self, robots: int, seconds: float) -> Figures:
        """Return actions per second and latencies for batches of ``robots`` observations."""
        episodes = [self._policy.start(INSTRUCTION, seed) for seed in range(robots)]
        observations = make_observations(self._embodiment, robots)
        times: list[float] = []
        end = time.perf_counter() + seconds
        used = time.process_time()
        while not times or time.perf_counter() < end:
            began = time.perf_counter()
            self._policy.act_batch(episodes, observations)
            times.append(time.perf_counter() - began)
        used = time.process_time() - used
        return {
            'per_s': robots * len(times) / sum(times),
            'latencies': times,
            'batches': [robots],
            'cpu_s': used / (robots * len(times)),
            'late': 0,
            'failed': 0,
        }


def measure_slice(
    running: dict[str, tuple[str, psutil.Process]],
    authority: str,
    embodiment: Embodiment,
    local: LocalPolicy,
    robots: int,
    seconds: float,
) -> list[Figures]:
    """Return the figures of each server and kind of request, for ``robots`` robots."""
    alone = local.measure(1, seconds / 2)['per_s']
    found = [{'server': 'in process', 'paced': False, **local.measure(robots, seconds / 2)}]
    for name, (address, process) in running.items():
        fleet = SimulatedFleet(
            address, authority if 'TLS' in name else '', embodiment=embodiment, robots=robots
        )
        for paced in (False, True):
            period_s = paced / embodiment.control_rate_hz
            before = sum(process.cpu_times()[:2])
            part = fleet.measure(seconds * (1 + paced), period_s, embodiment.action_lifetime_s)
            part['cpu_s'] = (sum(process.cpu_times()[:2]) - before) / max(part['per_s'], 1e-9)
            part['cpu_s'] /= part.pop('seconds')
            found.append({'server': name, 'paced': paced, **part})
        fleet.close()
    return [{'robots': robots, 'ratio': part['per_s'] / alone, **part} for part in found]


def summarise(parts: tuple[Figures, ...]) -> Figures:
    """Return a row: medians over the slices, and percentiles over all their answers."""
    latencies = [value for part in parts for value in part['latencies']] or [np.nan]
    p50, p99 = 1e3 * np.percentile(latencies, (50, 99))
    row = {name: parts[0][name] for name in ('server', 'robots', 'paced')}
    return {
        **row,
        'per_s': float(np.median([part['per_s'] for part in parts])),
        'ratio': float(np.median([part['ratio'] for part in parts])),
        'p50_ms': float(p50),
        'p99_ms': float(p99),
        'cpu_ms': 1e3 * float(np.median([part['cpu_s'] for part in parts])),
        'batch': float(np.mean([size for part in parts for size in part['batches']])),
        'late': sum(part['late'] for part in parts),
        'failed': sum(part['failed'] for part in parts),
    }


def make_observations(embodiment: Embodiment, count: int) -> list[Observation]:
    """Return random observations; the content does not affect the time."""
    rng = np.random.default_rng(0)
    size = (*embodiment.image_sizes[0], 3)
    return [Observation.of(rng.integers(0, 256, size, np.uint8)) for _ in range(count)]


class Tally:
    """Counts and latencies of the requests of one measurement."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.batches: list[int] = []
        self.late = 0
        self.other = 0


class SimulatedFleet:
    """Robots that send requests to one server, without a world."""

    def __init__(self, server: str, authority: str, *, embodiment: Embodiment, robots: int):
        """
        Connect every robot and begin its episode.

        :param authority: file of the certificate authority; empty for no TLS.
        :raises RuntimeError: when the server refuses a robot or does not answer in time.
        """
        self._clients = [Client(server, f'robot_{i}', authority=authority) for i in range(robots)]
        self._observations = make_observations(embodiment, robots)
        self._steps = [0] * robots
        begun = threading.Semaphore(0)
        for seed, client in enumerate(self._clients):
            client.begin(
                lambda answer: begun.release() if not isinstance(answer, Failure) else None,
                READY_S,
                embodiment_hash=embodiment.hash,
                episode_id='benchmark',
                instruction=INSTRUCTION,
                seed=seed,
            )
        for _ in self._clients:
            if not begun.acquire(timeout=READY_S):
                raise RuntimeError(f'{server}: expected every robot to begin, got a failure')

    def measure(self, seconds: float, period_s: float, lifetime_s: float) -> Figures:
        """
        Send requests for some time; return the figures.

        :param seconds: duration [s].
        :param period_s: time between two observations of a robot [s]; 0 for flat out.
        :param lifetime_s: deadline of a paced request [s].
        """
        tally = Tally()
        over = time.perf_counter() + seconds
        threads = [
            threading.Thread(target=self._robot, args=(i, tally, over, period_s, lifetime_s))
            for i in range(len(self._clients))
        ]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.perf_counter() - began
        return {
            'per_s': len(tally.latencies) / took,
            'seconds': took,
            'latencies': tally.latencies,
            'batches': tally.batches or [0],
            'late': tally.late,
            'failed': tally.other,
        }

    def close(self) -> None:
        """End the connections."""
        for client in self._clients:
            client.close()

    def _robot(
        self, index: int, tally: Tally, over: float, period_s: float, lifetime_s: float
    ) -> None:
        """Send the requests of one robot; each waits for the answer to the last."""
        answered = threading.Semaphore(0)
        due = time.perf_counter() + period_s * index / len(self._clients)
        while due < over:
            time.sleep(max(due - time.perf_counter(), 0.0))
            self._request(index, tally, lifetime_s if period_s else READY_S, answered)
            answered.acquire()
            due = max(due + period_s, time.perf_counter())

    def _request(
        self, index: int, tally: Tally, seconds: float, answered: threading.Semaphore
    ) -> None:
        """Send one request; its answer is counted in ``tally``."""
        began = time.perf_counter()

        def take(answer: Any) -> None:
            if not isinstance(answer, Failure):
                tally.latencies.append(time.perf_counter() - began)
                tally.batches.append(answer.batch)
            elif answer.code == 'DEADLINE_EXCEEDED':
                tally.late += 1
            else:
                tally.other += 1
            answered.release()

        self._steps[index] += 1
        step = self._steps[index]
        self._clients[index].act(
            take,
            seconds,
            self._observations[index],
            episode_id='benchmark',
            step=step,
            stamp=step,
        )


def show(rows: list[Figures]) -> None:
    """Print the figures as a table."""
    columns = ('per_s', 'ratio', 'p50_ms', 'p99_ms', 'cpu_ms', 'batch', 'late', 'failed')
    print(f'{"server":14} {"robots":>6} {"requests":8}', *(f'{name:>8}' for name in columns))
    for row in rows:
        kind = 'paced' if row['paced'] else 'flat out'
        numbers = (f'{row[name]:8.2f}' for name in columns)
        print(f'{row["server"]:14} {row["robots"]:6} {kind:8}', *numbers)


if __name__ == '__main__':
    main()
