"""Parts of a Gemini content as messages: texts, thoughts, calls, results, files, run code."""

from __future__ import annotations

from typing import Any

from tracekit import jsontext
from tracekit.dialects import content_parts, session_log
from tracekit.dialects.conversation import add_meta, refuse_message, texts_joined
from tracekit.dialects.dialect import Notes
from tracekit.errors import BadRecord

CODES = (session_log.SUMMARY,)
ROLES = ("user", "model", "function", None)
"""Roles of a content; null is the user."""
CODE_TOOL = "code_execution"
_SKIPPED_SIGNATURES = frozenset(
    ("skip_thought_signature_validator", "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=")
)
"""What clients send in place of a signature that they do not have, plain and in base64."""
_KNOWN = frozenset(
    (
        *("text", "thought", "thoughtSignature", "thought_signature", "functionCall"),
        *("function_call", "functionResponse", "function_response", "executableCode"),
        *("executable_code", "codeExecutionResult", "code_execution_result", "inlineData"),
        *("inline_data", "fileData", "file_data"),
    )
)


def either(value: Any, first: str, second: str) -> Any:
    """What an object holds under the first spelling of a key, else under the second."""
    if not isinstance(value, dict):
        return None
    held = value.get(first)
    return value.get(second) if held is None else held


def instruction(value: Any) -> str | None:
    """System text of an instruction: a text, or a content with parts of text."""
    if isinstance(value, str) or value is None:
        return value or None
    parts = value.get("parts") if isinstance(value, dict) else None
    if isinstance(parts, dict):
        parts = [parts]
    if not isinstance(parts, list):
        raise BadRecord("content_not_text", "the system instruction has no parts")
    texts = []
    for part in parts:
        text = part.get("text") if isinstance(part, dict) else part
        if not isinstance(text, str):
            raise BadRecord("content_not_text", "a part of the system instruction is no text")
        texts.append(text)
    return texts_joined(texts)


def read_turn(turn: Any, k: int, notes: Notes, called: set[str]) -> list[dict[str, Any]]:
    """Unfinished messages of the k-th content; names of called server tools go to `called`.

    Raises BadRecord: message_not_object, unknown_role, content_not_text, bad_tool_call.
    """
    if not isinstance(turn, dict):
        raise refuse_message(turn, k)
    role = turn.get("role")
    if role not in ROLES:
        raise BadRecord("unknown_role", f"contents[{k}] has the role {role!r:.60}")
    parts = turn.get("parts")
    if parts is None:
        parts = []
    if not isinstance(parts, list):
        raise BadRecord("content_not_text", f"contents[{k}].parts is {type(parts).__name__}")
    for part in parts:
        if not isinstance(part, dict):
            raise BadRecord("content_not_text", f"contents[{k}] has a part that is no object")
    read = _read_model if role == "model" else _read_user
    messages = read(parts, k, notes, called)
    for key, v in turn.items():
        if key not in ("role", "parts") and v is not None and messages:
            notes.unknown(key)
            add_meta(messages[-1], key, v)
    return messages


def _read_user(
    parts: list[dict[str, Any]], k: int, notes: Notes, called: set[str]
) -> list[dict[str, Any]]:
    """Results as tool messages, the rest between them as user messages."""
    messages: list[dict[str, Any]] = []
    message: dict[str, Any] = {"role": "user"}
    texts: list[str] = []
    for part in [*parts, None]:
        result = either(part, "functionResponse", "function_response")
        if part is None or result is not None:
            text = texts_joined(texts)
            if text is not None:
                message["content"] = text
            if len(message) > 1:
                messages.append(message)
            message, texts = {"role": "user"}, []
            if result is not None:
                messages.append(_result(result, k))
            continue
        if isinstance(part.get("text"), str):
            texts.append(part["text"])
        _read_rest(part, message, notes)
    return messages or [{"role": "user"}]


