"""The command `efm pretrain`: an encoder for another world, from labelled images."""

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


def add_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `efm pretrain` to the command line."""
    text = 'before stage 1, in a new world: train an encoder on labelled images'
    parser = verbs.add_parser('pretrain', help=text, description=text)
    for kind in (RunConfig, PicturesChoice, LabelledConfig):
        add_arguments(parser, kind)
    parser.set_defaults(command=pretrain_command)


def pretrain_command(arguments: argparse.Namespace, console: Console) -> int:
    """Train an encoder; write it and its card into the run."""
    run = from_arguments(RunConfig, arguments)
    pictures = from_arguments(PicturesChoice, arguments).pictures
    learning = from_arguments(LabelledConfig, arguments)
    embodiment = open_run(run.run, run.embodiment)
    path = pretrain(Path(run.run), embodiment, pictures, learning, console)
    console.print(f'encoder: {path}; `efm train` on this run starts from it', soft_wrap=True)
    return 0


def pretrain(
    run: Path, embodiment_path: Path, pictures: str, config: LabelledConfig, console: Console
) -> Path:
    """
    Write ``encoder.safetensors`` and its card into a run; return the path of the encoder.

    :param pictures: path of the labelled images, as ``load_labelled`` reads it.
    :raises FileExistsError: when the run has an encoder.
    :raises FileNotFoundError: when there is no file of labelled images.
    :raises ValueError: when the labelled images do not fit the embodiment.
    """
    from efm_model.labelled import load_labelled, pretrain_on_labels
    from efm_model.network import save_encoder
    from efm_model.text import ensure_text_encoder, TextEncoder
    from efm_model.torch_runtime import single_threaded

    path = run / ENCODER_FILE
    if path.exists():
        raise FileExistsError(f'run: expected one without an encoder, got {path}; use a new --run')
    labelled = load_labelled(pictures, load_embodiment(embodiment_path))
    display = Display('pretraining', config.iterations, unit='steps', console=console)
    with single_threaded(), display:
        encoder, errors = pretrain_on_labels(
            labelled,
            TextEncoder(ensure_text_encoder()),
            config,
            lambda iteration, found: display.update(iteration, describe_errors(found)),
        )
    card = {'nature': NATURE, 'pictures': len(labelled), 'config': asdict(config)}
    card |= {'errors_percent_of_picture': errors}
    save_encoder(encoder, path, card)
    return path


def describe_errors(errors: dict[str, float]) -> str:
    """Return the median errors as one line."""
    medians = (
        f'{name.removesuffix("_median")} {value:.2f}'
        for name, value in errors.items()
        if 'median' in name
    )
    return f'median error in % of the image: {", ".join(medians)}'
