"""The policy of a release, and the folder that a node takes releases from."""

from __future__ import annotations

import os
from pathlib import Path

from efm_core.config import expect
from efm_core.embodiment import Embodiment
from efm_model.text import InstructionEncoder
from efm_policy.config import ReleaseConfig, SamplingConfig
from efm_policy.policy import Policy
from efm_release.release import ReleaseFiles


def open_policy(
    files: ReleaseFiles,
    text_encoder: InstructionEncoder,
    embodiment: Embodiment,
    sampling: SamplingConfig,
) -> Policy:
    """
    Return the policy of a release.

    :raises ValueError: when the policy is for another embodiment, or has another version than the
        manifest of the release.
    """
    policy = Policy.load(
        files.policy, text_encoder, embodiment, sampling.temperature, sampling.provider
    )
    version = files.manifest['version']
    expect(policy.version == version, str(files.policy.path), f'version {version}', policy.version)
    return policy


def find_store(config: ReleaseConfig) -> Path:
    """
    Return the folder of all releases that a node may load.

    :raises ValueError: when neither it nor a first release is given.
    """
    expect(
        bool(config.release_store or config.release),
        'release_store',
        'the folder of all releases of a run, or a first release',
        'neither',
    )
    return Path(config.release_store or Path(os.path.realpath(config.release)).parent)