def _read_model(
    parts: list[dict[str, Any]], k: int, notes: Notes, called: set[str]
) -> list[dict[str, Any]]:
    """One message, or more where the provider ran code within the turn."""
    messages: list[dict[str, Any]] = []
    message: dict[str, Any] = {"role": "assistant"}
    texts: list[str] = []
    thoughts: list[str] = []
    signed = False

    def close() -> None:
        nonlocal message, signed
        if thoughts:
            message["reasoning"] = "\n\n".join(thoughts)
            session_log.summarised(message, notes)
        elif signed:
            message["reasoning_kind"] = "withheld"
        text = "".join(texts)
        if text:
            message["content"] = text
        if len(message) > 1:
            messages.append(message)
        message, signed = {"role": "assistant"}, False
        texts.clear()
        thoughts.clear()

    for part in parts:
        signature = either(part, "thoughtSignature", "thought_signature")
        signed = signed or (bool(signature) and str(signature) not in _SKIPPED_SIGNATURES)
        call = either(part, "functionCall", "function_call")
        code = either(part, "executableCode", "executable_code")
        result = either(part, "codeExecutionResult", "code_execution_result")
        text = part.get("text")
        if isinstance(text, str) and text:
            (thoughts if part.get("thought") is True else texts).append(text)
        if call is not None:
            message.setdefault("tool_calls", []).append(_call(call, k, message))
        if code is not None:
            called.add(CODE_TOOL)
            made = {"id": "", "name": CODE_TOOL, "arguments": jsontext.dump(code)}
            message.setdefault("tool_calls", []).append(made)
        if result is not None:
            close()
            messages.append(_code_result(result, k))
        _read_rest(part, message, notes)
    close()
    return messages or [{"role": "assistant"}]


def _call(call: Any, k: int, message: dict[str, Any]) -> dict[str, Any]:
    name = call.get("name") if isinstance(call, dict) else None
    if not isinstance(name, str) or not name:
        raise BadRecord("bad_tool_call", f"contents[{k}] has a call without a name")
    rest = {key: v for key, v in call.items() if key not in ("id", "name", "args")}
    if any(v is not None for v in rest.values()):
        message.setdefault("meta", {}).setdefault("calls", []).append(rest)
    call_id, arguments = call.get("id"), call.get("args")
    return {
        "id": call_id if isinstance(call_id, str) else "",
        "name": name,
        "arguments": "{}" if arguments is None else jsontext.dump(arguments),
    }


def _result(result: Any, k: int) -> dict[str, Any]:
    if not isinstance(result, dict):
        raise BadRecord("content_not_text", f"contents[{k}] has a result that is no object")
    message: dict[str, Any] = {"role": "tool"}
    if isinstance(result.get("id"), str) and result["id"]:
        message["tool_call_id"] = result["id"]
    if isinstance(result.get("name"), str) and result["name"]:
        message["name"] = result["name"]
    response = result.get("response")
    if isinstance(response, str):
        message["content"] = response
    elif response is not None:
        message["content"] = jsontext.dump(response)
    if isinstance(response, dict) and response.get("error"):
        message["error"] = not ({"output", "result"} & response.keys())
    rest = {key: v for key, v in result.items() if key not in ("id", "name", "response")}
    for key, v in rest.items():
        if key == "parts" and isinstance(v, list):
            message["attachments"] = [_file(part) for part in v]
        elif v is not None:
            add_meta(message, key, v)
    return message


def _code_result(result: Any, k: int) -> dict[str, Any]:
    if not isinstance(result, dict):
        raise BadRecord("content_not_text", f"contents[{k}] has a result that is no object")
    message: dict[str, Any] = {"role": "tool", "name": CODE_TOOL}
    outcome, output = result.get("outcome"), result.get("output")
    if isinstance(output, str):
        message["content"] = output
    elif output is not None:
        message["content"] = jsontext.dump(output)
    if isinstance(outcome, str):
        message["error"] = outcome != "OUTCOME_OK"
        add_meta(message, "outcome", outcome)
    return message


def _read_rest(part: dict[str, Any], message: dict[str, Any], notes: Notes) -> None:
    """Files of a part become attachments; keys that are not known go to the meta."""
    for first, second in (("inlineData", "inline_data"), ("fileData", "file_data")):
        if either(part, first, second) is not None:
            message.setdefault("attachments", []).append(_file(part))
    if not part.keys() <= _KNOWN:
        rest = {key: v for key, v in part.items() if key not in _KNOWN and v is not None}
        for key in rest:
            notes.unknown(f"part:{key:.60}")
        if rest:
            message.setdefault("meta", {}).setdefault("parts", []).append(rest)


def _file(part: Any) -> str:
    """Address of a file, or the hash of what stands in the record."""
    held = either(part, "fileData", "file_data")
    uri = either(held, "fileUri", "file_uri")
    if isinstance(uri, str) and uri:
        return uri
    inline = either(part, "inlineData", "inline_data")
    data = inline.get("data") if isinstance(inline, dict) else None
    if isinstance(data, str) and data:
        return content_parts.file_reference({"file": "data:" + data}, "file")
    return content_parts.file_reference(part if isinstance(part, dict) else {}, "file")
