"""
Throughput and latency of the policy server against the robots that it serves.

Every robot is a connection of its own; all of them live in this process, each server in its own.
Two ways to ask: *flat out*, the next observation as soon as the answer is there, and *paced*, at
the embodiment's control rate with its action lifetime as the deadline. Servers with and without
micro-batching are asked in turn, so that both see the same machine. Last line: one JSON object.
Run it with ``python benchmarks/serving.py``; it takes about two minutes.
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

from efm_bringup.run import claim
from efm_core.embodiment import load_embodiment
from efm_core.release import load_release
from efm_model.text import ensure_text_encoder, TextEncoder
from efm_policy.policy import Policy
from efm_policy.serving.client import Client, Failure
import numpy as np

ROBOTS = (1, 2, 4, 8, 16)
INSTRUCTION = 'push the red cube to the blue cylinder'
READY_S = 120.0
SERVERS = {'batched': (), 'one by one': ('--max-batch', '1', '--max-wait-s', '0')}


def main() -> None:
    """Measure, print tables for people, then the JSON line."""
    from graph import publish_untrained

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seconds', type=float, default=2.0, help='of each measurement')
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as servers:
        run = Path(folder)
        embodiment = load_embodiment(claim(str(run), ''))
        publish_untrained(run, embodiment)
        tls = make_tls(run)
        words = {**SERVERS, 'batched, TLS': ('--certificate', tls[0], '--key', tls[1])}
        where = {
            name: servers.enter_context(served(run, name, extra)) for name, extra in words.items()
        }
        figures = {
            'local': measure_local(run, embodiment, options.seconds),
            'rows': measure_all(where, tls[0], embodiment, options.seconds),
        }
    show(figures)
    print(json.dumps(figures))


def make_tls(folder: Path) -> tuple[str, str]:
    """Return the paths of a certificate for this host, and its key, made by openssl."""
    certificate, key = folder / 'server.pem', folder / 'server.key'
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
    """Run `efm serve` in a process of its own; yield where it listens."""
    path = run / f'{name}.txt'
    command = [sys.executable, '-m', 'efm_bringup.cli', 'serve', '--run', str(run)]
    with open(path, 'w') as out:
        process = subprocess.Popen([*command, '--port', '0', *words], stdout=out, stderr=out)
    try:
        end = time.monotonic() + READY_S
        while ' on port ' not in path.read_text():
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f'{name}: expected a server, got {path.read_text()}')
            time.sleep(0.05)
        yield f'127.0.0.1:{path.read_text().split(" on port ")[1].split(":")[0]}'
    finally:
        process.terminate()
        process.wait()


def measure_local(run: Path, embodiment, seconds: float) -> dict:
    """Return steps per second of the same policy in this process, and what a batch costs."""
    files = load_release(str(run / 'releases' / '000001'), '')
    policy = Policy.load(files.policy, TextEncoder(ensure_text_encoder()), embodiment)
    figures = {}
    for robots in ROBOTS:
        episodes = [policy.start(INSTRUCTION, seed) for seed in range(robots)]
        pictures = make_pictures(embodiment, robots)
        times, end = [], time.perf_counter() + seconds / len(ROBOTS)
        while not times or time.perf_counter() < end:
            began = time.perf_counter()
            policy.act_batch(episodes, pictures)
            times.append(time.perf_counter() - began)
        figures[robots] = {
            'per_s': robots / float(np.mean(times)),
            'batch_p50_ms': 1e3 * float(np.median(times)),
        }
    return figures


def measure_all(where: dict, authority: str, embodiment, seconds: float) -> list[dict]:
    """Return one row for each server, number of robots and way to ask."""
    rows = []
    for robots in ROBOTS:
        for name, address in where.items():
            secret = authority if 'TLS' in name else ''
            for period_s in (0.0, 1 / embodiment.control_rate_hz):
                crew = Crew(address, secret, embodiment, robots)
                found = crew.measure(seconds, period_s, embodiment.action_lifetime_s)
                crew.close()
                rows.append({'server': name, 'robots': robots, 'paced': period_s > 0, **found})
    return rows


def make_pictures(embodiment, count: int) -> list[np.ndarray]:
    """Return pictures of noise; what they show costs nothing."""
    rng = np.random.default_rng(0)
    size = (*embodiment.observation_size, 3)
    return [rng.integers(0, 256, size, np.uint8) for _ in range(count)]


class Tally:
    """What came of the questions of one measurement."""

    def __init__(self):
        self.latencies, self.batches = [], []
        self.late = self.other = 0


class Crew:
    """Some robots that ask one server."""

    def __init__(self, server: str, authority: str, embodiment, robots: int):
        self._clients = [Client(server, f'robot_{i}', authority) for i in range(robots)]
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
        tally, over = Tally(), time.perf_counter() + seconds
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
        p50, p99 = 1e3 * np.percentile(tally.latencies or [np.nan], (50, 99))
        return {
            'per_s': len(tally.latencies) / took,
            'p50_ms': float(p50),
            'p99_ms': float(p99),
            'mean_batch': float(np.mean(tally.batches or [0])),
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


def show(figures: dict) -> None:
    """Print what was measured, for people."""
    alone = figures['local'][1]['per_s']
    for robots, local in figures['local'].items():
        print(f'in this process, {robots:2} at once: {local["per_s"]:7.0f} actions/s')
    columns = ('per_s', 'ratio', 'p50_ms', 'p99_ms', 'mean_batch', 'late', 'failed')
    print(f'\n{"server":14} {"robots":>6} {"asked":8}', *(f'{name:>10}' for name in columns))
    for row in figures['rows']:
        known = {**row, 'ratio': row['per_s'] / alone}
        asked = 'paced' if row['paced'] else 'flat out'
        numbers = (f'{known[name]:10.2f}' for name in columns)
        print(f'{row["server"]:14} {row["robots"]:6} {asked:8}', *numbers)


if __name__ == '__main__':
    main()
