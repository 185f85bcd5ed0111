"""
Grounding models whose encoder is trained together with the heads, on demonstrations.

Letters as in ``efm_model.network``.
"""

from __future__ import annotations

from typing import cast

from efm_core.embodiment import Embodiment
from efm_experiments.encoders.imagenet import ImageNetEncoder
from efm_experiments.encoders.unimodal import IMAGE, pretrained_vision, TOOL, VisionConfig
from efm_model.config import ModelConfig
from efm_model.grounding import (
    EFFECTOR,
    GroundingEncoder,
    ImageEncoder,
    QUERY_SIZE,
    sample_around,
    TextAdapter,
)
from efm_model.network import geometry, GroundingModel, load_encoder
from efm_model.protocol import Inputs
import torch
from torch import nn

ENCODERS = ('tuned', 'unimodal', 'imagenet', 'scratch')


class TrainableEncoder(GroundingEncoder):
    """
    An encoder whose points are means over the whole heat map, not over a window at its maximum.

    Training needs the whole map: a gradient through a window at a wrong maximum never reaches the
    right one. The pretraining of the shipped encoder uses the whole map too.
    """

    def _window(self, heat: torch.Tensor) -> torch.Tensor:
        """Return the heat map without a window, ``(..., C)``."""
        return heat


class ToolQueryAdapter(TextAdapter):
    """A text adapter with a learned query for the tool, which does not depend on the sentence."""

    def __init__(self) -> None:
        super().__init__()
        self.tool = nn.Parameter(torch.zeros(QUERY_SIZE))

    def forward(self, text: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the queries, ``(B, Q, D + 3)``; arguments as ``TextAdapter``."""
        queries = super().forward(text, mask)
        others = queries[:, EFFECTOR + 1 :]
        return torch.cat([self.tool.expand(len(text), 1, -1), others], dim=1)


class EndToEndModel(GroundingModel):
    """The grounding model with a trainable encoder; the previous frame gets no gradient."""

    def features(self, inputs: Inputs) -> torch.Tensor:
        """Return the features, ``(B, F)``; argument as ``GroundingModel.features``."""
        image = self.grounding.image
        observations = inputs['observations']
        queries = self.grounding.text(inputs['text'], inputs['text_mask'])
        keys, occupancy = image(observations[:, 1])
        with torch.no_grad():  # saves a third of the time; the current frame gives the gradient
            earlier, _ = image(observations[:, 0])
            before = self.grounding.points(self.grounding.heat(queries, earlier))
        heat = self.grounding.heat(queries, keys)
        now = self.grounding.points(heat)
        peaks = torch.softmax(heat, dim=-1).amax(dim=-1)
        around = sample_around(
            torch.sigmoid(occupancy), now[:, EFFECTOR], image.rows, image.columns
        )
        return torch.cat([*geometry(now), (now - before).flatten(1), peaks, around], dim=1)


def make_end_to_end(
    encoder: str, embodiment: Embodiment, seed: int, vision: VisionConfig
) -> tuple[EndToEndModel, list[nn.Parameter]]:
    """
    Return a model with newly initialised heads, and the list of its pretrained parameters.

    :param encoder: pretraining of the encoder, one of ``ENCODERS``.
    :param seed: of the initial weights.
    :param vision: pretraining of the encoder ``unimodal``.
    :raises ModuleNotFoundError: when the packages of the ImageNet encoder are not installed.
    """
    model = untrained_model(encoder, embodiment, seed)
    if encoder == 'tuned':
        load_encoder(model.grounding)
        return model, list(model.grounding.parameters())
    image = model.grounding.image
    text = model.grounding.text
    if isinstance(text, ToolQueryAdapter):
        weights = pretrained_vision(vision)
        images = {k.removeprefix(IMAGE): v for k, v in weights.items() if k.startswith(IMAGE)}
        image.load_state_dict(images)
        text.tool.data.copy_(weights[TOOL])
        return model, [*image.parameters(), text.tool]
    if isinstance(image, ImageNetEncoder):
        return model, list(image.pretrained.parameters())
    return model, []


def untrained_model(encoder: str, embodiment: Embodiment, seed: int) -> EndToEndModel:
    """Return a model with the architecture for ``encoder`` and without pretraining."""
    config = ModelConfig.for_embodiment(embodiment, pretrained='none')  # nothing is frozen
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = EndToEndModel(config)
        if encoder != 'tuned':
            model.grounding = TrainableEncoder(config.observation_size)
        if encoder == 'unimodal':
            model.grounding.text = ToolQueryAdapter()
        if encoder == 'imagenet':
            image = ImageNetEncoder(config.observation_size)
            model.grounding.image = cast(ImageEncoder, image)  # the same outputs
    return model
