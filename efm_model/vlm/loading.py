"""Load a transformers model and its processor from a local folder, without network access."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from efm_model.vlm.config import VlmConfig
import torch

READ = ('.json', '.safetensors', '.model', '.txt', '.jinja')  # files that transformers reads


def hash_folder(folder: str | Path) -> str:
    """
    Return the first 16 digits of the SHA-256 of the files in a model's folder.

    :raises ValueError: when the folder does not exist or holds no model.
    """
    _check_folder(folder)
    total = hashlib.sha256()
    for path in sorted(p for p in Path(folder).iterdir() if p.suffix in READ):
        total.update(f'{path.name} {_hash_file(path)}\n'.encode())
    return total.hexdigest()[:16]


def _hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, read in parts of 1 MiB."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def load_base(config: VlmConfig) -> tuple[Any, Any]:
    """
    Return the model in ``config.base``, on its device, and its processor.

    :raises ValueError: when the folder holds no image-text-to-text model.
    """
    from transformers import (
        AutoConfig,
        AutoModelForImageTextToText,
        GenerationConfig,
        logging,
    )

    logging.disable_progress_bar()
    _check_folder(config.base)
    base_config = AutoConfig.from_pretrained(config.base, local_files_only=True)
    _check_kind(base_config, config.base)
    try:
        processor = _load_processor(base_config, config.base)
        model: Any = AutoModelForImageTextToText.from_pretrained(
            config.base,
            local_files_only=True,
            use_safetensors=True,
            dtype=getattr(torch, config.precision),
        )
    except (OSError, KeyError) as error:
        raise ValueError(
            f'base: expected model.safetensors and a processor in {config.base}, got: {error}'
        ) from error
    model.generation_config = GenerationConfig()  # that of the folder may forbid repetitions
    return model.to(to_device(config.device)), processor


def to_device(name: str) -> torch.device:
    """Return the device with this name; ``auto`` is a GPU if there is one."""
    return torch.device(
        ('cuda' if torch.cuda.is_available() else 'cpu') if name == 'auto' else name
    )


def _check_folder(folder: str | Path) -> None:
    """
    Check that a folder holds a transformers model.

    :raises ValueError: when it has no ``config.json``.
    """
    if not folder or not (Path(folder) / 'config.json').is_file():
        raise ValueError(
            f'base: expected a folder with a transformers model, config.json in it, '
            f'got {str(folder) or "none"}'
        )


def _check_kind(base_config: Any, folder: str) -> None:
    """
    Check that transformers has an image-text-to-text class and a processor for a model.

    :raises ValueError: when it does not.
    """
    from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, PROCESSOR_MAPPING

    mappings = (MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, PROCESSOR_MAPPING)
    if not all(type(base_config) in mapping for mapping in mappings):
        raise ValueError(
            f'{folder}: expected an image-text-to-text model such as paligemma, idefics3, smolvlm '
            f'or qwen2_5_vl, got {base_config.model_type!r}'
        )


def _load_processor(base_config: Any, folder: str) -> Any:
    """
    Return the processor of a model, without its video processor.

    The video processor needs another library and is never used here.
    """
    from transformers import PROCESSOR_MAPPING

    processor = without_videos(PROCESSOR_MAPPING[type(base_config)]).from_pretrained(
        folder, local_files_only=True
    )
    processor.tokenizer.padding_side = 'left'  # all answers begin at the same position
    if hasattr(processor.image_processor, 'do_image_splitting'):
        processor.image_processor.do_image_splitting = False  # it makes 17 images of one frame
    return processor


def without_videos(kind: Any) -> Any:
    """
    Return a processor class that neither has nor loads a video processor.

    :param kind: a processor class of transformers.
    """
    attributes = kind.get_attributes()
    if 'video_processor' not in attributes:
        return kind

    place = attributes.index('video_processor')

    class WithoutVideos(kind):
        """The processor class without its video processor."""

        @classmethod
        def get_attributes(cls) -> list[str]:
            """Return the names of the parts that the processor loads."""
            return attributes[:place] + attributes[place + 1 :]

        @classmethod
        def from_args_and_dict(cls, args: list, *rest: Any, **options: Any) -> Any:
            """Return a processor whose video processor is None."""
            return super().from_args_and_dict(
                [*args[:place], None, *args[place:]], *rest, **options
            )

    WithoutVideos.__name__ = kind.__name__  # transformers finds the class of a folder by its name
    return WithoutVideos
