"""Lineage of traces: a hash of all that was said up to each message of an assistant.

Two traces that share such a hash begin with the same conversation: growing snapshots of a session,
forks that replay their parent, retries. Two hashes a message: `told` leaves reasoning out (clients
that send the history again drop it), `thought` has it, and is null where the message has none.
Spelling of JSON is no matter: arguments are stored in one spelling. Ids of calls are not in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson
import xxhash


class Prefix(NamedTuple):
    """What was said up to one message of an assistant, that message included."""

    message: int
    told: int
    thought: int | None


def prefixes(messages: Sequence[Mapping[str, Any]]) -> list[Prefix]:
    """Prefixes of one trace, one for each message of an assistant. Linear in the text.

    >>> one = [{"role": "user", "content": "9*4?"}, {"role": "assistant", "content": "36"}]
    >>> two = [*one, {"role": "user", "content": "thanks"}]
    >>> prefixes(one) == prefixes(two)
    True
    """
    told, thought = xxhash.xxh3_64(), xxhash.xxh3_64()
    found = []
    for m, message in enumerate(messages):
        calls = message.get("tool_calls")
        said = orjson.dumps(
            (
                message["role"],
                (message.get("content") or "").strip(),
                [(c["name"], c["arguments"]) for c in calls] if calls else None,
                message.get("attachments") or None,
            )
        )
        told.update(said)
        thought.update(said)
        if message["role"] == "assistant":
            reasoning = (message.get("reasoning") or "").strip()
            thought.update(orjson.dumps(reasoning))
            found.append(Prefix(m, told.intdigest(), thought.intdigest() if reasoning else None))
    return found
