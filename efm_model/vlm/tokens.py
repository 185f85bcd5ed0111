"""
Ids of the vocabulary that stand for actions and steps-to-go, as RT-2 has them.

``least_used`` takes the last ids of the vocabulary: tokenizers number their pieces by how often
they occur. ``added`` gives the tokenizer new words, in the rows that the embedding has to spare
or in new ones.
"""

from __future__ import annotations

from typing import Any

from efm_model.vlm.config import TokenMap


def choose_tokens(tokenizer: Any, rows: int, actions: int, bins: int, source: str) -> TokenMap:
    """
    Return the ids for ``actions`` action tokens and ``bins`` steps-to-go bins.

    :param rows: of the model's embedding; an id beyond them is none for ``least_used``.
    :raises ValueError: when the vocabulary has too few words that may be given up.
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
    Refuse a tokenizer for which the stored ids mean something else.

    :raises ValueError: naming the first difference.
    """
    if chosen == stored:
        return
    ids = [(*tokens.action, *tokens.steps_to_go) for tokens in (stored, chosen)]
    pairs = [
        list(zip(i, t.words, strict=False)) for i, t in zip(ids, (stored, chosen), strict=True)
    ]
    wrong = next((pair for pair in zip(*pairs, strict=False) if pair[0] != pair[1]), 'lengths')
    raise ValueError(
        f'tokens: expected the ids of the checkpoint, got others of this tokenizer: {wrong}; '
        'the base folder has another tokenizer than the one that was fine-tuned'
    )


def _least_used(tokenizer: Any, rows: int, count: int) -> list[int]:
    """Return the last ``count`` ids that are ordinary words, in rising order."""
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    ordinary = sorted(i for i in tokenizer.get_vocab().values() if i < rows and i not in special)
    if len(ordinary) < 2 * count:
        raise ValueError(
            f'tokenizer: expected at least {2 * count} ordinary words, to give up {count} for '
            f'actions and steps-to-go, got {len(ordinary)}; take --token-source added'
        )
    return ordinary[-count:]
