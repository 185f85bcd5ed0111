"""The command `efm serve`: one policy for many robots, from a machine of its own."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
import signal
import threading

from efm_bringup.run import open_run
from efm_core.config import add_arguments, config, from_arguments, parameter
from efm_core.embodiment import Embodiment, load_embodiment
from efm_core.shared_config import RunConfig
from efm_policy.config import SamplingConfig
from efm_policy.serving.config import ServingConfig
from rich.console import Console

LOOK_S = 1.0  # between two looks for a newer release


@config
class ServeConfig(SamplingConfig):
    """Which policy the server deploys."""

    version: int = parameter(
        0, 'Release to deploy; 0: the newest, also when a newer one appears', '', 0, 2**31 - 1
    )
    checkpoint: str = parameter(
        '', 'Directory of the policy of a vision-language model, to deploy instead of a release'
    )
    base: str = parameter(
        '', 'Base folder of that model; empty: the folder that it was fine-tuned from'
    )


def add_verb(verbs: argparse._SubParsersAction) -> None:
    """Give the command line its verb."""
    text = 'serve one policy to many robots over gRPC'
    parser = verbs.add_parser('serve', help=text, description=text)
    for kind in (RunConfig, ServeConfig, ServingConfig):
        add_arguments(parser, kind)
    parser.set_defaults(command=serve_command)


def serve_command(arguments: argparse.Namespace, console: Console) -> int:
    """Serve until somebody stops it; 0 when that was asked for."""
    from efm_policy.serving.server import PolicyServer

    run, choice = (from_arguments(kind, arguments) for kind in (RunConfig, ServeConfig))
    embodiment = load_embodiment(open_run(run.run, run.embodiment))
    policy, newer = find_policy(Path(run.run), choice, embodiment)
    server = PolicyServer(from_arguments(ServingConfig, arguments), embodiment, policy=policy)
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    port = server.start()
    console.print(f'release {policy.version} on port {port}: {server.describe()}', soft_wrap=True)
    while not over.wait(LOOK_S):
        follow(server, newer, console)
    server.stop()
    console.print(', '.join(f'{count} {what}' for what, count in sorted(server.counts.items())))
    return 0


def find_policy(
    run: Path, choice: ServeConfig, embodiment: Embodiment
) -> tuple[object, Callable[[], object]]:
    """
    Return the policy to begin with, and what returns a newer one once there is one.

    :raises FileNotFoundError: when there is none.
    :raises ValueError: when it is for another robot, or not what was published.
    """
    from efm_policy.serving.loading import load_vlm_policy, ReleaseFolder, Releases

    if choice.checkpoint:
        learned = load_vlm_policy(choice.checkpoint, embodiment, choice.base, choice.temperature)
        return learned, lambda: None
    load = Releases(
        embodiment, choice.text_encoder, temperature=choice.temperature, provider=choice.provider
    ).load
    folder = run.absolute() / 'releases'
    if choice.version:
        return load(str(folder / f'{choice.version:06d}')), lambda: None
    shelf = ReleaseFolder(folder, load)
    policy = shelf.newer()
    if policy is None:
        raise FileNotFoundError(
            f'release: expected one in {folder}, got none; make one with `efm train`'
        )
    return policy, shelf.newer


def follow(server: object, newer: Callable[[], object], console: Console) -> None:
    """Let a newer release act, if there is one; a bad one is told and the old one goes on."""
    try:
        policy = newer()
    except (ValueError, OSError) as error:
        console.print(f'refused, the old release goes on: {error}', soft_wrap=True, markup=False)
        return
    if policy is not None:
        server.sessions.adopt(policy)
        console.print(f'release {policy.version} acts in the episodes that begin from now on')
