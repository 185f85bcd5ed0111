"""Where a server's policy comes from: a release, or a checkpoint that no robot could run."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path

from efm_core.embodiment import Embodiment
from efm_model.text import ensure_text_encoder, TextEncoder
from efm_policy.policy import Policy
from efm_release.release import load_release, MANIFEST
import numpy as np

ACTIVE = 'active'  # the stage of a release that acts
WARMING = 'push the red cube to the blue cylinder'


class Releases:
    """Loads the releases of one robot, with one sentence encoder for all of them."""

    def __init__(
        self,
        embodiment: Embodiment,
        text_encoder: str = '',
        *,
        temperature: float = 1.0,
        provider: str = 'auto',
    ):
        """
        Load the sentence encoder.

        :param text_encoder: its directory; empty finds or makes it.
        :param provider: of onnxruntime: auto, tensorrt, cuda or cpu.
        """
        self._embodiment = embodiment
        self._temperature = temperature
        self._provider = provider
        self._text_encoder = TextEncoder(text_encoder or ensure_text_encoder())

    def load(self, uri: str, sha256: str = '') -> Policy:
        """
        Return the policy of a release, which has acted once already.

        :raises FileNotFoundError: when a file is missing.
        :raises ValueError: when a file is not what was published, or for another robot.
        """
        files = load_release(uri, sha256, self._embodiment.hash)
        policy = Policy.load(files.policy, self._text_encoder, self._embodiment, self._temperature)
        return warm(policy, self._embodiment)


class Folder:
    """
    Looks whether a run's folder of releases has a newer one.

    :param load: returns the policy of a release's directory.
    """

    def __init__(self, folder: Path, load: Callable[[str], Policy], *, version: int = 0):
        """Begin with ``version``, and whatever is newer is new."""
        self._folder = folder
        self._load = load
        self._version = version

    def newer(self) -> Policy | None:
        """
        Return the policy of the newest active release if it is newer than the last; else None.

        :raises FileNotFoundError: as ``Releases.load``; the release is not tried again.
        :raises ValueError: as ``Releases.load``; the release is not tried again.
        """
        found = [path for path in self._folder.glob('[0-9]*') if int(path.name) > self._version]
        for path in sorted(found, reverse=True):
            if json.loads((path / MANIFEST).read_text())['stage'] == ACTIVE:
                self._version = int(path.name)
                return self._load(str(path))
        return None


def load_learned(
    directory: str, embodiment: Embodiment, base: str = '', temperature: float = 1.0
) -> Policy:
    """
    Return the policy of a vision-language model's checkpoint, in torch.

    :param base: where its base folder is now; empty for where it was.
    :raises FileNotFoundError: when there is no checkpoint.
    :raises ValueError: when it is of another kind, or made for another robot or base model.
    """
    from efm_model.checkpoint import load_checkpoint
    from efm_model.vlm.runtime import VlmRuntime

    model, card = load_checkpoint(directory, embodiment, base)
    found = f'{card.get("kind")} of the family {card.get("family")}'
    if found != 'policy of the family vlm':
        raise ValueError(
            f'{directory}: expected a policy of the family vlm, got a {found}; a compact model is '
            'served as a release'
        )
    runtime = VlmRuntime(model, card['version'])
    return warm(
        Policy(runtime, model.sentences, embodiment=embodiment, temperature=temperature),
        embodiment,
    )


def warm(policy: Policy, embodiment: Embodiment) -> Policy:
    """Return ``policy`` after its first action, which is the slowest."""
    nothing = np.zeros((*embodiment.observation_size, 3), np.uint8)
    policy.act_batch([policy.start(WARMING, 0)], [nothing])
    return policy
