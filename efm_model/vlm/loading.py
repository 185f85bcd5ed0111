"""From a local folder to a transformers model and its processor; nothing is fetched."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from efm_model.vlm.config import VlmConfig
import torch

READ = ('.json', '.safetensors', '.model', '.txt', '.jinja')  # what transformers reads of a folder


def hash_folder(folder: str | Path) -> str:
    """
    Return the SHA-256, its first 16 digits, of the files of a model's folder.

    :raises ValueError: when there is no such folder.
    """
    _check_folder(folder)
    total = hashlib.sha256()
    for path in sorted(p for p in Path(folder).iterdir() if p.suffix in READ):
        total.update(f'{path.name} {_hash_file(path)}\n'.encode())
    return total.hexdigest()[:16]


def _hash_file(path: Path) -> str:
    """Return the SHA-256 of a file that may be larger than the memory."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def load_base(config: VlmConfig) -> tuple[Any, Any]:
    """
    Return the model in the folder, on its device, and its processor.

    :raises ValueError: when it holds no image-text-to-text model.
    """
    from transformers import (
        AutoConfig,
        AutoModelForImageTextToText,
        GenerationConfig,
        logging,
    )

    logging.disable_progress_bar()
    _check_folder(config.base)
    kind = AutoConfig.from_pretrained(config.base, local_files_only=True)
    _check_kind(kind, config.base)
    try:
        processor = _load_processor(kind, config.base)
        model = AutoModelForImageTextToText.from_pretrained(
            config.base,
            local_files_only=True,
            use_safetensors=True,
            dtype=getattr(torch, config.precision),
        )
    except (OSError, KeyError) as error:
        raise ValueError(
            f'base: expected model.safetensors and a processor in {config.base}, got: {error}'
        ) from error
    model.generation_config = GenerationConfig()  # the folder's own may forbid repetitions
    return model.to(to_device(config.device)), processor


def to_device(name: str) -> torch.device:
    """Return the device called ``name``; ``auto`` is a GPU if there is one."""
    return torch.device(
        ('cuda' if torch.cuda.is_available() else 'cpu') if name == 'auto' else name
    )


def _check_folder(folder: str | Path) -> None:
    if not folder or not (Path(folder) / 'config.json').is_file():
        raise ValueError(
            f'base: expected a folder with a transformers model, config.json in it, '
            f'got {str(folder) or "none"}'
        )


def _check_kind(kind: Any, folder: str) -> None:
    from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, PROCESSOR_MAPPING

    if (
        type(kind) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
        or type(kind) not in PROCESSOR_MAPPING
    ):
        raise ValueError(
            f'{folder}: expected an image-text-to-text model such as paligemma, idefics3, smolvlm '
            f'or qwen2_5_vl, got {kind.model_type!r}'
        )


def _load_processor(kind: Any, folder: str) -> Any:
    """
    Return the processor of the model ``kind``, for pictures only.

    Its part for videos, which a robot never shows it, needs a library of its own.
    """
    from transformers import PROCESSOR_MAPPING

    processor = without_videos(PROCESSOR_MAPPING[type(kind)]).from_pretrained(
        folder, local_files_only=True
    )
    processor.tokenizer.padding_side = 'left'  # answers follow the prompts at one place
    if hasattr(processor.image_processor, 'do_image_splitting'):
        processor.image_processor.do_image_splitting = False  # or one small frame becomes 17
    return processor


def without_videos(kind: type) -> type:
    """Return a processor class that neither has nor loads a part for videos."""
    attributes = kind.get_attributes()
    if 'video_processor' not in attributes:
        return kind

    place = attributes.index('video_processor')

    class WithoutVideos(kind):
        """The same, called without what it would need for videos."""

        @classmethod
        def get_attributes(cls) -> list[str]:
            """Return the names of the parts that are loaded."""
            return attributes[:place] + attributes[place + 1 :]

        @classmethod
        def from_args_and_dict(cls, args: list, *rest: Any, **options: Any) -> Any:
            """Return a processor, none in the place of the part for videos."""
            return super().from_args_and_dict(
                [*args[:place], None, *args[place:]], *rest, **options
            )

    WithoutVideos.__name__ = kind.__name__  # by it, transformers knows the class of a folder
    return WithoutVideos
