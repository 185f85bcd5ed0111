"""
Pretrained vision backbones: networks that turn single frames into feature maps.

A backbone comes from a local folder in the format of ``transformers``, or from the packages of
EfficientNet-Lite0. Nothing is downloaded, and code in a folder is not run.

Letters: ``B`` batch, ``T`` frames of a camera, ``H, W`` height and width of a frame [px], ``D``
channels of a feature map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, KW_ONLY
import json
from pathlib import Path
from typing import Any

from efm_core.config import expect
from efm_model import efficientnet
from efm_model.config import BackboneConfig
import torch
from torch import nn
from torch.nn import functional

CONFIG = 'config.json'
PREPROCESSOR = 'preprocessor_config.json'
WEIGHTS = ('model.safetensors', 'model.safetensors.index.json')  # whole, or in several files
# Statistics of ImageNet's images, for a folder without a preprocessor.
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
# Later layers of convolutional networks have 32 pixels a cell, which is too coarse for a place.
STAGES = 3  # of a ResNet
BLOCKS = 11  # of EfficientNet-Lite0
CELL = 16  # of EfficientNet-Lite0 [px]; its padding fits multiples of it only
LITE = efficientnet.NAME
# Settings in a folder that do not describe the layers.
UNUSED = (
    '_name_or_path',
    'architectures',
    'dtype',
    'id2label',
    'label2id',
    'model_type',
    'out_features',
    'out_indices',
    'stage_names',
    'torch_dtype',
    'transformers_version',
)


@dataclass(frozen=True)
class NetworkClass:
    """
    A class of transformers that can be a backbone.

    :param name: of the class, without ``Config`` or ``Model`` at its end.
    :param trim: changes the settings so that layers which no feature map needs are left out.
    :param arguments: of ``forward``, beside the pixels.
    """

    name: str
    trim: Callable[[Any], dict[str, Any]]
    _: KW_ONLY
    arguments: dict[str, Any] = field(default_factory=dict)


# By ``model_type`` in ``config.json``.
CLASSES = {
    'dinov2': NetworkClass('Dinov2', lambda _: {'use_mask_token': False}),
    'siglip_vision_model': NetworkClass(
        'SiglipVision',
        lambda _: {'vision_use_head': False},
        arguments={'interpolate_pos_encoding': True},
    ),
    'resnet': NetworkClass(
        'ResNet',
        lambda found: {
            name: list(getattr(found, name))[:STAGES] for name in ('depths', 'hidden_sizes')
        },
    ),
}


class Backbone(nn.Module):
    """
    A pretrained network for single frames.

    It stays in evaluation mode: batch norms keep their statistics, and nothing is dropped.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, config: BackboneConfig):
        """
        Create random weights.

        :raises ModuleNotFoundError: when EfficientNet-Lite0 is not installed.
        :raises ValueError: when the class or a setting is unknown.
        """
        super().__init__()
        self.network = _make_network(config)
        known = CLASSES.get(config.model_type)
        self._arguments = known.arguments if known else {}
        # A ResNet takes any size.
        patch = config.settings.get('patch_size', CELL if config.model_type == LITE else 1)
        self._patch = tuple(patch) if isinstance(patch, list) else (patch, patch)
        for name in ('mean', 'deviation'):
            values = torch.tensor(getattr(config, name))[:, None, None]
            self.register_buffer(name, values, persistent=False)
        self.eval()

    def train(self, mode: bool = True) -> Backbone:
        """Stay in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def map_shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        """
        Return channels, rows and columns of the feature map of one frame.

        :param size: height and width of the frame [px].
        """
        channels, rows, columns = self._maps(torch.zeros(1, 3, *self._input_size(size))).shape[1:]
        return channels, rows, columns

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """
        Return the feature maps of ``T`` frames one after the other, ``(B, T D, rows, columns)``.

        :param frames: ``(B, T, H, W, 3)`` uint8 RGB; they are resized to the nearest size that
            the patches divide.
        """
        count, height, width = (int(length) for length in frames.shape[1:4])
        x = frames.flatten(0, 1).permute(0, 3, 1, 2).to(torch.float32)
        size = self._input_size((height, width))
        if size != (height, width):
            x = functional.interpolate(x, size, mode='bilinear', align_corners=False)
        maps = self._maps((x - self.mean) / self.deviation)
        return maps.unflatten(0, (-1, count)).flatten(1, 2)

    def _input_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the nearest height and width that are multiples of the patches [px]."""
        rows, columns = (
            max(1, round(length / patch)) * patch
            for length, patch in zip(size, self._patch, strict=True)
        )
        return rows, columns

    def _maps(self, pixels: torch.Tensor) -> torch.Tensor:
        """
        Return the feature maps of normalised frames, ``(B, D, rows, columns)`` float32.

        :param pixels: ``(B, 3, H, W)`` float32.
        """
        found = self.network(pixels, **self._arguments)
        states: torch.Tensor = getattr(found, 'last_hidden_state', found)
        if states.ndim == 4:
            return states
        grid = tuple(
            int(length) // patch
            for length, patch in zip(pixels.shape[2:], self._patch, strict=True)
        )
        # Tokens that stand for no patch come first.
        return states[:, -grid[0] * grid[1] :].transpose(1, 2).unflatten(2, grid)


