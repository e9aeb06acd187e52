"""Items of a Codex rollout as messages: reasoning, calls of every kind, results, files."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import content_parts, session_log
from tracekit.dialects.conversation import add_meta, arguments_text, texts_joined
from tracekit.dialects.dialect import Notes
from tracekit.errors import BadRecord

WRAPPED = Code(
    name="custom_input_wrapped",
    kind="repair",
    what='The free text that a call of a custom tool carries became `{"input": text}`.',
    why="Arguments are JSON text, for templates and trainers alike.",
)

ROLES = {"user": "user", "assistant": "assistant", "developer": "system", "system": "system"}
NAMES = {
    "Message": "message",
    "FunctionCall": "function_call",
    "tool_call": "function_call",
    "function_result": "function_call_output",
    "tool_result": "function_call_output",
    "Reasoning": "reasoning",
}
CALLS = {
    "function_call": None,
    "custom_tool_call": None,
    "local_shell_call": "local_shell",
    "tool_search_call": "tool_search",
    "web_search_call": "web_search",
    "image_generation_call": "image_generation",
}
_BY_PROVIDER = frozenset(("web_search_call", "image_generation_call"))
RESULTS = frozenset(
    (
        *("function_call_output", "custom_tool_call_output", "tool_search_output"),
        "local_shell_call_output",
    )
)
_FAILED = ("error:", "err:", "tool call error", "failed in sandbox", "execution error", "aborted")
_EXIT = re.compile(r"^(?:Exit code:|Process exited with code) (-?\d{1,9})\s*$", re.MULTILINE)
_HEAD_CHARS = 400
"""Characters at the head of a result in which the client writes the exit code."""
_KNOWN = frozenset(
    (
        *("type", "id", "role", "content", "name", "arguments", "call_id", "output", "input"),
        *("status", "summary", "encrypted_content", "action", "tools", "execution", "function"),
        *("result", "args", "message", "created_at", "timestamp", "phase", "model", "metadata"),
        *("internal_chat_message_metadata_passthrough", "author", "recipient", "revised_prompt"),
        *("success", "namespace", "ordinal"),
    )
)


def kind_of(item: dict[str, Any]) -> str:
    """Type of an item; one that has only a role is a message.

    >>> kind_of({"role": "user", "content": []})
    'message'
    """
    kind = item.get("type")
    if isinstance(kind, str):
        return NAMES.get(kind, kind)
    return "message" if isinstance(item.get("role"), str) else ""


def read_message(item: dict[str, Any], k: int, notes: Notes) -> dict[str, Any]:
    """A message item. Raises BadRecord: unknown_role, content_not_text."""
    role = item.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise BadRecord("unknown_role", f"line {k}: role {role!r:.60}")
    message: dict[str, Any] = {"role": ROLES[role]}
    content = item.get("content", item.get("message"))
    text = _text(content, k, message)
    if text is not None:
        message["content"] = text
    if role == "developer":
        add_meta(message, "role", "developer")
    _describe(item, message, notes)
    return message


def read_agent_message(item: dict[str, Any], k: int, notes: Notes) -> dict[str, Any]:
    """What another agent wrote to this one: a user message with the name of its author."""
    message: dict[str, Any] = {"role": "user"}
    text = _text(item.get("content"), k, message)
    if text is not None:
        message["content"] = text
    author = session_log.text_of(item, "author")
    if author is not None:
        message["name"] = author
    if item.get("recipient") is not None:
        add_meta(message, "recipient", item["recipient"])
    _describe(item, message, notes)
    return message


def add_reasoning(item: dict[str, Any], message: dict[str, Any], notes: Notes) -> None:
    """Reasoning of an item: in full, as a summary, or withheld."""
    full = _joined(item.get("content"))
    summary = _joined(item.get("summary"))
    if full is not None:
        message["reasoning"], message["reasoning_kind"] = full, "full"
        if summary is not None:
            add_meta(message, "reasoning_summary", summary)
    elif summary is not None:
        message["reasoning"] = summary
        session_log.summarised(message, notes)
    else:
        message["reasoning_kind"] = "withheld"
    _describe(item, message, notes)


def _joined(value: Any) -> str | None:
    if isinstance(value, str):
        return value or None
    if not isinstance(value, list):
        return None
    return texts_joined(
        (p["text"] for p in value if isinstance(p, dict) and isinstance(p.get("text"), str)),
        "\n\n",
    )


def add_call(
    item: dict[str, Any], kind: str, k: int, message: dict[str, Any], notes: Notes
) -> None:
    """Adds a call to a message. Raises BadRecord bad_tool_call."""
    name = session_log.text_of(item, "name")
    if name is None:
        name = session_log.text_of(item.get("function"), "name") or CALLS[kind]
    if name is None:
        raise BadRecord("bad_tool_call", f"line {k} has a call without a name")
    call_id = session_log.text_of(item, "call_id", "id") or ""
    if kind == "custom_tool_call":
        arguments = jsontext.dump({"input": item.get("input")})
        notes.repair(WRAPPED.name)
    else:
        given = item.get("arguments", item.get("args", item.get("action")))
        if given is None and "revised_prompt" in item:
            given = {"revised_prompt": item["revised_prompt"]}
        arguments = given if isinstance(given, str) and not given else arguments_text(given, notes)
    calls = message.setdefault("tool_calls", [])
    calls.append({"id": call_id, "name": name, "arguments": arguments or "{}"})
    if kind in _BY_PROVIDER:
        train = message.setdefault("train", {"reasoning": True, "content": True, "calls": None})
        train["calls"] = [*(train["calls"] or [True] * (len(calls) - 1)), False]
        notes.repair(session_log.SERVER_CALL.name)
        if isinstance(item.get("result"), str) and item["result"]:
            digest = hashlib.sha256(item["result"].encode("utf-8", "replace")).hexdigest()
            message.setdefault("attachments", []).append(f"sha256:{digest}")
    elif (message.get("train") or {}).get("calls") is not None:
        message["train"]["calls"].append(True)
    if item.get("namespace"):
        add_meta(message, "namespace", item["namespace"])
    if kind == "function_call" and isinstance(item.get("summary"), str):
        add_meta(message, "call_summary", item["summary"])
    _describe(item, message, notes)


def read_result(item: dict[str, Any], k: int, notes: Notes) -> dict[str, Any]:
    """Tool message of an output. Exit codes give `error`; the text stays as the model saw it."""
    message: dict[str, Any] = {"role": "tool"}
    call_id = session_log.text_of(item, "call_id")
    if call_id is not None:
        message["tool_call_id"] = call_id
    name = session_log.text_of(item, "name")
    if name is not None:
        message["name"] = name
    output = item.get("output", item.get("result", item.get("tools")))
    if isinstance(output, str):
        _read_output(output, message)
    elif isinstance(output, dict) and isinstance(output.get("success"), bool):
        message["error"] = not output["success"]
        _set(message, _text(output.get("content", output.get("output")), k, message))
        _keep(output, ("success", "content", "output"), message)
    elif isinstance(output, dict) and ("stdout" in output or "exitCode" in output):
        _read_streams(output, message)
    elif isinstance(output, dict) and output.get("type") in ("input_text", "text", "input_image"):
        _set(message, _text([output], k, message))
        _note_exit(message)
    elif isinstance(output, list) and "tools" not in item:
        _set(message, _text(output, k, message))
        _note_exit(message)
    elif output is not None:
        message["content"] = jsontext.dump(output)
        _take_exit_code(output, message)
        notes.repair("result_was_object")
    if isinstance(item.get("success"), bool):
        message["error"] = not item["success"]
    _describe(item, message, notes)
    return message


def _read_output(output: str, message: dict[str, Any]) -> None:
    parsed = None
    if output.startswith('{"output"'):
        try:
            parsed = jsontext.parse(output.encode("utf-8", "replace"))
        except BadRecord:
            parsed = None
    if isinstance(parsed, dict) and isinstance(parsed.get("output"), str):
        _set(message, parsed["output"])
        _take_exit_code(parsed, message)
        _keep(parsed, ("output",), message)
        return
    _set(message, output)
    if output[:60].lower().startswith(_FAILED):
        message["error"] = True
    else:
        _note_exit(message)


def _read_streams(output: dict[str, Any], message: dict[str, Any]) -> None:
    texts = [output[key] for key in ("stdout", "stderr") if isinstance(output.get(key), str)]
    _set(message, texts_joined(texts))
    code = output.get("exitCode", output.get("exit_code"))
    if isinstance(code, int):
        message["error"] = code != 0
    _keep(output, ("stdout", "stderr"), message)


def _note_exit(message: dict[str, Any]) -> None:
    found = _EXIT.search((message.get("content") or "")[:_HEAD_CHARS])
    if found is not None:
        message["error"] = int(found.group(1)) != 0


def _take_exit_code(output: Any, message: dict[str, Any]) -> None:
    metadata = output.get("metadata") if isinstance(output, dict) else None
    code = metadata.get("exit_code") if isinstance(metadata, dict) else None
    if isinstance(code, int):
        message["error"] = code != 0


def _set(message: dict[str, Any], text: str | None) -> None:
    if text:
        message["content"] = text


def _keep(output: dict[str, Any], used: tuple[str, ...], message: dict[str, Any]) -> None:
    rest = {key: v for key, v in output.items() if key not in used and v is not None}
    if rest:
        add_meta(message, "output", rest)


def _text(content: Any, k: int, message: dict[str, Any]) -> str | None:
    """Text of a content: a text, or parts of which encrypted ones are only counted."""
    if content is None or isinstance(content, str):
        return content or None
    if not isinstance(content, list):
        raise BadRecord("content_not_text", f"line {k}: content is {type(content).__name__}")
    parts: list[Any] = []
    n_encrypted = 0
    for part in content:
        if isinstance(part, dict) and part.get("type") == "encrypted_content":
            n_encrypted += 1
        elif isinstance(part, dict) and part.get("type") == "input_image":
            parts.append({"type": "image_url", "image_url": part.get("image_url")})
        elif isinstance(part, (str, dict)):
            parts.append(part)
        else:
            raise BadRecord("content_not_text", f"line {k}: a part is {type(part).__name__}")
    if n_encrypted:
        add_meta(message, "encrypted_parts", n_encrypted)
    return content_parts.read_parts(parts, k, message)


def _describe(item: dict[str, Any], message: dict[str, Any], notes: Notes) -> None:
    if isinstance(item.get("phase"), str):
        add_meta(message, "phase", item["phase"])
    if isinstance(item.get("model"), str):
        add_meta(message, "model", item["model"])
    session_log.keep_time(item, message, "created_at")
    if item.get("status") not in (None, "completed"):
        add_meta(message, "status", item["status"])
    session_log.keep_rest(item, _KNOWN, message, notes)
