"""
The visuomotor model: from the images of all cameras and the measured state to action tokens.

It learns end to end from demonstrations and needs no other labels. A small convolutional network
encodes the previous and the current frame of a camera together. The instruction scales and shifts
its feature maps. Cameras of one role and size share a network. A pretrained backbone may take the
place of the first layers; it encodes each frame by itself, for all cameras.

Letters: ``B`` batch, ``H, W`` height and width of a frame [px], ``M`` feature maps, ``C`` cells of
a feature map, ``L`` word pieces of an instruction, ``P`` numbers of the proprioception, ``F``
features, ``K`` tokens of an action, ``V`` largest number of values of a token.
"""

from __future__ import annotations

from math import ceil
from typing import Any

from efm_core.embodiment import Embodiment
from efm_model.backbone import Backbone, read_backbone
from efm_model.config import VisuomotorConfig
from efm_model.grounding import cell_centres, NEVER
from efm_model.network import InstructionHead, PolicyHead, TrunkAndHeads
from efm_model.protocol import Inputs
from efm_model.runtime import image_input, PROPRIOCEPTION
from efm_model.text import STATE_SIZE
import torch
from torch import nn
from torch.nn import functional

MAPS = 32  # M
GROUPS = 8  # of the group normalisation
TEXT_SIZE = 64  # size of an encoded instruction
LARGEST_FRAME = 128  # [px]; larger ones have cells twice as large, which keeps the time in bounds
MIXED_MAPS = 64  # of both frames, from the maps of a backbone
POOLED = 8  # rows and columns of the maps that enter the linear readout, at most
POOLED_MAPS = 16
READ = 64  # numbers of the linear readout
CAMERA_FEATURES = 2 * MAPS + READ
LEAST_DEVIATION = 1e-4  # numbers that vary less are constant, and are not divided
LARGEST_VALUE = 5.0  # standardised proprioception beyond it is clipped [standard deviations]


class InstructionEncoder(nn.Module):
    """Attention over an instruction's token states with one learned query."""

    def __init__(self) -> None:
        """Create random weights."""
        super().__init__()
        self.states = nn.Linear(STATE_SIZE, TEXT_SIZE)
        self.scores = nn.Linear(TEXT_SIZE, 1)
        self.norm = nn.LayerNorm(TEXT_SIZE)

    def forward(self, text: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """
        Return one vector for each instruction, ``(B, TEXT_SIZE)`` float32.

        :param text: token states, ``(B, L, 384)`` float32.
        :param mask: 1 for a word piece, 0 for padding, ``(B, L)`` float32.
        """
        states = self.states(text)
        scores = self.scores(torch.tanh(states)).squeeze(2) + (1 - mask) * NEVER
        attention = torch.softmax(scores, dim=1)
        return self.norm((attention[:, None] @ states).squeeze(1))


class CameraEncoder(nn.Module):
    """
    A convolutional network for two frames of a camera, or for their maps from a backbone.

    Two readouts follow the feature maps. Spatial softmax gives the place of the largest activation
    of each map. A linear layer on the pooled maps gives everything else.

    :ivar rows: rows of the feature maps.
    :ivar columns: columns of the feature maps.
    :ivar cells: centres of the cells in image coordinates, ``(C, 2)`` float32.
    """

    cells: torch.Tensor
    pool_rows: torch.Tensor
    pool_columns: torch.Tensor

    def __init__(self, size: tuple[int, int], channels: int = 0):
        """
        Create random weights; the instruction changes nothing before training.

        :param size: height and width of the frames [px]; rows and columns of a backbone's maps.
        :param channels: of a backbone's maps, those of both frames; 0 for pixels.
        """
        super().__init__()
        if channels:
            strides = (1, 1)
            self.first = nn.Conv2d(channels, MIXED_MAPS, 1)
        else:
            strides = (2 if max(size) <= LARGEST_FRAME else 4, 2)
            self.first = nn.Conv2d(6, 16, 5, strides[0], padding=2)
        self.rows, self.columns = (ceil(length / (strides[0] * strides[1])) for length in size)
        width = self.first.out_channels
        self.first_norm = nn.GroupNorm(GROUPS, width)
        self.second = nn.Conv2d(width, MAPS, 3, strides[1], padding=1)
        self.second_norm = nn.GroupNorm(GROUPS, MAPS)
        self.film = nn.Linear(TEXT_SIZE, 2 * MAPS)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)
        self.third = nn.Conv2d(MAPS, MAPS, 3, padding=1)
        self.third_norm = nn.GroupNorm(GROUPS, MAPS)
        self.fourth = nn.Conv2d(MAPS, MAPS, 3, padding=1)
        self.fourth_norm = nn.GroupNorm(GROUPS, MAPS)
        self.points = nn.Conv2d(MAPS, MAPS, 1)
        self.pooled = nn.Conv2d(MAPS, POOLED_MAPS, 3, stride=2, padding=1)
        pools = [pool_matrix(ceil(length / 2), POOLED) for length in (self.rows, self.columns)]
        self.read = nn.Linear(POOLED_MAPS * len(pools[0]) * len(pools[1]), READ)
        for name, values in (
            ('cells', cell_centres(self.rows, self.columns)),
            ('pool_rows', pools[0]),
            ('pool_columns', pools[1].T.contiguous()),
        ):
            self.register_buffer(name, values, persistent=False)

    def forward(self, x: torch.Tensor, instruction: torch.Tensor | None) -> torch.Tensor:
        """
        Return the features of one camera, ``(B, CAMERA_FEATURES)`` float32.

        :param x: of the previous and the current frame, from ``ObservationEncoder.images``.
        :param instruction: from ``InstructionEncoder``; None for features without one.
        """
        x = functional.relu(self.first_norm(self.first(x)))
        x = self.second_norm(self.second(x))
        if instruction is not None:
            scale, shift = self.film(instruction)[..., None, None].chunk(2, dim=1)
            x = x * (1 + scale) + shift
        x = functional.relu(x)
        residual = functional.relu(self.third_norm(self.third(x)))
        x = functional.relu(x + self.fourth_norm(self.fourth(residual)))
        heat = torch.softmax(self.points(x).flatten(2), dim=-1)
        pooled = self.pool_rows @ functional.relu(self.pooled(x)) @ self.pool_columns
        read = functional.relu(self.read(pooled.flatten(1)))
        return torch.cat([(heat @ self.cells).flatten(1), read], dim=1)


