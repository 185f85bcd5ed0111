"""
Throughput and latency of the policy server against the robots that it serves.

Every robot is a connection of its own; all of them live in this process, each server in its own.
Two ways to ask: *flat out*, the next observation as soon as the answer is there, and *paced*, at
the embodiment's control rate with its action lifetime as the deadline. Short slices of servers
with and without micro-batching, and of the policy in one process, take turns, so that all see the
same machine. Last line: one JSON object. Run it with ``python benchmarks/serving.py``; it takes
about two minutes.
"""

from __future__ import annotations

import argparse
from contextlib import contextmanager, ExitStack
import json
from pathlib import Path
import subprocess
import sys
import tempfile
import threading
import time

from efm_bringup.run import open_run
from efm_core.embodiment import load_embodiment
from efm_model.text import ensure_text_encoder, TextEncoder
from efm_policy.policy import Policy
from efm_policy.serving.client import Client, Failure
from efm_release.release import load_release
import numpy as np
import psutil

ROBOTS = (1, 2, 4, 8, 16)
INSTRUCTION = 'push the red cube to the blue cylinder'
READY_S = 120.0
SERVERS = {'batched': (), 'one by one': ('--max-batch', '1', '--max-wait-s', '0')}


def main() -> None:
    """Measure, print tables for people, then the JSON line."""
    from graph import publish_untrained

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rounds', type=int, default=3, help='slices of each measurement')
    parser.add_argument('--seconds', type=float, default=0.4, help='of each slice')
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
        local = Local(run, embodiment)
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
def served(run: Path, name: str, words: tuple[str, ...]):
    """Run `efm serve` in a process of its own; yield where it listens, and the process."""
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


class Local:
    """The same policy in this process."""

    def __init__(self, run: Path, embodiment):
        files = load_release(str(run / 'releases' / '000001'), '')
        encoder = TextEncoder(ensure_text_encoder())
        self._policy = Policy.load(files.policy, encoder, embodiment)
        self._embodiment = embodiment

    def measure(self, robots: int, seconds: float) -> dict:
        """Return actions per second, ``robots`` at once, and what a batch takes."""
        episodes = [self._policy.start(INSTRUCTION, seed) for seed in range(robots)]
        pictures = make_pictures(self._embodiment, robots)
        times = []
        end = time.perf_counter() + seconds
        used = time.process_time()
        while not times or time.perf_counter() < end:
            began = time.perf_counter()
            self._policy.act_batch(episodes, pictures)
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
    running: dict, authority: str, embodiment, local: Local, robots: int, seconds: float
) -> list[dict]:
    """Return what came of each server and way to ask, one after the other, for some robots."""
    alone = local.measure(1, seconds / 2)['per_s']
    found = [{'server': 'in process', 'paced': False, **local.measure(robots, seconds / 2)}]
    for name, (address, process) in running.items():
        crew = Crew(
            address, authority if 'TLS' in name else '', embodiment=embodiment, robots=robots
        )
        for paced in (False, True):
            period_s = paced / embodiment.control_rate_hz
            before = sum(process.cpu_times()[:2])
            part = crew.measure(seconds * (1 + paced), period_s, embodiment.action_lifetime_s)
            part['cpu_s'] = (sum(process.cpu_times()[:2]) - before) / max(part['per_s'], 1e-9)
            part['cpu_s'] /= part.pop('seconds')
            found.append({'server': name, 'paced': paced, **part})
        crew.close()
    return [{'robots': robots, 'ratio': part['per_s'] / alone, **part} for part in found]


def summarise(parts: tuple[dict, ...]) -> dict:
    """Return one row: medians over the slices; percentiles over all their answers."""
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


def make_pictures(embodiment, count: int) -> list[np.ndarray]:
    """Return pictures of noise; what they show costs nothing."""
    rng = np.random.default_rng(0)
    size = (*embodiment.observation_size, 3)
    return [rng.integers(0, 256, size, np.uint8) for _ in range(count)]


class Tally:
    """What came of the questions of one measurement."""

    def __init__(self):
        self.latencies = []
        self.batches = []
        self.late = self.other = 0


class Crew:
    """Some robots that ask one server."""

    def __init__(self, server: str, authority: str, *, embodiment, robots: int):
        self._clients = [Client(server, f'robot_{i}', authority=authority) for i in range(robots)]
        self._pictures = make_pictures(embodiment, robots)
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
                raise RuntimeError(f'{server}: expected every robot to begin, got one that cannot')

    def measure(self, seconds: float, period_s: float, lifetime_s: float) -> dict:
        """
        Ask for some time; return what came of it.

        :param period_s: between two observations of a robot; 0 asks flat out.
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
        """Ask as one robot: the next question waits for the answer to the last."""
        came = threading.Semaphore(0)
        due = time.perf_counter() + period_s * index / len(self._clients)
        while due < over:
            time.sleep(max(due - time.perf_counter(), 0.0))
            self._ask(index, tally, lifetime_s if period_s else READY_S, came)
            came.acquire()
            due = max(due + period_s, time.perf_counter())

    def _ask(self, index: int, tally: Tally, seconds: float, came: threading.Semaphore) -> None:
        began = time.perf_counter()

        def take(answer) -> None:
            if not isinstance(answer, Failure):
                tally.latencies.append(time.perf_counter() - began)
                tally.batches.append(answer.batch)
            elif answer.code == 'DEADLINE_EXCEEDED':
                tally.late += 1
            else:
                tally.other += 1
            came.release()

        step = self._steps[index] = self._steps[index] + 1
        self._clients[index].act(
            take,
            seconds,
            self._pictures[index],
            episode_id='benchmark',
            step=step,
            stamp=step,
        )


def show(rows: list[dict]) -> None:
    """Print what was measured, for people."""
    columns = ('per_s', 'ratio', 'p50_ms', 'p99_ms', 'cpu_ms', 'batch', 'late', 'failed')
    print(f'{"server":14} {"robots":>6} {"asked":8}', *(f'{name:>8}' for name in columns))
    for row in rows:
        asked = 'paced' if row['paced'] else 'flat out'
        numbers = (f'{row[name]:8.2f}' for name in columns)
        print(f'{row["server"]:14} {row["robots"]:6} {asked:8}', *numbers)


if __name__ == '__main__':
    main()