def read_backbone(source: str) -> tuple[BackboneConfig, dict[str, torch.Tensor]]:
    """
    Return a pretrained backbone: its config and the weights of ``Backbone.network``.

    :param source: a folder with ``config.json`` and ``model.safetensors`` as transformers saves
        them, or ``efficientnet-lite0``.
    :raises FileNotFoundError: when a file is missing.
    :raises ModuleNotFoundError: when EfficientNet-Lite0 is not installed.
    :raises ValueError: when the folder holds a model of another class, or a damaged one.
    """
    if source == LITE:
        statistics = {'mean': (efficientnet.MEAN,) * 3, 'deviation': (efficientnet.SCALE,) * 3}
        network = nn.Sequential(*efficientnet.make_blocks(BLOCKS))
        return BackboneConfig(model_type=source, settings={}, **statistics), network.state_dict()
    folder = Path(source)
    model_type, settings = _read_settings(folder)
    mean, deviation = _read_statistics(folder)
    config = BackboneConfig(
        model_type=model_type,
        settings=_complete(model_type, settings, folder),
        mean=mean,
        deviation=deviation,
    )
    return config, _read_weights(folder, config)


def _make_network(config: BackboneConfig) -> Any:
    """Return a network with random weights; errors as ``Backbone``."""
    if config.model_type == LITE:
        return nn.Sequential(*efficientnet.make_blocks(BLOCKS, pretrained=False))
    settings = _make_settings(config.model_type, config.settings)
    return _class_of(config.model_type, 'Model')(settings)


def _make_settings(model_type: str, settings: dict[str, Any]) -> Any:
    """Return the settings as an object of transformers."""
    return _class_of(model_type, 'Config')(**settings)


def _class_of(model_type: str, kind: str) -> Any:
    """
    Return a class of transformers.

    :param kind: ``Model`` or ``Config``.
    :raises ValueError: when the type is not in ``CLASSES``.
    """
    import transformers  # seconds, which only a model with a backbone needs

    expect(model_type in CLASSES, 'backbone', ' or '.join(CLASSES), model_type)
    return getattr(transformers, CLASSES[model_type].name + kind)


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    """
    Return the content of a JSON file.

    :raises ValueError: when the file is damaged.
    """
    try:
        return dict(json.loads((folder / name).read_text(encoding='utf-8')))
    except ValueError as error:
        raise ValueError(
            f'vision_backbone: expected JSON in {folder / name}, got {error}'
        ) from error