class Standardiser(nn.Module):
    """
    The proprioception in standard deviations of the training data, and its last change.

    The four arrays are weights of the model that no optimiser changes, so that the checkpoint and
    the exported file hold them.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    change_scale: torch.Tensor

    def __init__(self, size: int):
        """Start with values that change nothing."""
        super().__init__()
        self.register_buffer('mean', torch.zeros(size))
        self.register_buffer('scale', torch.ones(size))
        self.register_buffer('change_scale', torch.ones(size))

    def fit(self, values: torch.Tensor, changes: torch.Tensor) -> None:
        """
        Take the statistics of training data.

        :param values: of all observations, ``(N, P)`` float32.
        :param changes: from the previous to the current one, ``(M, P)`` float32.
        """
        self.mean.copy_(values.mean(dim=0))
        self.scale.copy_(_inverse_deviation(values))
        self.change_scale.copy_(_inverse_deviation(changes))

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        """
        Return the current numbers and their change, both standardised, ``(B, 2 P)`` float32.

        :param pairs: of the previous and the current observation, ``(B, 2, P)`` float32.
        """
        now = (pairs[:, 1] - self.mean) * self.scale
        change = (pairs[:, 1] - pairs[:, 0]) * self.change_scale
        return torch.cat([now, change], dim=1).clamp(-LARGEST_VALUE, LARGEST_VALUE)


class ObservationEncoder(nn.Module):
    """
    Everything that computes the features: cameras, instruction and proprioception.

    :ivar backbone: for the images of all cameras; None for pixels.
    """

    backbone: Backbone | None

    def __init__(self, config: VisuomotorConfig):
        """Create random weights."""
        super().__init__()
        self.backbone = Backbone(config.backbone) if config.backbone else None
        cameras = zip(config.camera_roles, config.image_sizes, strict=True)
        self.names = [f'{role}_{height}x{width}' for role, (height, width) in cameras]
        sizes = dict(zip(self.names, config.image_sizes, strict=True))
        self.cameras = nn.ModuleDict({name: self._new_camera(sizes[name]) for name in sizes})
        self.instruction = InstructionEncoder()
        self.standardiser = Standardiser(config.proprioception_size)

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """Return the features, ``(B, F)`` float32; argument as ``Model.features``."""
        instruction = self.instruction(inputs['text'], inputs['text_mask'])
        parts = [
            self.cameras[name](self.images(inputs[image_input(camera)]), instruction)
            for camera, name in enumerate(self.names)
        ]
        if len(self.standardiser.mean):
            parts.append(self.standardiser(inputs[PROPRIOCEPTION]))
        return torch.cat(parts, dim=1)

    def scene(self, frames: torch.Tensor) -> torch.Tensor:
        """Return features of single frames of the first camera alone, ``(B, S)`` float32."""
        images = self.images(frames[:, None])
        return self.cameras[self.names[0]](torch.cat([images, images], dim=1), None)

    def images(self, frames: torch.Tensor) -> torch.Tensor:
        """
        Return what the camera encoders take: pixels or a backbone's maps of ``T`` frames.

        :param frames: ``(B, T, H, W, 3)`` uint8 RGB.
        :return: the channels of one frame after those of the other, ``(B, T D, H, W)`` float32.
        """
        if self.backbone is not None:
            return self.backbone(frames)
        return frames.permute(0, 1, 4, 2, 3).flatten(1, 2).to(torch.float32) / 255 - 0.5

    def _new_camera(self, size: tuple[int, int]) -> CameraEncoder:
        """Return an encoder with random weights for frames of a size [px]."""
        if self.backbone is None:
            return CameraEncoder(size)
        channels, rows, columns = self.backbone.map_shape(size)
        return CameraEncoder((rows, columns), 2 * channels)


class VisuomotorModel(TrunkAndHeads):
    """
    A model that learns end to end from demonstrations, for any cameras and proprioception.

    It provides ``efm_model.protocol.Model``. Stage 2 keeps ``encoder`` frozen.

    :ivar config: sizes of the model.
    :ivar encoder: computes the features.
    """

    config: VisuomotorConfig
    family = 'visuomotor'
    max_batch_size = 256  # bounds the memory of a pass

    def __init__(self, config: VisuomotorConfig):
        """Create random weights."""
        super().__init__()
        self.config = config
        self.encoder = ObservationEncoder(config)
        hidden = config.hidden_size
        features = CAMERA_FEATURES * len(config.image_sizes) + 2 * config.proprioception_size
        self.trunk = nn.Sequential(
            nn.Linear(features, hidden),
            nn.LayerNorm(hidden),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(hidden, hidden),
            nn.LayerNorm(hidden),
            nn.ReLU(),
            nn.Dropout(config.dropout),
        )
        self.policy = PolicyHead(config)
        self.steps_to_go = nn.Linear(hidden, config.steps_to_go_bins)
        if config.pieces:
            self.instruction = InstructionHead(config, CAMERA_FEATURES)

    @property
    def features_are_frozen(self) -> bool:
        """Whether training leaves ``features`` as they are now; true after ``freeze_vision``."""
        return not any(weight.requires_grad for weight in self.encoder.parameters())

    def freeze_vision(self) -> None:
        """Exclude the encoder from training."""
        self.encoder.requires_grad_(False)

    def features(self, inputs: Inputs) -> torch.Tensor:
        """Return the input of both heads, ``(B, F)`` float32, from all inputs."""
        features: torch.Tensor = self.encoder(inputs)
        return features

    def scene_features(self, frames: torch.Tensor) -> torch.Tensor:
        """Return features of single frames without an instruction; see ``Model``."""
        return self.encoder.scene(frames)


def pool_matrix(length: int, most: int) -> torch.Tensor:
    """
    Return the matrix that averages ``length`` numbers over at most ``most`` windows.

    It is adaptive average pooling as a product, which ONNX has for any length.

    :return: ``(windows, length)`` float32, rows with the sum 1.
    """
    windows = min(length, most)
    matrix = torch.zeros(windows, length)
    for window in range(windows):
        first = window * length // windows
        last = ceil((window + 1) * length / windows)
        matrix[window, first:last] = 1 / (last - first)
    return matrix


def new_visuomotor(
    embodiment: Embodiment,
    seed: int = 0,
    pieces: tuple[str, ...] = (),
    vision_backbone: str = '',
    proprioception: bool = True,
    **changes: Any,
) -> VisuomotorModel:
    """
    Return a visuomotor model with random weights, in evaluation mode.

    :param seed: of the random weights.
    :param pieces: word pieces that the instruction head knows; empty for no such head.
    :param vision_backbone: a source of ``read_backbone``, whose weights are not random; empty for
        the small network.
    :param proprioception: whether the model uses the proprioception of the embodiment.
    :param changes: other fields of ``VisuomotorConfig``, such as ``hidden_size``.
    :raises FileNotFoundError: when a file of the backbone is missing.
    :raises ValueError: when the backbone is damaged or of another class.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone, weights = read_backbone(vision_backbone) if vision_backbone else (None, {})
        model = VisuomotorModel(
            VisuomotorConfig.for_embodiment(
                embodiment,
                proprioception,
                pieces=tuple(pieces),
                backbone=backbone,
                **changes,
            )
        )
    if model.encoder.backbone is not None:
        model.encoder.backbone.network.load_state_dict(weights)
    return model.eval()


def _inverse_deviation(values: torch.Tensor) -> torch.Tensor:
    """Return one over the standard deviation of each column; 1 for a constant column."""
    deviation = (values - values.mean(dim=0)).square().mean(dim=0).sqrt()
    return torch.where(deviation > LEAST_DEVIATION, 1 / deviation, 1.0)
