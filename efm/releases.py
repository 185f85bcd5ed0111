"""Releases for the Python API: exported models that robots load."""

from __future__ import annotations

from pathlib import Path
import tempfile

from efm_core.embodiment import Embodiment, load_embodiment
from efm_core.embodiment_files import save_embodiment
from efm_model.text import ensure_text_encoder, InstructionEncoder, TextEncoder
from efm_policy.policy import Policy
from efm_release.release import find_release_directory, find_releases, MANIFEST, Release
from efm_release.release import load_release as load_files
from efm_reward.model import RewardModel

EMBODIMENT = 'embodiment.yaml'  # of a run
TRAINER_PARTS = ('sft', 'trainer')  # of a run whose trainer publishes its releases


def load_release(
    path: str | Path,
    embodiment: Embodiment | None = None,
    *,
    version: int = 0,
    temperature: float = 1.0,
    text_encoder: InstructionEncoder | None = None,
    provider: str = 'auto',
) -> tuple[Policy, RewardModel]:
    """
    Return policy and reward model of a release, in onnxruntime, after a check of all hashes.

    :param path: directory of a run or of a release.
    :param embodiment: of the robot; None: that of the run.
    :param version: of the release; 0: the newest.
    :param temperature: of sampling; 0 takes the likeliest token, which is unreliable after
        practice.
    :param text_encoder: of instructions; None: the exported all-MiniLM-L6-v2, which is exported on
        first use and then needs torch and transformers.
    :param provider: of onnxruntime: auto, tensorrt, cuda or cpu.
    :raises FileNotFoundError: when there is no release, or a file of it is missing.
    :raises ValueError: when a hash differs, or the release belongs to another embodiment.
    """
    path = Path(path)
    directory = path if (path / MANIFEST).is_file() else find_release_directory(path, version)
    robot = embodiment or read_embodiment(directory.parent.parent)
    files = load_files(str(directory), None, robot.hash)
    encoder = text_encoder or TextEncoder(ensure_text_encoder())
    return (
        Policy.load(files.policy, encoder, robot, temperature, provider),
        RewardModel.load(files.reward, encoder, robot, provider),
    )


def publish_release(run: str | Path, policy: Policy, reward_model: RewardModel) -> Release:
    """
    Export a policy and its reward model to ONNX and publish them as the next release of a run.

    The export is compared with torch first. ``efm evaluate --run`` and ``load_release`` then find
    the release.

    :param run: directory without stage 1 and trainer, because a trainer publishes its releases
        itself; made if it does not exist.
    :param policy: of ``fine_tune``, ``load_checkpoints`` or ``practise``.
    :param reward_model: of ``fine_tune`` or ``load_checkpoints``.
    :return: version, directory and hash of the release.
    :raises FileExistsError: when the run belongs to a trainer.
    :raises ValueError: when a model cannot be exported, the export differs from torch, or the
        run belongs to another embodiment.
    """
    from efm.learning import to_torch
    from efm_model.export import export_policy, export_reward, exportable, parity
    from efm_release.publish import publish

    run = Path(run)
    for part in TRAINER_PARTS:
        if (run / part).exists():
            raise FileExistsError(f'run: expected one without {part}, got {run}; take another run')
    robot = policy.embodiment
    models = tuple(exportable(model) for model in to_torch(policy, reward_model))
    keep_embodiment(run, robot)
    version = max(find_releases(run / 'releases'), default=0) + 1
    with tempfile.TemporaryDirectory() as folder:
        files = (
            export_policy(models[0], Path(folder) / 'policy.onnx', robot, version),
            export_reward(models[1], Path(folder) / 'reward.onnx', robot, 1),
        )
        reports = tuple(
            parity(model, file, robot, kind)
            for model, file, kind in zip(models, files, ('policy', 'reward'), strict=True)
        )
        return publish(
            run / 'releases',
            version,
            policy=files[0],
            reward=files[1],
            embodiment=robot,
            parity=reports,
            parent=version - 1,
        )


def read_embodiment(run: Path) -> Embodiment:
    """
    Return the embodiment of a run.

    :raises FileNotFoundError: when the run has none.
    """
    if not (run / EMBODIMENT).is_file():
        raise FileNotFoundError(
            f'embodiment: expected {run / EMBODIMENT}, got no such file; pass an embodiment'
        )
    return load_embodiment(run / EMBODIMENT)


def keep_embodiment(run: Path, embodiment: Embodiment) -> None:
    """
    Write the embodiment of a run that has none.

    :raises ValueError: when the run belongs to another embodiment.
    """
    path = run / EMBODIMENT
    if path.is_file():
        embodiment.check_same(load_embodiment(path).hash, str(path))
    else:
        save_embodiment(embodiment, path)
