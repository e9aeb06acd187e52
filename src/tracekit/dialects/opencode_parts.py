"""Parts of an OpenCode message as canonical messages: text, reasoning, tools with their results."""

from __future__ import annotations

from typing import Any

from tracekit import jsontext
from tracekit.dialects import content_parts, session_log
from tracekit.dialects.conversation import add_meta, arguments_text
from tracekit.dialects.dialect import Notes
from tracekit.dialects.session_log import text_of
from tracekit.errors import BadRecord

SPOKEN = "spoken"
KINDS = {
    "text": SPOKEN,
    "reasoning": SPOKEN,
    "tool": SPOKEN,
    "file": SPOKEN,
    "agent": SPOKEN,
    "subtask": SPOKEN,
    "step-start": session_log.BORDER,
    "step-finish": session_log.BORDER,
    "snapshot": session_log.CHANGE,
    "patch": session_log.CHANGE,
    "compaction": session_log.COMPACTION,
    "retry": session_log.NOTICE,
}
"""Kind of event of the parts that say nothing."""


def close(made: list[dict[str, Any]]) -> dict[str, Any]:
    """The message that the next part goes into; a new one, where results closed the last."""
    if made[-1]["role"] == "tool":
        made.append({"role": "assistant"})
    return made[-1]


def _reply(made: list[dict[str, Any]]) -> dict[str, Any]:
    """The last assistant message, behind whatever results stand."""
    return next(message for message in reversed(made) if message["role"] != "tool")


def add(part: dict[str, Any], made: list[dict[str, Any]], k: int, notes: Notes) -> None:
    """Adds one part to the messages. Raises BadRecord: content_not_text, bad_tool_call."""
    kind = part.get("type")
    if kind in ("text", "reasoning"):
        text = part.get("text")
        if not isinstance(text, str):
            raise BadRecord("content_not_text", f"line {k} has a {kind} part without text")
        message = close(made)
        field = "reasoning" if kind == "reasoning" and message["role"] == "assistant" else "content"
        held = message.get(field)
        between = "\n\n" if field == "reasoning" else "\n"
        if text or field == "reasoning":
            message[field] = text if held is None else f"{held}{between}{text}"
        if field == "reasoning":
            message["reasoning_kind"] = "full"
        elif part.get("synthetic") is True:
            _mark_synthetic(message, len(text), notes)
    elif kind == "tool":
        _add_tool(part, made, k, notes)
    elif kind == "file":
        file = content_parts.file_reference({"url": part.get("url")}, "file")
        close(made).setdefault("attachments", []).append(file)
        if text_of(part, "filename"):
            close(made).setdefault("meta", {}).setdefault("files", []).append(part["filename"])
    else:
        close(made).setdefault("meta", {}).setdefault("parts", []).append(part)


def _mark_synthetic(message: dict[str, Any], n_chars: int, notes: Notes) -> None:
    """Text that the client wrote: its span in a user message, no target in a reply."""
    if message["role"] == "user":
        end = len(message.get("content") or "")
        spans = message.setdefault("meta", {}).setdefault("synthetic", [])
        spans.append([end - n_chars, end])
        if sum(stop - start + 1 for start, stop in spans) > end:
            message["meta"]["injected"] = True
        else:
            message["meta"].pop("injected", None)
        return
    message["train"] = {"reasoning": True, "content": False, "calls": None}
    add_meta(message, "synthetic", True)
    notes.repair(session_log.SYNTHETIC.name)


def _add_tool(part: dict[str, Any], made: list[dict[str, Any]], k: int, notes: Notes) -> None:
    name = text_of(part, "tool")
    if name is None:
        raise BadRecord("bad_tool_call", f"line {k} has a call without a name")
    if made[0]["role"] != "assistant":
        close(made).setdefault("meta", {}).setdefault("parts", []).append(part)
        return
    state = part.get("state")
    state = state if isinstance(state, dict) else {}
    given = state.get("input")
    arguments = jsontext.dump(given) if isinstance(given, dict) else arguments_text(given, notes)
    call_id = text_of(part, "callID") or ""
    reply = _reply(made)
    reply.setdefault("tool_calls", []).append(
        {"id": call_id, "name": name, "arguments": arguments or "{}"}
    )
    status = state.get("status")
    text = state.get("error") if status == "error" else state.get("output")
    if status in ("running", "pending") and not isinstance(text, str):
        return
    result: dict[str, Any] = {"role": "tool"}
    if call_id:
        result["tool_call_id"] = call_id
    if isinstance(text, str):
        if text:
            result["content"] = text
    elif text is not None:
        result["content"] = jsontext.dump(text)
        notes.repair("result_was_object")
    metadata = state.get("metadata")
    code = metadata.get("exit") if isinstance(metadata, dict) else None
    if status == "error" or (isinstance(code, int) and code != 0):
        result["error"] = True
    elif isinstance(status, str):
        result["error"] = False
    rest = {
        key: v
        for key, v in state.items()
        if key not in ("status", "input", "output", "error", "time") and v
    }
    if rest:
        add_meta(result, "state", rest)
    made.append(result)
