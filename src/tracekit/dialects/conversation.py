"""The messages of one trace made whole: calls and results paired, ordered, with ids.

Every dialect builds plain dicts in the shape of `types.Message` and ends with `finish`. In such a
dict `meta` is a dict until `finish` writes it as JSON text.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import masks
from tracekit.errors import BadRecord

CODES = (
    Code(
        name="not_an_object",
        kind="reject",
        what="The record is not of the JSON type that its dialect reads.",
    ),
    Code(name="no_messages", kind="reject", what="The record has no message at all."),
    Code(
        name="no_assistant_message",
        kind="reject",
        what="No message of the record was written by an assistant.",
        why="Without one there is nothing to train on.",
    ),
    Code(
        name="message_not_object",
        kind="reject",
        what="A message is not an object, or has no role.",
    ),
    Code(
        name="unknown_role",
        kind="reject",
        what="A message has a role that its dialect does not know; the detail names it.",
        why="A guess would train a user's words, or drop a message in silence.",
        fix="Rename the role at the source, or read the file with a dialect of your own.",
    ),
    Code(
        name="content_not_text",
        kind="reject",
        what="The content of a message is neither text nor a list of known parts.",
    ),
    Code(
        name="bad_tool_call",
        kind="reject",
        what="A tool call has no name, or is not an object.",
    ),
    Code(
        name="results_reordered",
        kind="repair",
        what="Results of parallel calls stood in the order of completion; they now follow the "
        "order of their calls.",
        why="Templates without ids pair results with calls by position.",
        fix="`meta.completed` of a moved result keeps its place.",
    ),
    Code(
        name="ids_renumbered",
        kind="repair",
        what="A call id occurred more than once; the calls are numbered, `meta.original_ids` of "
        "the trace keeps what was recorded.",
    ),
    Code(name="ids_invented", kind="repair", what="A call had no id and was given `call_<n>`."),
    Code(
        name="arguments_were_object",
        kind="repair",
        what="Arguments were recorded as an object and became JSON text.",
    ),
    Code(
        name="lone_surrogate_in_arguments",
        kind="repair",
        what="JSON text of arguments escaped half of a surrogate pair; it became U+FFFD.",
    ),
    Code(
        name="result_was_object",
        kind="repair",
        what="The content of a tool message was a JSON value and became JSON text.",
    ),
    *masks.CODES,
)


def refuse_message(value: Any, k: int) -> BadRecord:
    """The error of a message that is no object."""
    return BadRecord("message_not_object", f"messages[{k}] is {type(value).__name__}")


def arguments_text(value: Any, notes: Any) -> str:
    """Arguments as JSON text: one spelling where they parse, untouched where they do not."""
    if isinstance(value, str):
        if "\\ud" in value or "\\uD" in value:
            found = jsontext.compact_counted(value)
            if found is None:
                return value
            if found[1]:
                notes.repair("lone_surrogate_in_arguments", found[1])
            return found[0]
        spelled = jsontext.compact(value)
        return value if spelled is None else spelled
    if value is None:
        return "{}"
    notes.repair("arguments_were_object")
    return jsontext.dump(value)


def add_meta(message: dict[str, Any], key: str, value: Any) -> None:
    """Puts one more key into the meta of an unfinished message."""
    meta = message.get("meta")
    if meta is None:
        message["meta"] = {key: value}
    else:
        meta[key] = value


def finish(
    messages: list[dict[str, Any]], notes: Any, trace_meta: dict[str, Any]
) -> list[dict[str, Any]]:
    """Pairs, orders and numbers calls and results, and writes every meta as text.

    Changes and returns the list. What concerns the whole trace goes into `trace_meta`. Raises
    BadRecord: no_messages, no_assistant_message, mask_polarity_reversed.
    """
    if not messages:
        raise BadRecord("no_messages")
    assistant = with_calls = with_results = False
    for message in messages:
        role = message["role"]
        if role == "assistant":
            assistant = True
            if "tool_calls" in message:
                with_calls = True
        elif role == "tool":
            with_results = True
    if not assistant:
        roles = sorted({message["role"] for message in messages})
        raise BadRecord("no_assistant_message", f"{len(messages)} messages of {', '.join(roles)}")
    if with_calls:
        if with_results:
            answered = _pair(messages)
            _order_results(messages, answered, notes)
            _number(messages, notes, trace_meta)
            for message, call in answered.values():
                message["tool_call_id"] = call["id"]
                if message.get("name") is None:
                    message["name"] = call["name"]
        else:
            _number(messages, notes, trace_meta)
    weighted = False
    for message in messages:
        meta = message.get("meta")
        if meta is not None:
            message["meta"] = jsontext.dump(meta) if meta else None
        weighted = weighted or "weight" in message
    if weighted:
        masks.check(messages)
    return messages


Answered = dict[int, tuple[dict[str, Any], dict[str, Any]]]
"""(result message, its call) by the position of the result."""


def _pair(messages: list[dict[str, Any]]) -> Answered:
    """Pairs each result with the nearest open call of its id, or, without id, in order.

    Open are first the calls of the assistant messages directly before the results, then older ones
    from the nearest on; an id may therefore come again in a later turn.
    """
    answered: Answered = {}
    current: list[dict[str, Any]] = []
    older: list[dict[str, Any]] = []
    before = ""
    n_calls = 0
    for k, message in enumerate(messages):
        role = message["role"]
        if role == "assistant":
            if before != "assistant":
                older.extend(current)
                current = []
            for call in message.get("tool_calls", ()):
                call["_place"] = n_calls
                n_calls += 1
                current.append(call)
        elif role == "tool":
            call = _open_call(message, current, older)
            if call is not None:
                answered[k] = (message, call)
        before = role
    return answered


def _open_call(
    message: dict[str, Any], current: list[dict[str, Any]], older: list[dict[str, Any]]
) -> dict[str, Any] | None:
    """Takes the call that a result answers from the open ones."""
    wanted = message.get("tool_call_id")
    if wanted:
        for k, call in enumerate(current):
            if call["id"] == wanted:
                return current.pop(k)
        for k in range(len(older) - 1, -1, -1):
            if older[k]["id"] == wanted:
                return older.pop(k)
        return None
    name = message.get("name")
    for k, call in enumerate(current):
        if name is None or call["name"] == name:
            return current.pop(k)
    return current.pop(0) if current else None


def _order_results(messages: list[dict[str, Any]], answered: Answered, notes: Any) -> None:
    """Puts the results of each run of tool messages into the order of their calls."""
    start = 0
    n = len(messages)
    while start < n:
        if messages[start]["role"] != "tool":
            start += 1
            continue
        end = start + 1
        while end < n and messages[end]["role"] == "tool":
            end += 1
        if end - start > 1:
            _order_run(messages, start, end, answered, notes)
        start = end


def _order_run(
    messages: list[dict[str, Any]], start: int, end: int, answered: Answered, notes: Any
) -> None:
    places: list[int] = []
    place = -1
    for k in range(start, end):
        if k in answered:
            place = answered[k][1]["_place"]
        places.append(place)  # a result without a call stays behind the one before it
    order = sorted(range(end - start), key=places.__getitem__)
    if all(k == was for k, was in enumerate(order)):
        return
    run = messages[start:end]
    for k, was in enumerate(order):
        if k != was:
            add_meta(run[was], "completed", was)
        messages[start + k] = run[was]
    notes.repair("results_reordered")


def _number(messages: list[dict[str, Any]], notes: Any, trace_meta: dict[str, Any]) -> None:
    """Makes call ids unique in the trace: repeated ones renumber all, missing ones are invented."""
    calls = [call for message in messages for call in message.get("tool_calls", ())]
    seen: set[str] = set()
    repeated = False
    n_missing = 0
    for call in calls:
        call.pop("_place", None)
        if not call["id"]:
            n_missing += 1
        elif call["id"] in seen:
            repeated = True
        else:
            seen.add(call["id"])
    if repeated:
        trace_meta["original_ids"] = [call["id"] for call in calls]
        for k, call in enumerate(calls):
            call["id"] = f"call_{k}"
        notes.repair("ids_renumbered")
    elif n_missing:
        for k, call in enumerate(calls):
            if not call["id"]:
                call["id"] = _free_id(k, seen)
        notes.repair("ids_invented", n_missing)


def _free_id(k: int, taken: set[str]) -> str:
    name = f"call_{k}"
    while name in taken:
        name = f"{name}_"
    taken.add(name)
    return name


def texts_joined(pieces: Iterable[str], between: str = "\n") -> str | None:
    """Text blocks of one message as one text, untrimmed; None where all are empty."""
    return between.join(piece for piece in pieces if piece) or None
