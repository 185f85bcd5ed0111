"""
Compact models whose encoder learns along with the heads, from demonstrations.

Letters as in ``efm_model.network``.
"""

from __future__ import annotations

from efm_core.embodiment import Embodiment
from efm_experiments.encoders.imagenet import ImageNetTower
from efm_experiments.encoders.unimodal import IMAGE, pretrained_vision, TOOL, VisionConfig
from efm_model.config import ModelConfig
from efm_model.grounding import EFFECTOR, GroundingEncoder, QUERY_SIZE, sample_around, TextAdapter
from efm_model.network import CompactModel, geometry, load_encoder
import torch
from torch import nn

ENCODERS = ('tuned', 'unimodal', 'imagenet', 'scratch')


class OpenTower(GroundingEncoder):
    """
    An encoder that means the whole heat map, not only its maximum and what is around it.

    The shipped encoder was pretrained like this, too; a gradient that sees only surroundings of
    a wrong maximum never learns of the right one.
    """

    def _window(self, heat: torch.Tensor) -> torch.Tensor:
        return heat


class KnowingTool(TextAdapter):
    """A text adapter that need not learn from sentences how to find the tool."""

    def __init__(self):
        super().__init__()
        self.tool = nn.Parameter(torch.zeros(QUERY_SIZE))

    def forward(self, text: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the queries, ``(B, Q, D + 3)``; arguments as ``TextAdapter``."""
        queries = super().forward(text, mask)
        others = queries[:, EFFECTOR + 1 :]
        return torch.cat([self.tool.expand(len(text), 1, -1), others], dim=1)


class EndToEnd(CompactModel):
    """The compact model with a trainable encoder; it also receives the previous frame."""

    def features(
        self, observations: torch.Tensor, text: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Return what the heads need, ``(B, F)``; arguments as ``CompactModel.features``."""
        image = self.grounding.image
        queries = self.grounding.text(text, mask)
        keys, occupancy = image(observations[:, 1])
        with torch.no_grad():  # a third of the cost, and little to learn
            earlier, _ = image(observations[:, 0])
            before = self.grounding.points(self.grounding.heat(queries, earlier))
        heat = self.grounding.heat(queries, keys)
        now = self.grounding.points(heat)
        peaks = torch.softmax(heat, dim=-1).amax(dim=-1)
        around = sample_around(
            torch.sigmoid(occupancy), now[:, EFFECTOR], image.rows, image.columns
        )
        return torch.cat([*geometry(now), (now - before).flatten(1), peaks, around], dim=1)


def new_end_to_end(
    encoder: str, embodiment: Embodiment, seed: int, vision: VisionConfig
) -> tuple[EndToEnd, list[nn.Parameter]]:
    """
    Return a model with fresh heads, and those of its parameters that were pretrained.

    :param encoder: what it knows beforehand, one of ``TOWERS``.
    :raises ModuleNotFoundError: when the packages of the ImageNet encoder are not installed.
    """
    model = blank(encoder, embodiment, seed)
    if encoder == 'tuned':
        load_encoder(model.grounding)
        return model, list(model.grounding.parameters())
    if encoder == 'unimodal':
        weights = pretrained_vision(vision)
        images = {k.removeprefix(IMAGE): v for k, v in weights.items() if k.startswith(IMAGE)}
        model.grounding.image.load_state_dict(images)
        model.grounding.text.tool.data.copy_(weights[TOOL])
        return model, [*model.grounding.image.parameters(), model.grounding.text.tool]
    return model, list(
        model.grounding.image.pretrained.parameters()
    ) if encoder == 'imagenet' else []


def blank(encoder: str, embodiment: Embodiment, seed: int) -> EndToEnd:
    """Return a model of the shape that ``encoder`` asks for, with weights that know nothing."""
    config = ModelConfig.for_embodiment(embodiment, pretrained='none')  # nothing is frozen
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = EndToEnd(config)
        if encoder != 'tuned':
            model.grounding = OpenTower(config.observation_size)
        if encoder == 'unimodal':
            model.grounding.text = KnowingTool()
        if encoder == 'imagenet':
            model.grounding.image = ImageNetTower(config.observation_size)
    return model
