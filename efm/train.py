"""Stage 1 from the command line, with a progress display."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from efm.pretrain import ENCODER_FILE
from efm_bringup.progress import Display
from efm_core.config import config, parameter
from efm_core.embodiment import Embodiment, load_embodiment
from efm_core.embodiment_files import find_embodiment
from efm_core.files import whole_directory
from efm_model.vlm.config import VlmConfig
from efm_trainer.config import SftConfig, STAGE_ONE
from rich.console import Console
from rich.table import Table


@config
class ModelChoice:
    """Which kind of model is fine-tuned."""

    model: str = parameter(
        'compact',
        'Model to fine-tune; compact: runs on a robot; vlm: the vision-language model in --base',
        choices=tuple(STAGE_ONE),
    )


def train_vlm(
    run: Path, embodiment_path: Path, config: SftConfig, options: VlmConfig, console: Console
) -> None:
    """
    Fine-tune a vision-language model on the run's demonstrations; write its checkpoints.

    There is no release: a robot's nodes load ONNX files, and of this model there are none.

    :raises FileExistsError: when the run is fine-tuned already.
    :raises ValueError: when the base is no such model, or as ``train``.
    """
    if (run / 'sft').is_dir():
        raise FileExistsError(
            f'run: expected one that is not fine-tuned yet, got {run / "sft"}; take a new --run'
        )
    try:
        from efm_model.vlm.network import new_vlm
        import peft  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}; install it with `pip install 'efm[vlm]'`") from error

    embodiment = load_embodiment(embodiment_path)
    model = new_vlm(embodiment, options, config.seed)
    _fine_tune(run, embodiment, model.text_encoder, config, console, model)
    console.print(f'checkpoints: {run / "sft"}; how to practise: docs/vlm.md', soft_wrap=True)


def train(run: Path, embodiment_path: Path, config: SftConfig, console: Console) -> None:
    """
    Learn from the run's demonstrations; write its checkpoints and release 1.

    A run is fine-tuned once. If that was cut short, it starts again; if only the release is
    missing, that is made. A run that `efm pretrain` gave an encoder begins from that.

    :raises FileExistsError: when the run is fine-tuned already.
    :raises ValueError: when there are too few demonstrations or a bag is torn.
    """
    if (run / 'releases').is_dir():
        raise FileExistsError(
            f'run: expected one that is not fine-tuned yet, got {run / "releases"}; '
            'take a new --run'
        )
    from efm_model.text import ensure_text_encoder, TextEncoder
    from efm_trainer.trainer import Trainer
    import torch

    torch.set_num_threads(1)  # the networks are small: more threads only wait for each other
    embodiment = load_embodiment(embodiment_path)
    encoder = TextEncoder(ensure_text_encoder())
    if not (run / 'sft').is_dir():
        config = choose_encoder_weights(run, embodiment, config, console)
        _fine_tune(run, embodiment, encoder, config, console)
    trainer = Trainer(run, embodiment, text_encoder=encoder)
    console.print(f'release {trainer.version}: {trainer.release.uri}', soft_wrap=True)
    trainer.close()


def choose_encoder_weights(
    run: Path, embodiment: Embodiment, config: SftConfig, console: Console
) -> SftConfig:
    """Return ``config`` with the run's own encoder if it has one; say what is begun from."""
    if config.pretrained == 'none' or config.encoder_weights:
        return config
    own = run / ENCODER_FILE
    if own.is_file():
        console.print(f'encoder: {own}', soft_wrap=True)
        return replace(config, encoder_weights=str(own))
    if embodiment.hash != load_embodiment(find_embodiment('')).hash:
        console.print(
            'encoder: the one that ships, which knows the simulated table only; '
            'for another world make one with `efm pretrain` first',
            soft_wrap=True,
        )
    return config


def _fine_tune(
    run: Path,
    embodiment: Embodiment,
    encoder: Any,
    config: SftConfig,
    console: Console,
    model: Any = None,
) -> None:
    """Write the run's checkpoints, both or none; ``model`` as in ``fine_tune``."""
    from efm_data.episodes import find_bags, read_episodes
    from efm_trainer.sft import fine_tune

    folder = run / 'episodes' / 'demonstration'
    with Display('reading bags', len(find_bags(folder)), unit='bags', console=console) as display:

        def count(done: int, total: int) -> None:
            display.update(done, f'{done} read')

        episodes = list(read_episodes(folder, embodiment, count))
    with (
        whole_directory(run / 'sft') as unfinished,
        Display('fine-tuning', config.iterations, unit='steps', console=console) as display,
    ):

        def show(iteration: int, total: int, losses: dict) -> None:
            display.update(iteration, _note(losses))

        result = fine_tune(episodes, embodiment, encoder, config, unfinished, show, model)
    console.print(
        f'{len(episodes)} bags read; policy of step {result.policy_iteration}, '
        f'reward model of step {result.reward_iteration}: {_note(result.curve[-1])}',
        soft_wrap=True,
    )


def _note(losses: dict) -> str:
    """Return the held-out losses in a few words."""
    words = (
        f'{name} {losses[key]:.2f}'
        for key, name in (
            ('validation/action', 'action'),
            ('validation/steps_to_go', 'steps-to-go'),
            ('validation/instruction', 'instruction'),
        )
        if key in losses
    )
    return 'held out: ' + ', '.join(words)


def export(run: Path, embodiment_path: Path, console: Console) -> bool:
    """
    Export both checkpoints of stage 1 to ``sft/*.onnx``; return whether both exports are faithful.

    :raises FileNotFoundError: when there are no checkpoints.
    """
    from efm_model.checkpoint import load_checkpoint
    from efm_model.export import export_policy, export_reward, parity

    embodiment: Embodiment = load_embodiment(embodiment_path)
    table = Table('file', 'largest difference', 'same tokens', 'passed')
    passed = True
    for kind, write in (('policy', export_policy), ('reward', export_reward)):
        model, _ = load_checkpoint(run / 'sft' / kind, embodiment)
        path = write(model, run / 'sft' / f'{kind}.onnx', embodiment, 1)
        report = parity(model, path, embodiment, kind)
        passed = passed and report.passed
        table.add_row(
            str(path), f'{report.difference:.1e}', str(report.same_tokens), str(report.passed)
        )
    console.print(table)
    return passed
