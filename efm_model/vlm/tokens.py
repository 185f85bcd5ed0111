"""
The token ids that stand for actions and steps-to-go, as in RT-2.

Source: Brohan et al. 2023, RT-2 (arXiv:2307.15818). ``least_used`` takes the last ids of the
vocabulary, because tokenizers number their tokens by frequency. ``added`` adds new tokens to the
tokenizer; they use spare rows of the embedding, or new ones.
"""

from __future__ import annotations

from typing import Any

from efm_model.vlm.config import TokenMap


def choose_tokens(tokenizer: Any, rows: int, actions: int, bins: int, source: str) -> TokenMap:
    """
    Return the ids for ``actions`` action tokens and ``bins`` steps-to-go bins.

    :param tokenizer: from transformers; ``added`` adds tokens to it.
    :param rows: rows of the model's embedding; ``least_used`` takes no id beyond them.
    :param source: ``least_used`` or ``added``.
    :raises ValueError: when the vocabulary has too few ordinary tokens.
    """
    if source == 'added':
        words = [f'<action_{i}>' for i in range(actions)] + [f'<steps_{i}>' for i in range(bins)]
        tokenizer.add_tokens(words, special_tokens=True)
        ids = tokenizer.convert_tokens_to_ids(words)
    else:
        ids = _least_used(tokenizer, rows, actions + bins)
        words = tokenizer.convert_ids_to_tokens(ids)
    return TokenMap(tuple(ids[:actions]), tuple(ids[actions:]), words=tuple(words))


def check_tokens(chosen: TokenMap, stored: TokenMap) -> None:
    """
    Check that the ids of a checkpoint name the same tokens in the present tokenizer.

    :param chosen: ids and tokens of the present tokenizer.
    :param stored: ids and tokens in the checkpoint.
    :raises ValueError: with the first difference.
    """
    if chosen == stored:
        return
    pairs = [
        list(zip((*tokens.action, *tokens.steps_to_go), tokens.words, strict=False))
        for tokens in (stored, chosen)
    ]
    wrong = next((pair for pair in zip(*pairs, strict=False) if pair[0] != pair[1]), 'lengths')
    raise ValueError(
        f'tokens: expected the ids of the checkpoint, got others of this tokenizer: {wrong}; '
        'the base folder has another tokenizer than the one that was fine-tuned'
    )


def _least_used(tokenizer: Any, rows: int, count: int) -> list[int]:
    """
    Return the last ``count`` ids of ordinary tokens, in rising order.

    :raises ValueError: when there are fewer than twice as many ordinary tokens.
    """
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    ordinary = sorted(i for i in tokenizer.get_vocab().values() if i < rows and i not in special)
    if len(ordinary) < 2 * count:
        raise ValueError(
            f'tokenizer: expected at least {2 * count} ordinary tokens, {count} of them for '
            f'actions and steps-to-go, got {len(ordinary)}; take --token-source added'
        )
    return ordinary[-count:]
