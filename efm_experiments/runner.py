"""Runs the cells of an experiment on all cores, and goes on where it was stopped."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import as_completed, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
import multiprocessing
import os
from pathlib import Path
import platform
import threading
import time

from efm_bringup.progress import Display
from efm_evaluation.report import find_commit
from efm_experiments.caches import fingerprint
from efm_experiments.catalogue import load
from efm_experiments.experiment import digest, Experiment, Record, Results
from efm_experiments.store import Store
from rich.console import Console

Job = tuple[str, str, int, bool]  # experiment, cell, seed, smoke


def run(
    name: str, directory: Path, seeds: int, smoke: bool, jobs: int, console: Console
) -> Results:
    """
    Run what is not finished yet; return everything.

    :param directory: of the experiment's results.
    :param seeds: 0 for the experiment's own number.
    :raises RuntimeError: when a cell failed; those that did not fail are kept.
    """
    experiment = load(name)
    store = Store(directory)
    planned = plan(experiment, seeds, smoke, jobs)
    missing = [job for job in planned if not find(experiment, store, job)]
    failures = []
    with Display(name, len(planned), unit='cells', console=console) as display:
        display.update(len(planned) - len(missing), 'found')
        for count, (job, outcome) in enumerate(execute(missing, jobs), start=1):
            if isinstance(outcome, Exception):
                failures.append(f'{job[1]}, seed {job[2]}: {outcome}')
            else:
                store.save(outcome)
            failed = f', {len(failures)} failed' if failures else ''
            note = f'{job[1]}, seed {job[2]}{failed}'
            display.update(len(planned) - len(missing) + count, note)
    if failures:
        raise RuntimeError(
            f'{len(failures)} of {len(planned)} cells failed; {"; ".join(failures[:3])}'
        )
    ordered = plan(experiment, seeds, smoke)
    return Results(tuple(find(experiment, store, job) for job in ordered))


def plan(experiment: Experiment, seeds: int, smoke: bool, abreast: int = 1) -> list[Job]:
    """
    Return every cell with every seed, so that all cells grow alike.

    Cells of one seed share their stage 1 and would wait for it; so neighbours differ in seed.
    """
    count = seeds or (1 if smoke else experiment.seeds)
    return [
        (experiment.name, cell, seed, smoke)
        for first in range(0, count, abreast)
        for cell in experiment.variants(smoke)
        for seed in range(first, min(first + abreast, count))
    ]


def find(experiment: Experiment, store: Store, job: Job) -> Record | None:
    """Return the finished record of a job, if there is one."""
    _, cell, seed, smoke = job
    sources = fingerprint(*experiment.sources)
    return store.find(cell, seed, digest(experiment.variants(smoke)[cell]), sources)


def execute(jobs: list[Job], workers: int) -> Iterator[tuple[Job, Record | Exception]]:
    """Yield each job with its record, or with what went wrong, as they finish."""
    if workers == 1:
        with one_thread():
            yield from ((job, attempt(job)) for job in jobs)
        return
    with one_thread(), pool(workers) as executor:
        futures = {executor.submit(attempt, job): job for job in jobs}
        for future in as_completed(futures):
            yield futures[future], future.result()


@contextmanager
def pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Give worker processes; on an error or Ctrl-C what has not begun is not begun."""
    context = multiprocessing.get_context('spawn')
    executor = ProcessPoolExecutor(workers, context, initializer=end_with_parent)
    try:
        yield executor
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        raise
    executor.shutdown()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let numeric libraries use one thread, here and in the processes started meanwhile."""
    import torch
    import torch._dynamo  # before a GL context: two LLVMs in the other order crash

    before = os.environ.get('OMP_NUM_THREADS')
    threads = torch.get_num_threads()
    os.environ['OMP_NUM_THREADS'] = '1'
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if before is None:
            del os.environ['OMP_NUM_THREADS']
        else:
            os.environ['OMP_NUM_THREADS'] = before


def end_with_parent() -> None:
    """End this worker when the process that started it is gone, killed or not."""

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def attempt(job: Job) -> Record | Exception:
    """Run one job; return what went wrong instead of raising it, so that others go on."""
    try:
        with one_thread():
            return run_job(job)
    except Exception as error:
        return error


def run_job(job: Job) -> Record:
    """Run one cell with one seed."""
    name, cell, seed, smoke = job
    experiment = load(name)
    config = experiment.variants(smoke)[cell]
    began = time.perf_counter()
    cpu_began = time.process_time()
    values = experiment.run_cell(config, seed)
    return Record(
        cell=cell,
        seed=seed,
        digest=digest(config),
        config=asdict(config),
        values=values,
        seconds=round(time.perf_counter() - began, 1),
        cpu_seconds=round(time.process_time() - cpu_began, 1),
        date=datetime.now(timezone.utc).strftime('%Y-%m-%d'),
        commit=describe_commit(),
        machine=describe_machine(),
        sources=fingerprint(*experiment.sources),
    )


def describe_commit() -> str:
    """Return a short commit, with a plus sign if files differ from it."""
    commit = find_commit()
    return commit[:10] + ('+' if commit.endswith('+') else '')


def describe_machine() -> str:
    """Return the processor and its cores in a few words."""
    path = Path('/proc/cpuinfo')
    lines = path.read_text().splitlines() if path.is_file() else []
    names = [line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')]
    return f'{os.cpu_count()} cores, {names[0] if names else platform.machine()}'