def _read_settings(folder: Path) -> tuple[str, dict[str, Any]]:
    """
    Return the type of the network in a folder and its settings.

    :raises FileNotFoundError: when a file is missing.
    :raises ValueError: when the class is not one of ``CLASSES``.
    """
    for names in ((CONFIG,), WEIGHTS):
        if not any((folder / name).is_file() for name in names):
            raise FileNotFoundError(
                f'vision_backbone: expected {folder / names[0]}, got no such file; name a folder '
                f'that save_pretrained of transformers wrote, or {LITE}; files of '
                'pickled weights (.bin, .pth) are not read'
            )
    plain = _read_json(folder, CONFIG)
    if plain.get('model_type') == 'siglip':  # with a text encoder beside the image encoder
        plain = plain.get('vision_config', {})
    model_type: str = plain.get('model_type', '')
    expect(
        model_type in CLASSES,
        f'vision_backbone: model_type in {folder / CONFIG}',
        f'one of {", ".join(CLASSES)}',
        f'{model_type!r}; take another folder, or {LITE}',
    )
    return model_type, plain


def _complete(model_type: str, settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """
    Return all settings of the layers, with the defaults of transformers, as JSON values.

    :raises ValueError: when a setting has no sense.
    """
    given = {name: value for name, value in settings.items() if name not in UNUSED}
    try:
        found = _make_settings(model_type, given)
        trimmed = _make_settings(model_type, {**given, **CLASSES[model_type].trim(found)})
    except Exception as error:  # transformers checks settings with errors of several kinds
        raise ValueError(f'vision_backbone: {folder / CONFIG}: {error}') from error
    expect(
        found.num_channels == 3,
        f'vision_backbone: num_channels in {folder / CONFIG}',
        '3, for RGB',
        found.num_channels,
    )
    plain = json.loads(trimmed.to_json_string())
    return {name: value for name, value in plain.items() if name not in UNUSED}


def _read_statistics(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """
    Return mean and deviation of pixel values from 0 to 255, one for each colour.

    They are those of the preprocessor in the folder; without one those of ImageNet.

    :raises ValueError: when the preprocessor does not have three of each.
    """
    plain = _read_json(folder, PREPROCESSOR) if (folder / PREPROCESSOR).is_file() else {}
    factor = plain.get('rescale_factor', 1 / 255) if plain.get('do_rescale', True) else 1.0
    if not plain.get('do_normalize', True):
        return (0.0,) * 3, (1 / factor,) * 3
    mean, deviation = (
        tuple(value / factor for value in plain.get(name, default))
        for name, default in (('image_mean', MEAN), ('image_std', DEVIATION))
    )
    expect(
        len(mean) == len(deviation) == 3 and min(deviation) > 0,
        f'vision_backbone: {folder / PREPROCESSOR}',
        'three values of image_mean and three of image_std above 0',
        f'{plain.get("image_mean")} and {plain.get("image_std")}',
    )
    return mean, deviation


def _read_weights(folder: Path, config: BackboneConfig) -> dict[str, torch.Tensor]:
    """
    Return the weights of a network in a folder.

    :raises ValueError: when a weight is missing or has another shape, or a file is damaged.
    """
    try:
        with _quiet():
            network, report = _class_of(config.model_type, 'Model').from_pretrained(
                folder,
                config=_make_settings(config.model_type, config.settings),
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except Exception as error:  # of transformers, safetensors or the file system
        raise ValueError(
            f'vision_backbone: expected the weights of {config.model_type} in {folder}, '
            f'got: {error}'
        ) from error
    missing = sorted(report['missing_keys'])
    expect(
        not missing,
        f'vision_backbone: {folder}',
        f'all weights of {config.model_type}',
        f'none for {len(missing)}, among them {", ".join(missing[:3])}; save the model again',
    )
    return dict(network.state_dict())


@contextmanager
def _quiet() -> Iterator[None]:
    """Print neither progress nor a list of the weights that are not used."""
    from transformers import logging

    before = logging.get_verbosity()
    progress = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if progress:
            logging.enable_progress_bar()
