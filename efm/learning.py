"""Both stages of learning for the Python API, in this process and without ROS."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import replace
import itertools
from pathlib import Path
import tempfile
from typing import Any

from efm.model_choice import AUTO, choose_model
from efm.pretrain import ENCODER_FILE
from efm.releases import keep_embodiment, read_embodiment
from efm.rollouts import as_list
from efm_core.embodiment import Embodiment
from efm_core.episode import Episode, Kind
from efm_core.files import whole_directory
from efm_data.labels import LabelledAttempt
from efm_model.checkpoint import load_checkpoint
from efm_model.protocol import Model
from efm_model.text import ensure_text_encoder, InstructionEncoder, TextEncoder
from efm_model.torch_runtime import make_runtimes, single_threaded
from efm_policy.policy import Policy
from efm_reward.model import RewardModel
from efm_sim.rollout import rollout, World
from efm_trainer import sft
from efm_trainer.config import PRESETS, STAGE_ONE
from efm_trainer.reinforce import is_enough, Reinforce
from efm_trainer.trainer import summarise, Trainer

OnUpdate = Callable[[dict[str, float]], None]
OnValidation = Callable[[int, int, dict[str, float]], None]


def fine_tune(
    episodes: Iterable[Episode],
    embodiment: Embodiment,
    run: str | Path = '',
    *,
    text_encoder: InstructionEncoder | None = None,
    on_validation: OnValidation | None = None,
    model: str = AUTO,
    attempts: Sequence[LabelledAttempt] = (),
    **options: Any,
) -> tuple[Policy, RewardModel]:
    """
    Stage 1: learn a policy by behaviour cloning, and a reward model, from demonstrations.

    :param episodes: demonstrations, of which at least two succeeded. Failed ones are left out.
    :param embodiment: of the demonstrations.
    :param run: directory for what ``efm train`` writes: checkpoints in ``sft`` and release 1.
        Empty: nothing is written.
    :param text_encoder: as in ``load_release``.
    :param on_validation: receives iteration, number of iterations and losses at each validation.
    :param model: ``grounding``, ``visuomotor`` or ``auto``, as in ``efm train --model``.
    :param attempts: labelled attempts of the robot, from which a separate reward network learns.
    :param options: fields of ``efm_trainer.config.SftConfig``, such as ``iterations``, ``seed`` or
        ``pretrained``; the others have the model's defaults.
    :return: policy and reward model in torch, which ``practise`` accepts.
    :raises FileExistsError: when the run has checkpoints.
    :raises ValueError: when fewer than two demonstrations succeeded, or an option is out of range.
    """
    family = choose_model(
        model,
        embodiment,
        own_encoder=bool(run) and (Path(run) / ENCODER_FILE).is_file(),
        options=options,
    ).family
    config = replace(STAGE_ONE[family], **options)
    encoder = text_encoder or TextEncoder(ensure_text_encoder())
    progress = on_validation or (lambda iteration, total, losses: None)
    threads = single_threaded() if family == 'grounding' else nullcontext()
    with _checkpoint_folder(run) as folder, threads:
        sft.fine_tune(
            episodes,
            embodiment,
            encoder,
            config,
            folder,
            progress,
            family=family,
            attempts=attempts,
        )
        found = _load_pair(folder, embodiment, encoder)
    if run:
        keep_embodiment(Path(run), embodiment)
        Trainer(run, embodiment, text_encoder=encoder).close()  # publishes release 1
    return found


def load_checkpoints(
    run: str | Path,
    embodiment: Embodiment | None = None,
    *,
    text_encoder: InstructionEncoder | None = None,
) -> tuple[Policy, RewardModel]:
    """
    Return policy and reward model of stage 1 of a run, in torch, which ``practise`` accepts.

    :param run: directory of a run after ``efm train`` or ``fine_tune``.
    :param embodiment: of the robot; None: that of the run.
    :param text_encoder: as in ``load_release``. Vision-language models have their own.
    :raises FileNotFoundError: when the run has no checkpoints.
    :raises ValueError: when a checkpoint is damaged or belongs to another embodiment.
    """
    robot = embodiment or read_embodiment(Path(run))
    return _load_pair(Path(run) / 'sft', robot, text_encoder)


def practise(
    worlds: World | Sequence[World],
    policy: Policy,
    reward_model: RewardModel,
    seeds: Iterable[int],
    *,
    preset: str = 'default',
    on_update: OnUpdate | None = None,
    **options: Any,
) -> Policy:
    """
    Stage 2: improve a policy by practice; return the new policy, the given one stays as it is.

    The reward model gives the reward and ends the episodes. Simulator truth is not used. A new
    version of the policy runs the episodes after each update.

    :param worlds: one world or several that run side by side.
    :param policy: of ``fine_tune``, ``load_checkpoints`` or ``practise``.
    :param reward_model: of ``fine_tune`` or ``load_checkpoints``; it stays frozen.
    :param seeds: a scene each. Episodes after the last full update are not learned from.
    :param preset: ``default`` or ``paper``.
    :param on_update: receives version, mean steps, loss, entropy and more after each update.
    :param options: fields of ``efm_trainer.config.PracticeConfig`` that replace the preset's, such
        as ``episodes_per_update`` or ``learning_rate``.
    :raises ValueError: when a model is not a torch model, or an option is out of range.
    """
    config = replace(PRESETS[preset], **options)
    robot = policy.embodiment
    network, reward_network = to_torch(policy, reward_model)
    learner = Reinforce(
        deepcopy(network),
        reward_network,
        text_encoder=policy.text_encoder,
        scale=robot.steps_to_go,
        config=config,
    )
    waiting: list[Episode] = []
    count = 0
    for scenes in _batches(seeds, config.episodes_per_update):
        waiting += rollout(
            as_list(worlds), policy, reward_model, scenes, robot, Kind.PRACTICE, count
        )
        count += len(scenes)
        if not is_enough(waiting, config):
            continue
        with single_threaded() if network.family != 'vlm' else nullcontext():
            figures = {**summarise(waiting), **learner.update(waiting)}
        waiting = []
        policy, reward_model = _make_pair(
            learner.deployed,
            reward_network,
            encoder=policy.text_encoder,
            embodiment=robot,
            version=policy.version + 1,
        )
        if on_update:
            on_update({'version': policy.version, 'episodes': count, **figures})
    return policy


def to_torch(policy: Policy, reward_model: RewardModel) -> tuple[Model, Model]:
    """
    Return the torch models of a policy and a reward model.

    :raises ValueError: when one of them is an exported model.
    """
    found = []
    for name, model in (('policy', policy), ('reward_model', reward_model)):
        network = getattr(model.runtime, 'model', None)
        if network is None:
            raise ValueError(
                f'{name}: expected a torch model of fine_tune, load_checkpoints or practise, '
                'got an exported one'
            )
        found.append(network)
    return found[0], found[1]


@contextmanager
def _checkpoint_folder(run: str | Path) -> Iterator[Path]:
    """Give the folder for the checkpoints; without a run a temporary one."""
    if run:
        with whole_directory(Path(run) / 'sft') as folder:
            yield folder
    else:
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)


def _load_pair(
    folder: Path, embodiment: Embodiment, encoder: InstructionEncoder | None
) -> tuple[Policy, RewardModel]:
    """Return the checkpoints in a folder as policy and reward model."""
    policy, reward_model = (
        load_checkpoint(folder / kind, embodiment)[0] for kind in ('policy', 'reward')
    )
    own = getattr(policy, 'text_encoder', None)  # of a vision-language model
    encoder = own or encoder or TextEncoder(ensure_text_encoder())
    return _make_pair(policy, reward_model, encoder=encoder, embodiment=embodiment, version=1)


def _make_pair(
    policy: Model,
    reward_model: Model,
    *,
    encoder: InstructionEncoder,
    embodiment: Embodiment,
    version: int,
) -> tuple[Policy, RewardModel]:
    """Return policy and reward model around torch models as they are now."""
    policy_runtime, reward_runtime = make_runtimes(policy, reward_model, version=version)
    return (
        Policy(policy_runtime, encoder, embodiment=embodiment),
        RewardModel(reward_runtime, encoder, embodiment=embodiment),
    )


def _batches(seeds: Iterable[int], size: int) -> Iterator[list[int]]:
    """Yield the seeds in lists of ``size``, the last one shorter."""
    rest = iter(seeds)
    while batch := list(itertools.islice(rest, size)):
        yield batch
