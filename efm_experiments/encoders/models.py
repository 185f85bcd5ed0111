"""
Compact models whose tower learns along with the heads, from demonstrations.

Letters as in ``efm_model.network``.
"""

from __future__ import annotations

from efm_core.embodiment import Embodiment
from efm_experiments.encoders.imagenet import ImageNetTower
from efm_experiments.encoders.unimodal import IMAGE, pretrained_vision, TOOL, VisionConfig
from efm_model.config import ModelConfig
from efm_model.grounding import EFFECTOR, QUERY_SIZE, sample_around, TextAdapter, Tower
from efm_model.network import CompactModel, geometry, load_tower
import torch
from torch import nn

TOWERS = ('tuned', 'unimodal', 'imagenet', 'scratch')


class OpenTower(Tower):
    """
    A tower that means the whole heat map, not only its maximum and what is around it.

    The shipped tower was pretrained like this, too; a gradient that sees only the surroundings of
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
    """The compact model, whose tower learns from the current frame; it sees the one before too."""

    def features(
        self, observations: torch.Tensor, text: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Return what the heads need, ``(B, F)``; arguments as ``CompactModel.features``."""
        image = self.tower.image
        queries = self.tower.text(text, mask)
        keys, occupancy = image(observations[:, 1])
        with torch.no_grad():  # a third of the cost, and little to learn
            earlier, _ = image(observations[:, 0])
            before = self.tower.points(self.tower.heat(queries, earlier))
        heat = self.tower.heat(queries, keys)
        now = self.tower.points(heat)
        peaks = torch.softmax(heat, dim=-1).amax(dim=-1)
        around = sample_around(
            torch.sigmoid(occupancy), now[:, EFFECTOR], image.rows, image.columns
        )
        return torch.cat([*geometry(now), (now - before).flatten(1), peaks, around], dim=1)


def new_end_to_end(
    tower: str, embodiment: Embodiment, seed: int, vision: VisionConfig
) -> tuple[EndToEnd, list[nn.Parameter]]:
    """
    Return a model with fresh heads, and those of its parameters that were pretrained.

    :param tower: what it knows beforehand, one of ``TOWERS``.
    :raises ModuleNotFoundError: when the packages of the ImageNet tower are not installed.
    """
    model = blank(tower, embodiment, seed)
    if tower == 'tuned':
        load_tower(model.tower)
        return model, list(model.tower.parameters())
    if tower == 'unimodal':
        weights = pretrained_vision(vision)
        images = {k.removeprefix(IMAGE): v for k, v in weights.items() if k.startswith(IMAGE)}
        model.tower.image.load_state_dict(images)
        model.tower.text.tool.data.copy_(weights[TOOL])
        return model, [*model.tower.image.parameters(), model.tower.text.tool]
    return model, list(model.tower.image.pretrained.parameters()) if tower == 'imagenet' else []


def blank(tower: str, embodiment: Embodiment, seed: int) -> EndToEnd:
    """Return a model of the shape that ``tower`` asks for, with weights that know nothing."""
    config = ModelConfig.for_embodiment(embodiment, tower='scratch')  # nothing is frozen
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = EndToEnd(config)
        if tower != 'tuned':
            model.tower = OpenTower(config.observation_size)
        if tower == 'unimodal':
            model.tower.text = KnowingTool()
        if tower == 'imagenet':
            model.tower.image = ImageNetTower(config.observation_size)
    return model
