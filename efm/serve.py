"""The command `efm serve`: one policy for many robots, over gRPC."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
import threading
from typing import TYPE_CHECKING

from efm_bringup.run import open_run
from efm_core.config import add_arguments, config, from_arguments, parameter
from efm_core.embodiment import Embodiment, load_embodiment
from efm_core.shared_config import RunConfig
from efm_core.stop_signals import on_stop
from efm_policy.config import SamplingConfig
from efm_policy.serving.config import ServingConfig
from efm_release.release import find_release_directory
from rich.console import Console

if TYPE_CHECKING:
    from efm_policy.policy import Policy
    from efm_policy.serving.server import PolicyServer

RELEASE_POLL_S = 1.0  # time between two checks for a newer release


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


def add_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `efm serve` to the command line."""
    text = 'serve one policy to many robots over gRPC'
    parser = verbs.add_parser('serve', help=text, description=text)
    for kind in (RunConfig, ServeConfig, ServingConfig):
        add_arguments(parser, kind)
    parser.set_defaults(command=serve_command)


def serve_command(arguments: argparse.Namespace, console: Console) -> int:
    """Serve until SIGINT, SIGTERM or SIGHUP; return 0."""
    from efm_policy.serving.server import PolicyServer

    run = from_arguments(RunConfig, arguments)
    embodiment = load_embodiment(open_run(run.run, run.embodiment))
    options = from_arguments(ServeConfig, arguments)
    policy, find_newer = find_policy(Path(run.run), options, embodiment)
    server = PolicyServer(from_arguments(ServingConfig, arguments), embodiment, policy=policy)
    stopping = threading.Event()
    on_stop(lambda *_: stopping.set())
    port = server.start()
    console.print(f'release {policy.version} on port {port}: {server.describe()}', soft_wrap=True)
    while not stopping.wait(RELEASE_POLL_S):
        deploy_newer(server, find_newer, console)
    server.stop()
    console.print(', '.join(f'{count} {what}' for what, count in sorted(server.counts.items())))
    return 0


def find_policy(
    run: Path, options: ServeConfig, embodiment: Embodiment
) -> tuple[Policy, Callable[[], Policy | None]]:
    """
    Return the first policy, and a function that returns a newer policy or None.

    :raises FileNotFoundError: when the run has no release.
    :raises ValueError: when the policy belongs to another embodiment, or a hash differs.
    """
    from efm_policy.serving.loading import load_vlm_policy, ReleaseFolder, Releases

    if options.checkpoint:
        learned = load_vlm_policy(
            options.checkpoint, embodiment, options.base, options.temperature
        )
        return learned, lambda: None
    load = Releases(embodiment, options.text_encoder, sampling=options).load
    if options.version:
        return load(str(find_release_directory(run, options.version))), lambda: None
    folder = run.absolute() / 'releases'
    releases = ReleaseFolder(folder, load)
    newest = releases.newer()
    if newest is None:
        raise FileNotFoundError(
            f'release: expected one in {folder}, got none; make one with `efm train`'
        )
    return newest, releases.newer


def deploy_newer(
    server: PolicyServer, find_newer: Callable[[], Policy | None], console: Console
) -> None:
    """Deploy a newer release if there is one; a damaged one is reported and skipped."""
    try:
        policy = find_newer()
    except (ValueError, OSError) as error:
        text = f'release rejected, the present one stays deployed: {error}'
        console.print(text, soft_wrap=True, markup=False)
        return
    if policy is not None:
        server.sessions.adopt(policy)
        console.print(f'release {policy.version} is deployed for episodes that begin from now on')
