"""Tiny vision-language models of the real classes, randomly initialised, with real processors."""

from __future__ import annotations

from collections.abc import Callable
import functools
from pathlib import Path
import tempfile
from typing import Any

from efm_model.runtime import pad
from efm_model.vlm.config import VlmConfig
from efm_model.vlm.loading import without_videos
from efm_model.vlm.network import VlmModel
from efm_model.vlm.prompts import PromptInputs
import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers
import torch
import transformers

transformers.logging.disable_progress_bar()

FAMILIES = ('paligemma', 'idefics3', 'smolvlm', 'qwen2_5_vl')
SIZE = 28  # of the pictures that the encoders see [px]
TEXT = {
    'hidden_size': 32,
    'intermediate_size': 64,
    'num_hidden_layers': 2,
    'num_attention_heads': 4,
    'num_key_value_heads': 2,
    'head_dim': 8,
}
VISION = {
    'hidden_size': 32,
    'intermediate_size': 64,
    'num_hidden_layers': 2,
    'num_attention_heads': 4,
    'image_size': SIZE,
    'patch_size': 14,
}
CORPUS = [
    f'Instruction: {verb} the {colour} {shape} to the {other} {shape} Question: what action does '
    'the robot take now? how many steps are left to do it? did between these pictures? Answer:'
    for verb in ('push', 'move', 'slide', 'bring')
    for colour in ('red', 'blue', 'green', 'yellow', 'orange')
    for shape in ('cube', 'cylinder', 'moon', 'star', 'pentagon')
    for other in ('left', 'right', 'upper', 'lower', 'purple', 'white')
]
CHAT = (
    '{% for message in messages %}<|im_start|>{{ message.role }}\n'
    '{% for part in message.content %}'
    "{% if part.type == 'image' %}IMAGE{% else %}{{ part.text }}{% endif %}{% endfor %}"
    '<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}'
)


def make_tokenizer(
    words: list[str], size: int = 700, **options
) -> transformers.PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer made of a few sentences, ``words`` special."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ['<pad>', '<bos>', '<eos>', *words]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    letters = [chr(97 + i % 26) + chr(97 + i // 26 % 26) + chr(97 + i // 676) for i in range(2000)]
    backend.train_from_iterator([*CORPUS, *letters], trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token='<pad>',
        bos_token='<bos>',
        eos_token='<eos>',
        additional_special_tokens=words,
        **options,
    )


def _paligemma():
    tokenizer = make_tokenizer(['<image>'])
    pictures = transformers.SiglipImageProcessorPil(size={'height': SIZE, 'width': SIZE})
    pictures.image_seq_length = 4
    processor = transformers.PaliGemmaProcessor(pictures, tokenizer)
    config = transformers.PaliGemmaConfig(
        text_config={'model_type': 'gemma', 'vocab_size': len(tokenizer), **TEXT},
        vision_config={'model_type': 'siglip_vision_model', 'projection_dim': 32, **VISION},
        projection_dim=32,
        image_token_id=processor.image_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return transformers.PaliGemmaForConditionalGeneration(config), processor


def _idefics3(name: str = 'Idefics3', **options):
    words = [
        '<fake_token_around_image>',
        '<image>',
        '<end_of_utterance>',
        '<global-img>',
        '<|im_end|>',
    ]
    tokenizer = make_tokenizer([*words, '<|im_start|>'])
    pictures = getattr(transformers, f'{name}ImageProcessorPil')(
        size={'longest_edge': SIZE}, max_image_size={'longest_edge': SIZE}
    )
    kind = without_videos(getattr(transformers, f'{name}Processor'))
    chat = CHAT.replace('IMAGE', '<image>')
    nothing = [None] if name == 'SmolVLM' else []  # for videos
    processor = kind(pictures, tokenizer, *nothing, image_seq_len=1, chat_template=chat)
    config = getattr(transformers, f'{name}Config')(
        text_config={
            'model_type': 'llama',
            'vocab_size': len(tokenizer),
            'pad_token_id': tokenizer.pad_token_id,
            'tie_word_embeddings': False,
            **TEXT,
        },
        vision_config=dict(VISION),
        scale_factor=2,
        image_token_id=processor.image_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    return getattr(transformers, f'{name}ForConditionalGeneration')(config), processor


def _qwen2_5_vl():
    words = ['<|im_start|>', '<|im_end|>', '<|vision_start|>', '<|vision_end|>']
    tokenizer = make_tokenizer([*words, '<|image_pad|>', '<|video_pad|>'])
    pictures = transformers.Qwen2VLImageProcessorPil(min_pixels=SIZE**2, max_pixels=4 * SIZE**2)
    kind = without_videos(transformers.Qwen2_5_VLProcessor)
    chat = CHAT.replace('IMAGE', '<|vision_start|><|image_pad|><|vision_end|>')
    processor = kind(pictures, tokenizer, None, chat_template=chat)
    ids = {
        word: tokenizer.convert_tokens_to_ids(f'<|{word}|>') for word in ('image_pad', 'video_pad')
    }
    config = transformers.Qwen2_5_VLConfig(
        text_config={
            'vocab_size': len(tokenizer) + 100,  # rows to spare, as the real one has
            'rope_scaling': {'type': 'mrope', 'mrope_section': [1, 1, 2]},
            **{key: value for key, value in TEXT.items() if key != 'head_dim'},
        },
        vision_config={
            'hidden_size': 32,
            'intermediate_size': 64,
            'depth': 2,
            'num_heads': 4,
            'out_hidden_size': 32,
            'fullatt_block_indexes': [1],
        },
        image_token_id=ids['image_pad'],
        video_token_id=ids['video_pad'],
        vision_start_token_id=tokenizer.convert_tokens_to_ids('<|vision_start|>'),
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return transformers.Qwen2_5_VLForConditionalGeneration(config), processor


MAKERS: dict[str, Callable[[], Any]] = {
    'paligemma': _paligemma,
    'idefics3': _idefics3,
    'smolvlm': functools.partial(_idefics3, 'SmolVLM'),
    'qwen2_5_vl': _qwen2_5_vl,
}


@functools.cache
def base_folder(family: str) -> Path:
    """Return a folder with a tiny model of ``family``, made once in a test run."""
    folder = Path(tempfile.mkdtemp()) / family
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, processor = MAKERS[family]()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def options(family: str, **changes) -> VlmConfig:
    """Return the options for a tiny model, adapters of rank 4."""
    return VlmConfig(**{'base': str(base_folder(family)), 'rank': 4, 'device': 'cpu', **changes})


def prompt_inputs(model: VlmModel, pairs: np.ndarray, sentences: tuple[str, ...]) -> PromptInputs:
    """Return the prompt inputs of ``pairs`` of frames, ``(B, 2, H, W, 3)``, and sentences."""
    text, mask = pad([model.text_encoder.encode(sentence) for sentence in sentences])
    inputs = {'observations': pairs, 'text': text, 'text_mask': mask}
    return model.features({name: torch.from_numpy(value) for name, value in inputs.items()})
