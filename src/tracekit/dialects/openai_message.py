"""One message of the OpenAI chat shape, in all its spellings, to canonical messages.

Read here: content as text or parts, reasoning under its several names or in think tags, tool calls
native, legacy or written as text, results, training flags.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import masks, session_log, thinking, toolcall_text
from tracekit.dialects.content_parts import call_text, is_part, read_parts
from tracekit.dialects.conversation import add_meta, arguments_text, refuse_message
from tracekit.dialects.dialect import Notes
from tracekit.dialects.toolcall_text import ParameterTypes
from tracekit.errors import BadRecord

CODES = (
    Code(
        name="think_tags_split",
        kind="repair",
        what="Reasoning between think tags in the content was moved to `reasoning`.",
    ),
    Code(
        name="think_closing_only",
        kind="repair",
        what="Only the closing think tag stood in the content; the text before it became the "
        "reasoning.",
        why="The prompt gives the opening tag, so saved completions begin inside of the block.",
    ),
    Code(
        name="think_unclosed",
        kind="repair",
        what="A think block never ends; all of it became reasoning and there is no answer.",
        why="An unclosed block must not be trained as a finished answer.",
    ),
    Code(
        name="think_nested",
        kind="repair",
        what="Think tags stood inside a think block; it ends where the outer one does.",
    ),
    Code(
        name="think_several",
        kind="repair",
        what="More than one think block in one message; only the first was split off.",
    ),
    Code(
        name="reasoning_conflict",
        kind="repair",
        what="A message gives its reasoning twice with different texts; the first by rank is kept, "
        "the others are in `meta.reasoning_conflict` of the message.",
        why="Merging them would train a chain of thought that nobody had.",
        fix="Decide at the source which one is right, or drop by this key of the meta.",
    ),
    Code(
        name="calls_lifted",
        kind="repair",
        what="Tool calls written as text became calls.",
        fix="Option `calls: as_text` leaves them in the content.",
    ),
    Code(
        name="results_lifted",
        kind="repair",
        what="`<tool_response>` blocks became tool messages.",
        fix="Option `calls: as_text` leaves them where they are.",
    ),
    Code(
        name="empty_reply_merged",
        kind="repair",
        what="An assistant message said nothing at all and another one followed; it is gone.",
        why="Clients replay one reply as an empty text and its calls.",
    ),
    session_log.SUMMARY,
)

FORMAT_INSTRUCTION_CUT = Code(
    name="format_instruction_cut",
    kind="repair",
    what="The part of the prompt that asks for calls as text was cut out; the meta keeps it.",
    why="The calls are calls now: told one form, shown another, a model learns neither.",
    fix="Option `calls: as_text` leaves prompt and calls as they are.",
)
"""Of dialects that know where a prompt asks for calls as text."""

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
    "ipython": "tool",
    "observation": "tool",
    "tool_response": "tool",
    "tool_call": "assistant",
    "function_call": "assistant",
}
"""Canonical role of each spelling. `tool_call` holds a call as JSON in its content."""

REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")
"""Keys of the reasoning, by rank; where two differ the first is kept."""

_PLAIN = frozenset(("role", "content"))
_KNOWN = frozenset(
    (
        *("role", "content", "tool_calls", "tool_call_id", "name", "function_call"),
        *("reasoning_content", "reasoning", "thinking", "reasoning_details"),
        *("weight", "loss_weight", "loss", "train", "mask", "is_error", "error", "refusal"),
        *("finish_reason", "id"),
    )
)
_STATES = {
    "closed": "think_tags_split",
    "closing_only": "think_closing_only",
    "unclosed": "think_unclosed",
    "nested": "think_nested",
    "several": "think_several",
}


def read_message(
    value: Any,
    k: int,
    notes: Notes,
    options: Mapping[str, str],
    types: ParameterTypes | None = None,
) -> dict[str, Any]:
    """Canonical message (`meta` still a dict) of the k-th message of a record.

    Raises BadRecord: message_not_object, unknown_role, content_not_text, bad_tool_call.
    """
    if not isinstance(value, dict):
        raise refuse_message(value, k)
    written = value.get("role")
    role = ROLES.get(written) if isinstance(written, str) else None
    if role is None:
        if written is None:
            raise BadRecord("message_not_object", f"messages[{k}] has no role")
        raise BadRecord("unknown_role", f"messages[{k}] has the role {written!r:.60}")
    message: dict[str, Any] = {"role": role}
    content = value.get("content")
    if content is None or isinstance(content, str):
        text = content or None
    else:
        text = _content(content, role, k, message, notes)
    if text is not None:
        message["content"] = text
    if value.keys() <= _PLAIN and role != "assistant":
        return message
    if role == "assistant":
        if written in ("tool_call", "function_call"):
            message.setdefault("tool_calls", []).append(call_text(message.pop("content", ""), k))
        _read_assistant(value, k, message, notes)
        if "content" in message:
            split_text(message, notes, options, types)
    elif role == "tool":
        call_id = value.get("tool_call_id")
        if call_id is None and isinstance(value.get("id"), str):
            call_id = value["id"]
        if call_id is not None:
            message["tool_call_id"] = str(call_id)
        error = value.get("is_error", value.get("error"))
        if isinstance(error, bool):
            message["error"] = error
        elif error is not None:
            add_meta(message, "error", error)
    _read_rest(value, role, message, options)
    return message


def _read_rest(
    value: dict[str, Any], role: str, message: dict[str, Any], options: Mapping[str, str]
) -> None:
    """Name, training weight, finish reason; unknown keys go to the meta."""
    name = value.get("name")
    if isinstance(name, str) and name:
        message["name"] = name
    for key in ("weight", "loss_weight", "loss", "train"):
        given = value.get(key)
        if isinstance(given, (bool, int, float)):
            message["weight"] = float(given)
            break
        if given is not None:
            add_meta(message, key, given)
    if "mask" in value:
        weight = masks.weight_of(value["mask"], options)
        if weight is None:
            add_meta(message, "mask", value["mask"])
        else:
            message["weight"] = weight
    reason = value.get("finish_reason")
    if isinstance(reason, str):
        message["finish_reason"] = reason
    if role != "tool" and value.get("id") is not None:
        add_meta(message, "id", value["id"])
    if not value.keys() <= _KNOWN:
        for key, v in value.items():
            if key not in _KNOWN and v is not None and v != [] and v != {}:
                add_meta(message, key, v)


def _content(content: Any, role: str, k: int, message: dict[str, Any], notes: Notes) -> str | None:
    """Text of a content that is no text: a list of parts, or the JSON result of a tool."""
    if isinstance(content, list) and all(
        isinstance(part, str) or (isinstance(part, dict) and is_part(part)) for part in content
    ):
        return read_parts(content, k, message)
    if role == "tool":
        notes.repair("result_was_object")
        return jsontext.dump(content)
    raise BadRecord("content_not_text", f"messages[{k}].content is {type(content).__name__}")


def _read_assistant(value: dict[str, Any], k: int, message: dict[str, Any], notes: Notes) -> None:
    calls = value.get("tool_calls")
    if calls:
        if isinstance(calls, str):
            try:
                calls = jsontext.parse(calls.encode("utf-8", "replace"))
            except BadRecord:
                raise BadRecord("bad_tool_call", f"messages[{k}].tool_calls is no JSON") from None
        if not isinstance(calls, list):
            raise BadRecord("bad_tool_call", f"messages[{k}].tool_calls is no list")
        read = [read_call(call, k, message, notes) for call in calls]
        if read:
            message.setdefault("tool_calls", []).extend(read)
    legacy = value.get("function_call")
    if legacy and value.get("role") != "function_call":
        message.setdefault("tool_calls", []).append(read_call(legacy, k, message, notes))
    refusal = value.get("refusal")
    if isinstance(refusal, str) and refusal:
        if "content" in message:
            add_meta(message, "refusal", refusal)
        else:
            message["content"] = refusal
            add_meta(message, "refusal", True)
    for key in REASONING_KEYS:
        given = value.get(key)
        if isinstance(given, str):
            add_reasoning(message, given, key, notes)
            notes.count(f"reasoning_field:{key}")
        elif given is not None:
            add_meta(message, key, given)
    details = value.get("reasoning_details")
    if isinstance(details, list) and details:
        _read_details(details, message, notes)
    elif details:
        add_meta(message, "reasoning_details", details)


def read_call(call: Any, k: int, message: dict[str, Any], notes: Notes) -> dict[str, Any]:
    """Canonical call of an OpenAI tool call: wrapped, flat or of type `custom`."""
    if not isinstance(call, dict):
        raise BadRecord("bad_tool_call", f"messages[{k}] has a call that is no object")
    inner = call.get("function")
    if not isinstance(inner, dict):
        custom = call.get("custom")
        inner = custom if isinstance(custom, dict) else call
    name = inner.get("name")
    if not isinstance(name, str) or not name:
        raise BadRecord("bad_tool_call", f"messages[{k}] has a call without a name")
    given = inner.get("arguments", inner.get("parameters", inner.get("input")))
    call_id = call.get("id")
    for key, v in call.items():
        if key not in _CALL_KEYS and v is not None:
            add_meta(message, "calls", {**message.get("meta", {}).get("calls", {}), key: v})
    return {
        "id": "" if call_id is None else str(call_id),
        "name": name,
        "arguments": arguments_text(given, notes),
    }


_CALL_KEYS = frozenset(
    ("id", "type", "function", "custom", "index", "name", "arguments", "parameters", "input")
)


def add_reasoning(message: dict[str, Any], text: str, origin: str, notes: Notes) -> None:
    """Sets the reasoning, or notes a conflict where another text is there already."""
    held = message.get("reasoning")
    if not held:
        message["reasoning"] = text
        message["reasoning_kind"] = "full"
    elif text and held.strip() != text.strip():
        conflicts = message.setdefault("meta", {}).setdefault("reasoning_conflict", {})
        conflicts[origin] = text
        notes.repair("reasoning_conflict")


def _read_details(details: list[Any], message: dict[str, Any], notes: Notes) -> None:
    """Reasoning of `reasoning_details`: full text, a summary, or withheld (encrypted)."""
    texts: list[str] = []
    summaries: list[str] = []
    for detail in details:
        if isinstance(detail, dict):
            if isinstance(detail.get("text"), str):
                texts.append(detail["text"])
            if isinstance(detail.get("summary"), str):
                summaries.append(detail["summary"])
    given = "".join(texts) if texts else "\n\n".join(summaries)
    if given and not message.get("reasoning"):
        add_reasoning(message, given, "reasoning_details", notes)
        notes.count("reasoning_field:reasoning_details")
    if summaries and not texts:
        session_log.summarised(message, notes)
        held = message["reasoning"]
        if any(summary not in held for summary in summaries):
            add_meta(message, "reasoning_summaries", summaries)
    elif texts and any(text not in message["reasoning"] for text in texts):
        add_meta(message, "reasoning_texts", texts)
    elif not texts and not message.get("reasoning"):
        message["reasoning_kind"] = "withheld"


def split_text(
    message: dict[str, Any],
    notes: Notes,
    options: Mapping[str, str],
    types: ParameterTypes | None = None,
) -> None:
    """Moves think blocks and calls that stand as text in an assistant's content to their fields."""
    content: str = message["content"]
    found = thinking.split(content)
    if found is not None and found.state == "closing_only" and message.get("reasoning"):
        found = None  # the reasoning is given elsewhere: this tag is a stray one
    if found is not None:
        notes.repair(_STATES[found.state])
        if found.state in ("unclosed", "nested", "several"):
            add_meta(message, "think_tags", found.state)
        add_reasoning(message, found.reasoning, "think_tags", notes)
        content = found.content
    if "<tool_call>" in content and options.get("calls") != "as_text":
        lifted = toolcall_text.lift(content, types)
        if lifted is not None:
            notes.repair("calls_lifted", len(lifted.calls))
            calls = message.setdefault("tool_calls", [])
            calls.extend({"id": "", "name": name, "arguments": a} for name, a in lifted.calls)
            content = lifted.content
    if content:
        message["content"] = content
    else:
        message.pop("content", None)


def lifted_results(message: dict[str, Any], notes: Notes) -> list[dict[str, Any]]:
    """Tool messages of a user or tool message that is nothing but `<tool_response>` blocks."""
    content = message.get("content")
    if content is None or "<tool_response>" not in content:
        return [message]
    found = toolcall_text.responses(content)
    if found is None:
        return [message]
    notes.repair("results_lifted", len(found))
    results = []
    for k, text in enumerate(found):
        result = dict(message) if k == 0 else {}
        result["role"] = "tool"
        result["content"] = text or None
        results.append(result)
    return results
