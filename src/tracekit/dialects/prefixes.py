"""Growing snapshots: which sequence of items goes on from which other one.

Logs of a stateless interface send the whole history with every request. A sequence goes on from
another one where all of that one stands at its beginning, compared by the keys of its items; items
without a key (reasoning, which clients leave out of the history) are passed over.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson
import xxhash

Keys = Sequence[bytes | None]
"""Key of each item of a sequence; None: the item is not compared."""


def key_of(*pieces: str) -> bytes:
    """Key of an item from the texts that make it what it is."""
    return xxhash.xxh3_128_digest("\0".join(pieces).encode("utf-8", "replace"))


def json_key(text: str) -> str:
    """JSON text without what a replay may change, spacing and the order of keys; else the text.

    >>> json_key('{"k": 3, "city": "Denver"}')
    '{"city":"Denver","k":3}'
    """
    if text[:1] not in ("{", "["):
        return text
    try:
        return orjson.dumps(orjson.loads(text), option=orjson.OPT_SORT_KEYS).decode()
    except (ValueError, TypeError, RecursionError):
        return text


def continued(sequences: Sequence[Keys], given: Sequence[int]) -> list[tuple[int, int]]:
    """(sequence that it goes on from, items of its own that this covers) for each sequence.

    `given`: items at the beginning of each sequence that were there before; only they can be
    covered. (-1, 0): it goes on from none. The longest wins; of equal ones, that with items of its
    own, then the first. Nothing ever leads in a circle. Linear in the number of items.

    >>> a, b, c = (key_of(x) for x in "abc")
    >>> continued([[a, b], [a, b, None, c]], [1, 2])
    [(-1, 0), (0, 2)]
    """
    ranks = [
        (sum(key is not None for key in keys), all(key is None for key in keys[n:]), k)
        for k, (keys, n) in enumerate(zip(sequences, given, strict=True))
    ]
    whole: dict[bytes, int] = {}
    for k, keys in enumerate(sequences):
        state = b""
        for key in keys:
            if key is not None:
                state = xxhash.xxh3_128_digest(state + key)
        if state and (state not in whole or ranks[k] < ranks[whole[state]]):
            whole[state] = k
    found = []
    for k, (keys, n) in enumerate(zip(sequences, given, strict=True)):
        best = (-1, 0)
        state = b""
        for place in range(n):
            key = keys[place]
            if key is None:
                continue
            state = xxhash.xxh3_128_digest(state + key)
            other = whole.get(state)
            if other is not None and ranks[other] < ranks[k]:
                best = (other, place + 1)
        found.append(best)
    return found
