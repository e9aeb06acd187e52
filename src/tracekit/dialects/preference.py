"""Dialect `preference`: one prompt with a chosen and a rejected reply, in every dress.

{"conversations": [{"from": "human", "value": "9*4?"}],
 "chosen": {"from": "gpt", "value": "36"}, "rejected": {"from": "gpt", "value": "35"}}

The prompt is a list of turns (ShareGPT or OpenAI spelling), a text (`prompt`, `question`,
`instruction` with `input`), or the beginning of both sides, which then are whole conversations
(lists, or one text with `Human:` and `Assistant:`). A side is one message, a list, or a text.

Decided here: (1) `side: chosen` is the default: the rejected reply is never trained unless asked
for, and then its messages have weight 0. The other side stays in `meta.rejected` (or `chosen`), so
nothing is lost. (2) `meta.group_id` is a hash of the prompt: equal for both sides and for all pairs
of one prompt. (3) Who preferred is not recorded, so it is no outcome: `meta.side` says which it is.
Records with a verdict on one reply (`label`) are no pairs; the dialect `openai` reads them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import (
    conversation,
    declarations,
    openai,
    openai_message,
    record_keys,
    sharegpt,
)
from tracekit.dialects.dialect import Dialect, Notes, Option, Record
from tracekit.dialects.openai import CALLS
from tracekit.errors import BadRecord

CODES = (
    Code(
        name="rejected_not_trained",
        kind="repair",
        what="The trace is the rejected side of a pair; its reply has weight 0.",
        why="A rejected reply is what the model should not say.",
    ),
    Code(
        name="side_unreadable",
        kind="reject",
        what="A side of the pair is neither a text, a message nor a list of messages.",
    ),
)
SIDE = Option(
    name="side",
    choices=("chosen", "rejected", "both"),
    what="Which reply of a pair becomes a trace; rejected ones have weight 0.",
)

_TURNS = ("conversations", "messages", "prompt", "conversation")
_TEXTS = ("prompt", "question", "instruction", "query", "input")
_KNOWN = frozenset((*_TURNS, *_TEXTS, "chosen", "rejected", "system", "tools", "functions"))
_SPEAKERS = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")
MARKUP = ("\n\nHuman: ", "\n\nAssistant: ")
"""What reading takes out of a conversation in one text."""
_ROLES = {"Human": "user", "Assistant": "assistant"}


def _named(value: Any) -> Any:
    """A record with its sides by their plain names; LLaMA-Factory writes `chosen_messages`."""
    if isinstance(value, dict) and "chosen_messages" in value and "chosen" not in value:
        plain = {"chosen_messages": "chosen", "rejected_messages": "rejected"}
        return {plain.get(key, key): v for key, v in value.items()}
    return value


def is_pair(value: Any) -> bool:
    """Has a record a chosen and a rejected reply?"""
    return isinstance(value, dict) and all(
        isinstance(value.get(side), (str, dict, list)) and value[side]
        for side in ("chosen", "rejected")
    )


def fits(value: Any) -> str:
    """Evidence that a record is a preference pair.

    >>> fits({"prompt": "9*4?", "chosen": "36", "rejected": "35"})
    'chosen and rejected'
    """
    value = _named(value)
    if not is_pair(value) or type(value["chosen"]) is not type(value["rejected"]):
        return ""
    chosen = value["chosen"]
    if isinstance(chosen, list) and not all(map(_is_turn, chosen)):
        return ""
    if isinstance(chosen, dict) and not _is_turn(chosen):
        return ""
    if isinstance(chosen, str) and not _prompted(value) and _spoken(chosen) is None:
        return ""
    return "chosen and rejected"


def _is_turn(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    return ("from" in value and "value" in value) or ("role" in value and "content" in value)


def _prompted(value: dict[str, Any]) -> bool:
    return any(isinstance(value.get(key), list) for key in _TURNS) or any(
        isinstance(value.get(key), str) for key in _TEXTS
    )


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The traces of a pair: one a side that the option names."""
    value = _named(records[0].value)
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    tools = declarations.read_tools(value.get("tools", value.get("functions")))
    prompt = _prompt(value)
    sides = {side: _side(value.get(side), side) for side in ("chosen", "rejected")}
    n_same = _n_shared(*sides.values())
    unsaid: list[dict[str, Any]] = []
    if n_same:  # whole conversations with one beginning, which a stated prompt only repeats
        known = sides["chosen"]
        there = set(map(jsontext.dump, known))
        stated = [turn for turn in prompt if jsontext.dump(turn) not in there]
        unsaid = [turn for turn in stated if turn.get("role") != "system"]
        prompt = [turn for turn in stated if turn.get("role") == "system"] + known[:n_same]
        sides = {side: turns[n_same:] for side, turns in sides.items()}
    group = hashlib.sha256(jsontext.dump(prompt).encode()).hexdigest()[:16]
    wanted = options.get("side", "chosen")
    fields, rest = record_keys.describe(value, _KNOWN, notes)
    traces = []
    for side, other in (("chosen", "rejected"), ("rejected", "chosen")):
        if wanted not in (side, "both"):
            continue
        meta = {"group_id": group, "side": side, **rest}
        if wanted != "both":
            meta[other] = value[other]
        if unsaid:
            meta["prompt"] = unsaid
        messages = _messages([*prompt, *sides[side]], len(prompt), side, tools, notes, options)
        conversation.finish(messages, notes, meta)
        traces.append(record_keys.trace(messages, tools, dict(fields), meta, notes))
    return traces


