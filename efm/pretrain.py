"""An encoder for another world from the command line, with a progress display."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from efm_bringup.progress import Display
from efm_bringup.run import open_run
from efm_core.config import add_arguments, config, from_arguments, parameter
from efm_core.embodiment import load_embodiment
from efm_core.shared_config import RunConfig
from efm_model.config import LabelledConfig
from rich.console import Console

ENCODER_FILE = 'encoder.safetensors'  # in a run
NATURE = 'Pretrained by `efm pretrain` on labelled pictures of one world.'


@config
class PicturesChoice:
    """The training data of the encoder."""

    pictures: str = parameter('', 'File of labelled images (.npz), see docs/gymnasium.md')


def add_verb(verbs: argparse._SubParsersAction) -> None:
    """Give the command line its verb."""
    text = 'before stage 1, in a new world: train an encoder on labelled images'
    parser = verbs.add_parser('pretrain', help=text, description=text)
    for kind in (RunConfig, PicturesChoice, LabelledConfig):
        add_arguments(parser, kind)
    parser.set_defaults(command=pretrain_command)


def pretrain_command(arguments: argparse.Namespace, console: Console) -> int:
    """Learn an encoder, write it and its card into the run."""
    run, choice, config = (
        from_arguments(kind, arguments) for kind in (RunConfig, PicturesChoice, LabelledConfig)
    )
    embodiment = open_run(run.run, run.embodiment)
    path = pretrain(Path(run.run), embodiment, choice.pictures, config, console)
    console.print(f'encoder: {path}; `efm train` on this run begins from it', soft_wrap=True)
    return 0


def pretrain(
    run: Path, embodiment_path: Path, pictures: str, config: LabelledConfig, console: Console
) -> Path:
    """
    Write ``encoder.safetensors`` and its card into ``run``; whole or not at all.

    :raises FileExistsError: when the run has an encoder.
    :raises FileNotFoundError, ValueError: as ``load_labelled``.
    """
    from efm_model.labelled import load_labelled, pretrain_on_labels
    from efm_model.network import save_encoder
    from efm_model.text import ensure_text_encoder, TextEncoder
    import torch

    path = run / ENCODER_FILE
    if path.exists():
        raise FileExistsError(
            f'run: expected one without an encoder, got {path}; take a new --run'
        )
    torch.set_num_threads(1)  # the networks are small: more threads only wait for each other
    labelled = load_labelled(pictures, load_embodiment(embodiment_path))
    with Display('pointing', config.iterations, unit='steps', console=console) as display:
        grounding, measured = pretrain_on_labels(
            labelled,
            TextEncoder(ensure_text_encoder()),
            config,
            lambda iteration, found: display.update(iteration, note(found)),
        )
    card = {'nature': NATURE, 'pictures': len(labelled), 'config': asdict(config)}
    card |= {'errors_percent_of_picture': measured}
    save_encoder(grounding, path, card)
    return path


def note(measured: dict[str, float]) -> str:
    """Return the median errors in a few words."""
    found = [
        f'{k.removesuffix("_median")} {v:.2f} %' for k, v in measured.items() if 'median' in k
    ]
    return 'off by ' + ', '.join(found) + ' of the picture'
