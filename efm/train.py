"""The commands `efm train` and `efm export`: stage 1, with a progress display."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
import json
from pathlib import Path
from typing import TYPE_CHECKING

from efm.model_choice import is_simulated_table
from efm.pretrain import ENCODER_FILE
from efm_bringup.progress import Display
from efm_core.config import expect
from efm_core.embodiment import Embodiment, load_embodiment
from efm_core.episode_rules import EpisodeRules
from efm_core.files import whole_directory
from efm_data.labels import LabelledAttempt, read_labelled_attempts
from efm_model.vlm.config import VlmConfig
from efm_release.release import find_release_directory
from efm_trainer.config import SftConfig
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from efm_model.protocol import Model
    from efm_model.text import InstructionEncoder
    from efm_trainer.detector import DetectorReport

NO_FAILURES = (
    'All of them succeeded, so they do not show what the detector does in attempts that fail: '
    'label attempts, see docs/detector.md'
)


def train_vlm(
    run: Path, embodiment_path: Path, config: SftConfig, options: VlmConfig, console: Console
) -> None:
    """
    Fine-tune a vision-language model on the demonstrations of a run; write its checkpoints.

    There is no release, because robots load ONNX files and this model has no export.

    :raises FileExistsError: when the run has checkpoints.
    :raises ValueError: when the base is not a supported model, or as ``train``.
    """
    if (run / 'sft').is_dir():
        raise FileExistsError(
            f'run: expected one before stage 1, got {run / "sft"}; use a new --fine-tuning'
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


def train(
    run: Path,
    embodiment_path: Path,
    config: SftConfig,
    console: Console,
    family: str = 'grounding',
    labelled: Path | None = None,
    policy: StageOnePolicy | None = None,
) -> None:
    """
    Fine-tune a new model on the demonstrations of a run; write checkpoints and release 1.

    Stage 1 runs once in a run. After an interruption it starts again, or only publishes the
    release if the checkpoints are complete. A grounding model starts from the encoder of
    `efm pretrain` if the run has one.

    :param family: a key of ``efm_trainer.sft.NEW_MODELS``.
    :param labelled: run whose labelled attempts a separate reward network learns from; None: this.
    :param policy: keep this one, and train only the reward model; None: train both.
    :raises FileExistsError: when the run has releases.
    :raises ValueError: when there are too few demonstrations or a bag is damaged.
    """
    if (run / 'releases').is_dir():
        raise FileExistsError(
            f'run: expected one before stage 1, got {run / "releases"}; use a new --fine-tuning'
        )
    from efm_model.text import ensure_text_encoder, TextEncoder
    from efm_model.torch_runtime import single_threaded
    from efm_trainer.trainer import Trainer

    embodiment = load_embodiment(embodiment_path)
    text_encoder = TextEncoder(ensure_text_encoder())
    # Larger networks than the grounding model's heads gain from several threads.
    with single_threaded() if family == 'grounding' else nullcontext():
        if not (run / 'sft').is_dir():
            if family == 'grounding':
                config = choose_encoder_weights(run, embodiment, config, console)
            if policy:
                config = replace(config, reward_network='separate')
            attempts = read_attempts(labelled or run, embodiment, config, console)
            _fine_tune(
                run,
                embodiment,
                text_encoder,
                config,
                console,
                family=family,
                attempts=attempts,
                policy=policy,
            )
        trainer = Trainer(run, embodiment, text_encoder=text_encoder)
        trainer.close()
    release = find_release_directory(run, trainer.version)
    console.print(f'release {trainer.version}: {release}', soft_wrap=True)


@dataclass(frozen=True)
class StageOnePolicy:
    """
    The policy of stage 1 of a run.

    :param path: of the checkpoint.
    :param family: of the model.
    """

    path: Path
    family: str


def find_policy(run: Path) -> StageOnePolicy:
    """
    Return the policy of stage 1 of a run.

    :raises FileNotFoundError: when the run has none.
    :raises ValueError: when its model has no separate reward network.
    """
    from efm_model.checkpoint import CARD
    from efm_trainer.sft import NEW_MODELS

    path = run / 'sft' / 'policy'
    if not (path / CARD).is_file():
        raise FileNotFoundError(f'run: expected one after stage 1, got no {path / CARD}')
    family = json.loads((path / CARD).read_text())['family']
    expect(family in NEW_MODELS, 'policy', f'a model {" or ".join(NEW_MODELS)}', family)
    return StageOnePolicy(path, family)


def read_attempts(
    run: Path, embodiment: Embodiment, config: SftConfig, console: Console
) -> list[LabelledAttempt]:
    """Return the labelled attempts of a run, if the reward network learns from them."""
    if config.reward_network == 'shared':
        return []
    found = read_labelled_attempts(run, embodiment)
    reached = sum(attempt.success_at is not None for attempt in found)
    if found:
        text = f'labelled attempts: {reached} reached the goal, {len(found) - reached} did not'
        console.print(text, soft_wrap=True)
    return found


def choose_encoder_weights(
    run: Path, embodiment: Embodiment, config: SftConfig, console: Console
) -> SftConfig:
    """Return ``config`` with the encoder of the run if it has one; print which one is used."""
    if config.pretrained == 'none' or config.encoder_weights:
        return config
    own = run / ENCODER_FILE
    if own.is_file():
        console.print(f'encoder: {own}', soft_wrap=True)
        return replace(config, encoder_weights=str(own))
    if not is_simulated_table(embodiment):
        console.print(
            'encoder: the shipped one, which was trained on the simulated table only; '
            'for another world train one with `efm pretrain` first',
            soft_wrap=True,
        )
    return config


def _fine_tune(
    run: Path,
    embodiment: Embodiment,
    text_encoder: InstructionEncoder,
    config: SftConfig,
    console: Console,
    model: Model | None = None,
    family: str = 'grounding',
    attempts: Sequence[LabelledAttempt] = (),
    policy: StageOnePolicy | None = None,
) -> None:
    """
    Write the checkpoints of a run, or none.

    ``model``, ``family`` and ``attempts`` as in ``fine_tune``; ``policy`` as in ``train``.
    """
    from efm_data.episodes import find_bags, read_episodes
    from efm_trainer.fit import find_doubts
    from efm_trainer.sft import fine_tune, network_count, retrain_reward

    steps = (network_count(config, attempts) - bool(policy)) * config.iterations
    folder = run / 'episodes' / 'demonstration'
    with Display('reading bags', len(find_bags(folder)), unit='bags', console=console) as display:

        def count(done: int, total: int) -> None:
            display.update(done, f'{done} read')

        episodes = list(read_episodes(folder, embodiment, count))
    with (
        whole_directory(run / 'sft') as unfinished,
        Display('fine-tuning', steps, unit='steps', console=console) as display,
    ):

        def show(iteration: int, total: int, losses: dict[str, float]) -> None:
            display.update(iteration, describe_losses(losses))

        given = (episodes, embodiment, text_encoder, config, unfinished, show)
        if policy:
            found = retrain_reward(policy.path, *given, family, attempts)
        else:
            result = fine_tune(*given, model, family, attempts)
            found = result.detector
    console.print(describe_detector(found, embodiment), soft_wrap=True)
    if policy:
        return
    console.print(
        f'{len(episodes)} episodes; policy from step {result.policy_iteration}, '
        f'reward model from step {result.reward_iteration}; {describe_losses(result.curve[-1])}',
        soft_wrap=True,
    )
    for doubt in find_doubts(result.curve, result.demonstrations):
        console.print(f'warning: {doubt}', soft_wrap=True)


def describe_detector(found: DetectorReport, embodiment: Embodiment) -> str:
    """Return what the detector does on held-out episodes, and a better threshold and dwell."""
    from efm_trainer.detector import measure

    kind = 'attempts' if found.attempts else 'demonstrations'
    episodes = found.attempts or found.demonstrations
    rules = embodiment.episode
    better = found.proposed.rules(rules)
    mine = measure(episodes, rules)
    text = f'success detector on held-out {kind}, {describe_rules(rules)}: {mine.describe()}'
    if better != rules:
        text += (
            f'; {describe_rules(better)}: {measure(episodes, better).describe()}. Set '
            'task.success_threshold and task.success_dwell in the embodiment and name the file '
            'with --embodiment: no new bags are needed'
        )
    if not found.attempts:
        return f'{text}. {NO_FAILURES}'
    bound = 100 * found.proposed.false_success_bound
    return (
        f'{text}. At most {bound:.0f} % of the failed attempts would count as successes, at a '
        'level of 95 %'
    )


def describe_rules(rules: EpisodeRules) -> str:
    """Return threshold and dwell in words."""
    return f's = {rules.success_threshold:g}, dwell {rules.success_dwell}'


def describe_losses(losses: dict[str, float]) -> str:
    """Return the validation losses as one line."""
    values = (
        f'{name} {losses[key]:.2f}'
        for key, name in (
            ('validation/action', 'action'),
            ('validation/steps_to_go', 'steps-to-go'),
            ('validation/instruction', 'instruction'),
        )
        if key in losses
    )
    return f'validation loss: {", ".join(values)}'


def export(run: Path, embodiment_path: Path, console: Console) -> bool:
    """
    Export both checkpoints of stage 1 to ``sft/*.onnx``; return whether both agree with torch.

    :raises FileNotFoundError: when there are no checkpoints.
    :raises ValueError: when they are of a vision-language model, which has no export.
    """
    from efm_model.checkpoint import load_checkpoint
    from efm_model.export import export_policy, export_reward, exportable, parity

    embodiment = load_embodiment(embodiment_path)
    table = Table('file', 'largest difference', 'same tokens', 'passed')
    passed = True
    for kind, write in (('policy', export_policy), ('reward', export_reward)):
        model = exportable(load_checkpoint(run / 'sft' / kind, embodiment)[0])
        path = write(model, run / 'sft' / f'{kind}.onnx', embodiment, 1)
        report = parity(model, path, embodiment, kind)
        passed = passed and report.passed
        table.add_row(
            str(path), f'{report.difference:.1e}', str(report.same_tokens), str(report.passed)
        )
    console.print(table)
    return passed