def _messages(
    turns: list[dict[str, Any]],
    n_prompt: int,
    side: str,
    tools: list[dict[str, Any]] | None,
    notes: Notes,
    options: Mapping[str, str],
) -> list[dict[str, Any]]:
    asked = openai.read_turns(turns[:n_prompt], tools, notes, options)
    replied = openai.read_turns(turns[n_prompt:], tools, notes, options)
    if side == "rejected":
        notes.repair("rejected_not_trained")
        for message in replied:
            if message["role"] == "assistant":
                message["weight"] = 0.0
    return [*asked, *replied]


def _prompt(value: dict[str, Any]) -> list[dict[str, Any]]:
    """The turns before the replies, in OpenAI spelling."""
    turns: list[dict[str, Any]] = []
    system = value.get("system")
    if isinstance(system, str) and system:
        turns.append({"role": "system", "content": system})
    elif system:
        raise BadRecord("content_not_text", f"system is {type(system).__name__}")
    for key in _TURNS:
        if isinstance(value.get(key), list):
            return [*turns, *(_turn(turn, k) for k, turn in enumerate(value[key]))]
    texts = [value[key] for key in _TEXTS if isinstance(value.get(key), str) and value[key]]
    if not texts:
        return turns
    if len(texts) == 1:
        spoken = _spoken(texts[0])
        if spoken is not None:
            return [*turns, *spoken]
    return [*turns, {"role": "user", "content": "\n".join(dict.fromkeys(texts))}]


def _side(given: Any, side: str) -> list[dict[str, Any]]:
    if isinstance(given, dict):
        return [_turn(given, 0)]
    if isinstance(given, list) and given:
        if len(given) == 1 and isinstance(given[0], str):
            return _side(given[0], side)
        return [_turn(turn, k) for k, turn in enumerate(given)]
    if isinstance(given, str) and given:
        return _spoken(given) or [{"role": "assistant", "content": given}]
    raise BadRecord("side_unreadable", f"{side} is {type(given).__name__}")


def _turn(turn: Any, k: int) -> dict[str, Any]:
    """A turn in OpenAI spelling; `from` and `value` are the ShareGPT one."""
    if not isinstance(turn, dict):
        raise conversation.refuse_message(turn, k)
    if "role" in turn or "from" not in turn:
        return turn
    speaker = turn["from"]
    role = sharegpt.ROLES.get(speaker) if isinstance(speaker, str) else None
    if role is None:
        raise BadRecord("unknown_role", f"turn {k} has the role {speaker!r:.60}")
    rest = {key: v for key, v in turn.items() if key not in ("from", "value")}
    return {"role": "tool_call" if role == "call" else role, "content": turn.get("value"), **rest}


def _spoken(text: str) -> list[dict[str, Any]] | None:
    """Turns of a text that begins with a speaker's mark, as `Human: ... Assistant: ...`."""
    if not text.lstrip("\n").startswith("Human:"):
        return None
    pieces = _SPEAKERS.split(text if text.startswith("\n\n") else text.lstrip("\n"))
    turns = []
    for speaker, said in zip(pieces[1::2], pieces[2::2], strict=True):
        turns.append({"role": _ROLES[speaker], "content": said})
    if turns and turns[-1]["role"] == "assistant" and not turns[-1]["content"].strip():
        turns.pop()  # a prompt that ends on the mark of who speaks next
    return turns or None


def _n_shared(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> int:
    n = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        n += 1
    return n


dialect = Dialect(
    name="preference",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=(
        *conversation.CODES,
        *openai_message.CODES,
        *declarations.CODES,
        *record_keys.CODES,
        *CODES,
    ),
    options=(SIDE, CALLS),
)
