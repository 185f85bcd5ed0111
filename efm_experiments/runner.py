"""Runs the cells of an experiment in parallel, and skips those that are finished."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import as_completed, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
import multiprocessing
from multiprocessing.queues import SimpleQueue
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
from efm_experiments.progress import ignore, naming, report_to, reporting_to, Sink
from efm_experiments.store import Store
from rich.console import Console

PUBLISHED = ('docs', 'README.md')  # no result depends on them
Job = tuple[str, str, int, bool]  # experiment, cell, seed, smoke


def run(
    name: str, directory: Path, seeds: int, smoke: bool, jobs: int, console: Console
) -> Results:
    """
    Run the unfinished cells of an experiment; return the results of all cells.

    :param directory: folder of the experiment's records.
    :param seeds: seeds per cell; 0 for the experiment's own number.
    :param jobs: parallel processes.
    :raises RuntimeError: when a cell failed; the records of all other cells are stored.
    """
    experiment = load(name)
    store = Store(directory)
    planned = plan(experiment, seeds, smoke, jobs)
    missing = [job for job in planned if not find(experiment, store, job)]
    failures = []
    with Display(name, len(planned), unit='cells', console=console) as display:
        found_before = len(planned) - len(missing)
        display.update(found_before, 'found')
        for count, (job, outcome) in enumerate(execute(missing, jobs, display.note), start=1):
            if isinstance(outcome, Exception):
                failures.append(f'{job[1]}, seed {job[2]}: {outcome}')
            else:
                store.save(outcome)
            failed = f', {len(failures)} failed' if failures else ''
            note = f'{job[1]}, seed {job[2]}{failed}'
            display.update(found_before + count, note)
    if failures:
        raise RuntimeError(
            f'{len(failures)} of {len(planned)} cells failed; {"; ".join(failures[:3])}'
        )
    found = (find(experiment, store, job) for job in plan(experiment, seeds, smoke))
    return Results(tuple(record for record in found if record))


def plan(experiment: Experiment, seeds: int, smoke: bool, parallel: int = 1) -> list[Job]:
    """
    Return every cell with every seed, so that all cells gain seeds at the same rate.

    Cells of one seed share their stage 1 and wait for each other. Neighbours in the plan therefore
    differ in seed.

    :param parallel: jobs that run at the same time.
    """
    count = seeds or (1 if smoke else experiment.seeds)
    return [
        (experiment.name, cell, seed, smoke)
        for first in range(0, count, parallel)
        for cell in experiment.variants(smoke)
        for seed in range(first, min(first + parallel, count))
    ]


def find(experiment: Experiment, store: Store, job: Job) -> Record | None:
    """Return the finished record of a job, or None."""
    _, cell, seed, smoke = job
    sources = fingerprint(*experiment.sources)
    return store.find(cell, seed, digest(experiment.variants(smoke)[cell]), sources)


def execute(
    jobs: list[Job], workers: int, on_note: Sink = ignore
) -> Iterator[tuple[Job, Record | Exception]]:
    """
    Yield each job with its record or its error, in the order of completion.

    :param on_note: receives the notes of the running cells.
    """
    if workers == 1:
        with one_thread(), reporting_to(on_note):
            yield from ((job, run_or_error(job)) for job in jobs)
        return
    with one_thread(), pool(workers, on_note) as executor:
        futures = {executor.submit(run_or_error, job): job for job in jobs}
        for future in as_completed(futures):
            yield futures[future], future.result()


@contextmanager
def pool(workers: int, on_note: Sink = ignore) -> Iterator[ProcessPoolExecutor]:
    """
    Give worker processes; an error or Ctrl-C cancels the jobs that have not started.

    :param on_note: receives the notes of the workers.
    """
    context = multiprocessing.get_context('spawn')
    notes = context.SimpleQueue()
    executor = ProcessPoolExecutor(workers, context, initializer=start_worker, initargs=(notes,))
    thread = threading.Thread(target=pass_on, args=(notes, on_note), daemon=True)
    thread.start()
    try:
        yield executor
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        raise
    executor.shutdown()
    notes.put('')


def pass_on(notes: SimpleQueue[str], on_note: Sink) -> None:
    """Pass the notes of all workers on, until an empty one."""
    for note in iter(notes.get, ''):
        on_note(note)


def start_worker(notes: SimpleQueue[str]) -> None:
    """Prepare a worker process: it ends with its parent and sends the notes of its cells."""
    end_with_parent()
    report_to(notes.put)


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit numeric libraries to one thread, in this process and in those that it starts."""
    import torch
    import torch._dynamo  # before a GL context: loading the two LLVMs in reverse order crashes

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
    """End this worker as soon as its parent process ends, even if the parent is killed."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent:
            parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run_or_error(job: Job) -> Record | Exception:
    """Run one job; return an error instead of raising it, so that other jobs continue."""
    try:
        with one_thread(), naming(f'{job[1]}, seed {job[2]}'):
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
    """
    Return a short commit hash; a plus sign marks a tree with uncommitted changes.

    The files that publishing writes do not count, so that one experiment can follow another.
    """
    commit = find_commit(*PUBLISHED)
    return commit[:10] + ('+' if commit.endswith('+') else '')


def describe_machine() -> str:
    """Return the number of cores and the processor's name."""
    path = Path('/proc/cpuinfo')
    lines = path.read_text().splitlines() if path.is_file() else []
    names = [line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')]
    return f'{os.cpu_count()} cores, {names[0] if names else platform.machine()}'
