"""Load the policy of a server: from a release, or from a vision-language model's checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from efm_core.embodiment import Embodiment
from efm_core.preprocessing import blank_observation
from efm_model.text import ensure_text_encoder, TextEncoder
from efm_policy.config import SamplingConfig
from efm_policy.policy import Policy
from efm_policy.releases import open_policy
from efm_release.release import (
    ACTIVE,
    Announcement,
    find_releases,
    load_announced,
    load_release,
    read_manifest,
    ReleaseFiles,
)

WARM_UP_INSTRUCTION = 'push the red cube to the blue cylinder'


class Releases:
    """Loads the releases of one embodiment; all of them share one text encoder."""

    def __init__(
        self,
        embodiment: Embodiment,
        text_encoder: str = '',
        *,
        sampling: SamplingConfig | None = None,
    ):
        """
        Load the text encoder.

        :param text_encoder: its directory; empty for the default directory, made if missing.
        :param sampling: temperature, and provider of onnxruntime.
        """
        self._embodiment = embodiment
        self._sampling = sampling or SamplingConfig()
        self._text_encoder = TextEncoder(text_encoder or ensure_text_encoder())

    def load(self, directory: str) -> Policy:
        """
        Return the policy of a release that the operator named, after a first inference.

        :raises FileNotFoundError: when a file is missing.
        :raises ValueError: when a file is not the published one, or for another embodiment.
        """
        return self._open(load_release(directory, None, self._embodiment.hash))

    def load_announced(self, release: Announcement, store: Path, newest: int) -> Policy:
        """
        Return the policy of a release that a message announced, after a first inference.

        Arguments and errors as in ``efm_release.release.load_announced``.
        """
        return self._open(
            load_announced(release, store, newest=newest, embodiment_hash=self._embodiment.hash)
        )

    def _open(self, files: ReleaseFiles) -> Policy:
        policy = open_policy(files, self._text_encoder, self._embodiment, self._sampling)
        return warm_up(policy, self._embodiment)


class ReleaseFolder:
    """Finds new releases in the folder of a run."""

    def __init__(self, folder: Path, load: Callable[[str], Policy], *, version: int = 0):
        """
        Keep the arguments.

        :param folder: folder with one directory for each release.
        :param load: returns the policy of a release's directory.
        :param version: only newer releases are loaded.
        """
        self._folder = folder
        self._load = load
        self._version = version
        self._settled: set[int] = set()  # newer versions that cannot be used

    def newer(self) -> Policy | None:
        """
        Return the policy of the newest active release; None if there is no new one.

        A release that cannot be loaded is not tried again, and hides no other release.

        :raises FileNotFoundError: as ``Releases.load``.
        :raises ValueError: as ``Releases.load``.
        """
        found = find_releases(self._folder)
        for version in sorted(found.keys() - self._settled, reverse=True):
            if version <= self._version:
                break
            self._settled.add(version)
            if read_manifest(found[version])['stage'] == ACTIVE:
                policy = self._load(str(found[version]))
                self._version = version
                return policy
        return None


def load_vlm_policy(
    directory: str, embodiment: Embodiment, base: str = '', temperature: float = 1.0
) -> Policy:
    """
    Return the policy in a vision-language model's checkpoint; it runs in torch.

    :param directory: of the checkpoint.
    :param base: folder of the base model; empty: the folder in the checkpoint.
    :param temperature: of sampling.
    :raises FileNotFoundError: when there is no checkpoint.
    :raises ValueError: when the checkpoint is of another kind or family, or made for another
        embodiment or base model.
    """
    from efm_model.checkpoint import load_checkpoint
    from efm_model.torch_runtime import TorchRuntime
    from efm_model.vlm.network import VlmModel

    model, card = load_checkpoint(directory, embodiment, base)
    if card['kind'] != 'policy' or not isinstance(model, VlmModel):
        raise ValueError(
            f'{directory}: expected a policy of the family vlm, got a {card["kind"]} of the '
            f'family {model.family}; other models are served as a release'
        )
    policy = Policy(
        TorchRuntime(model, version=card['version']),
        model.text_encoder,
        embodiment=embodiment,
        temperature=temperature,
    )
    return warm_up(policy, embodiment)


def warm_up(policy: Policy, embodiment: Embodiment) -> Policy:
    """Return a policy after its first action, which is the slowest."""
    policy.act_batch([policy.start(WARM_UP_INSTRUCTION, 0)], [blank_observation(embodiment)])
    return policy
