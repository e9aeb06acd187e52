"""Items of the Responses API as messages: reasoning, texts, calls of every kind, results, files.

Items that follow each other up to a result or another speaker are one assistant message. Reasoning
that comes after a text or a call begins the next one, so that thinking and acting stay in order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tracekit import jsontext
from tracekit.dialects import content_parts, conversation, openai_message, session_log
from tracekit.dialects.codex_items import WRAPPED
from tracekit.dialects.conversation import add_meta, arguments_text, texts_joined
from tracekit.dialects.dialect import Notes
from tracekit.dialects.prefixes import json_key, key_of
from tracekit.errors import BadRecord

CODES = (
    *conversation.CODES,
    *openai_message.CODES,
    session_log.SUMMARY,
    session_log.SERVER_CALL,
    WRAPPED,
)

_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
_TEXTS = frozenset(("input_text", "output_text", "text", "summary_text", "reasoning_text"))
_BY_PROVIDER = frozenset(
    (
        *("web_search_call", "file_search_call", "code_interpreter_call", "mcp_call"),
        "image_generation_call",
    )
)
_ARGUMENTS = ("arguments", "action", "operation")
_RESULTS = ("outputs", "output", "results", "error")
_KNOWN_IN_CALL = frozenset(
    ("type", "id", "call_id", "name", "status", "input", "code", "result", *_ARGUMENTS, *_RESULTS)
)
_KNOWN_IN_MESSAGE = frozenset(("type", "id", "role", "content", "status"))
_KNOWN_IN_RESULT = frozenset(("type", "id", "call_id", "output", "status", "name"))
_KNOWN_IN_TEXT = frozenset(("type", "text", "annotations", "logprobs"))


def kind_of(item: dict[str, Any]) -> str:
    """Type of an item; one that has only a role is a message."""
    kind = item.get("type")
    if isinstance(kind, str):
        return kind
    return "message" if isinstance(item.get("role"), str) else ""


def is_call(kind: str) -> bool:
    """Is it a call, by the model's client or by the provider?"""
    return kind.endswith("_call")


def is_result(kind: str) -> bool:
    """Is it what a call gave?"""
    return kind.endswith("_call_output")


def key(item: dict[str, Any]) -> bytes | None:
    """What an item is compared by; None for what clients leave out or change in a replay."""
    kind = kind_of(item)
    if kind == "message":
        texts = content_texts(item.get("content"))
        text = "".join(texts).strip()
        role = _ROLES.get(str(item.get("role")), "")
        return key_of("message", role, text) if text else None
    if is_call(kind):
        return key_of(kind, _name(item, kind) or "", json_key(_arguments(item, kind) or ""))
    if is_result(kind):
        output = item.get("output")
        text = output if isinstance(output, str) else jsontext.dump(output)
        return key_of("result", json_key(text))
    return None


def content_texts(content: Any) -> list[str]:
    """All text of a content, without a word about parts that have none."""
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list) else ()
    return [p["text"] for p in parts if isinstance(p, dict) and isinstance(p.get("text"), str)]


def reasoning_texts(item: dict[str, Any]) -> tuple[list[str], list[str]]:
    """(full texts, summaries) of a reasoning item."""
    return (
        [text for text in content_texts(item.get("content")) if text],
        [text for text in content_texts(item.get("summary")) if text],
    )


@dataclass(slots=True)
class Telling:
    """Messages while the items of one conversation are read."""

    notes: Notes
    messages: list[dict[str, Any]] = field(default_factory=list)
    listed: list[Any] = field(default_factory=list)
    """Tools that an MCP server declared, each with the label of the server."""
    others: list[dict[str, Any]] = field(default_factory=list)
    """Items of types that are no message, with the number of messages before them."""
    _open: dict[str, Any] | None = None
    _texts: list[str] = field(default_factory=list)
    _thoughts: list[tuple[str, str]] = field(default_factory=list)
    """(kind, text) of the reasoning of the open message."""
    _served: set[int] = field(default_factory=set)
    """Calls of the open message that the provider answered without a recorded result."""

    def add(self, item: Any, k: int) -> None:
        """Reads the k-th item. Raises BadRecord: message_not_object and what messages raise."""
        if not isinstance(item, dict):
            raise BadRecord("message_not_object", f"item {k} is {type(item).__name__}")
        kind = kind_of(item)
        if kind == "message":
            self._add_message(item, k)
        elif kind == "reasoning":
            self._add_reasoning(item)
        elif is_call(kind):
            self._add_call(item, kind, k)
        elif is_result(kind):
            self.close()
            self.messages.append(_result(item, kind, k, self.notes))
        elif kind == "mcp_list_tools":
            tools = item.get("tools")
            for tool in tools if isinstance(tools, list) else ():
                self.listed.append((item.get("server_label"), tool))
        else:
            self.notes.unknown(f"item:{kind:.60}")
            kept = {key: v for key, v in item.items() if key not in ("id", "encrypted_content")}
            self.others.append({"message": len(self.messages) + bool(self._open), "item": kept})

    def close(self, **described: Any) -> None:
        """Ends the open assistant message; `described` goes into its meta."""
        message = self._open
        if message is None:
            return
        content = texts_joined(self._texts)
        if content is not None:
            message["content"] = content
        self._close_reasoning(message)
        if self._served:
            calls = message["tool_calls"]
            train = message.setdefault("train", {"reasoning": True, "content": True, "calls": None})
            train["calls"] = [k not in self._served for k in range(len(calls))]
            self.notes.repair(session_log.SERVER_CALL.name, len(self._served))
        reason = described.pop("finish_reason", None)
        if isinstance(reason, str):
            message["finish_reason"] = reason
        for name, v in described.items():
            if v is not None:
                add_meta(message, name, v)
        self.messages.append(message)
        self._open, self._served = None, set()
        self._texts.clear()
        self._thoughts.clear()

    def _close_reasoning(self, message: dict[str, Any]) -> None:
        given = {kind: [t for k, t in self._thoughts if k == kind] for kind in ("full", "summary")}
        n_withheld = sum(kind == "withheld" for kind, _ in self._thoughts)
        if given["full"]:
            message["reasoning"] = "\n\n".join(given["full"])
            message["reasoning_kind"] = "full"
            if given["summary"]:
                add_meta(message, "reasoning_summaries", given["summary"])
        elif given["summary"]:
            message["reasoning"] = "\n\n".join(given["summary"])
            session_log.summarised(message, self.notes)
        elif n_withheld:
            message["reasoning_kind"] = "withheld"
            return
        if n_withheld:
            add_meta(message, "withheld_thoughts", n_withheld)

    def _assistant(self) -> dict[str, Any]:
        if self._open is None:
            self._open = {"role": "assistant"}
        return self._open

    def _add_message(self, item: dict[str, Any], k: int) -> None:
        written = item.get("role")
        role = _ROLES.get(written) if isinstance(written, str) else None
        if role is None:
            raise BadRecord("unknown_role", f"item {k} has the role {written!r:.60}")
        if role != "assistant":
            self.close()
            message: dict[str, Any] = {"role": role}
            text = _text(item.get("content"), k, message)
            if text is not None:
                message["content"] = text
            _keep_rest(item, _KNOWN_IN_MESSAGE, message, self.notes)
            self.messages.append(message)
            return
        if self._served:
            self.close()
        message = self._assistant()
        text = _text(item.get("content"), k, message)
        if text is not None:
            split: dict[str, Any] = {"role": "assistant", "content": text}
            openai_message.split_text(split, self.notes, {"calls": "as_text"})
            if split.get("reasoning"):
                self._thoughts.append(("full", split["reasoning"]))
            if split.get("content"):
                self._texts.append(split["content"])
        if item.get("status") == "incomplete":
            add_meta(message, "status", "incomplete")
        _keep_rest(item, _KNOWN_IN_MESSAGE, message, self.notes)

    def _add_reasoning(self, item: dict[str, Any]) -> None:
        if self._open is not None and (self._texts or self._open.get("tool_calls")):
            self.close()
        self._assistant()
        full, summaries = reasoning_texts(item)
        if full:
            self._thoughts.append(("full", "\n\n".join(full)))
            if summaries != full:
                self._thoughts.extend(("summary", text) for text in summaries)
        elif summaries:
            self._thoughts.append(("summary", "\n\n".join(summaries)))
        else:
            self._thoughts.append(("withheld", ""))

    def _add_call(self, item: dict[str, Any], kind: str, k: int) -> None:
        if self._served and kind not in _BY_PROVIDER:
            self.close()
        message = self._assistant()
        name = _name(item, kind)
        if not name:
            raise BadRecord("bad_tool_call", f"item {k} has a call without a name")
        if kind == "custom_tool_call":
            self.notes.repair(WRAPPED.name)
        call_id = item.get("call_id", item.get("id"))
        arguments = _arguments(item, kind)
        call = {
            "id": call_id if isinstance(call_id, str) else "",
            "name": name,
            "arguments": "{}" if arguments is None else arguments_text(arguments, self.notes),
        }
        calls = message.setdefault("tool_calls", [])
        calls.append(call)
        known = _KNOWN_IN_CALL
        if kind not in ("function_call", "custom_tool_call", "mcp_call"):
            known = known | {"queries", "revised_prompt"}
        _keep_rest(item, known, message, self.notes)
        if item.get("status") not in (None, "completed"):
            add_meta(message, "call_status", {str(len(calls) - 1): item["status"]})
        action = item.get("action")
        if isinstance(action, dict) and action.get("sources"):
            add_meta(message, "sources", action["sources"])  # names of pages, not what they said
        if kind in _BY_PROVIDER:
            result = _own_result(item, kind, call)
            if result is None:
                self._served.add(len(calls) - 1)
            else:
                self.close()
                self.messages.append(result)


def _name(item: dict[str, Any], kind: str) -> str | None:
    name = item.get("name")
    if isinstance(name, str) and name:
        return name
    if kind in ("function_call", "custom_tool_call", "mcp_call"):
        return None
    return kind.removesuffix("_call")


def _arguments(item: dict[str, Any], kind: str) -> str | None:
    """Arguments as text: what the model wrote, or what the item says that it wrote."""
    if kind == "custom_tool_call":
        return jsontext.dump({"input": item.get("input")})
    if kind == "code_interpreter_call":
        return jsontext.dump({"code": item.get("code")})
    if kind == "image_generation_call":
        return jsontext.dump({"prompt": item.get("revised_prompt")})
    if kind == "file_search_call":
        return jsontext.dump({"queries": item.get("queries")})
    for key in _ARGUMENTS:
        given = item.get(key)
        if isinstance(given, dict):
            return jsontext.dump({name: v for name, v in given.items() if name != "sources"})
        if given is not None:
            return given if isinstance(given, str) else jsontext.dump(given)
    return None


def _own_result(item: dict[str, Any], kind: str, call: dict[str, Any]) -> dict[str, Any] | None:
    """Tool message of a result that stands in the item of its call, or None."""
    message: dict[str, Any] = {"role": "tool", "name": call["name"]}
    if call["id"]:
        message["tool_call_id"] = call["id"]
    output: Any = None
    if kind == "image_generation_call":
        if isinstance(item.get("result"), str) and item["result"]:
            picture = {"type": "image", "image": {"data": "data:" + item["result"]}}
            message["attachments"] = [content_parts.file_reference(picture, "image")]
            return message
    else:
        output = next((item[key] for key in _RESULTS if item.get(key) is not None), None)
    if output is None:
        return None
    if kind == "mcp_call":
        message["error"] = item.get("error") is not None
    texts = []
    for part in output if isinstance(output, list) else [output]:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and isinstance(part.get("logs"), str):
            texts.append(part["logs"])
        elif isinstance(part, dict) and part.get("type") == "image":
            message.setdefault("attachments", []).append(
                content_parts.file_reference(part, "image")
            )
        else:
            texts.append(jsontext.dump(part))
    text = texts_joined(texts)
    if text is not None:
        message["content"] = text
    return message


def _result(item: dict[str, Any], kind: str, k: int, notes: Notes) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "tool"}
    if isinstance(item.get("call_id"), str):
        message["tool_call_id"] = item["call_id"]
    output = item.get("output")
    parts = output if isinstance(output, list) else [output]
    if isinstance(output, str) or (
        output and all(isinstance(p, dict) and isinstance(p.get("type"), str) for p in parts)
    ):
        text = _text(output if isinstance(output, str) else parts, k, message)
    elif output is None:
        text = None
    else:
        notes.repair("result_was_object")
        text = jsontext.dump(output)
    if text:
        message["content"] = text
    if item.get("status") in ("failed", "incomplete"):
        message["error"] = True
    _keep_rest(item, _KNOWN_IN_RESULT, message, notes)
    return message


def _text(content: Any, k: int, message: dict[str, Any]) -> str | None:
    """Text of a content; files become attachments, citations and file names meta."""
    if content is None or isinstance(content, str):
        return content or None
    if not isinstance(content, list):
        raise BadRecord("content_not_text", f"item {k}: content is {type(content).__name__}")
    texts = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
            continue
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(part, dict) or not isinstance(kind, str):
            raise BadRecord("content_not_text", f"item {k} has a part without a type")
        if kind in _TEXTS:
            if not isinstance(part.get("text"), str):
                raise BadRecord("content_not_text", f"item {k} has a text part without text")
            texts.append(part["text"])
            if part.get("annotations"):
                held = message.setdefault("meta", {}).setdefault("annotations", [])
                held.append(part["annotations"])
            rest = {key: v for key, v in part.items() if key not in _KNOWN_IN_TEXT}
            if any(v is not None for v in rest.values()):
                message.setdefault("meta", {}).setdefault("parts", []).append(rest)
        elif kind == "refusal" and isinstance(part.get("refusal"), str):
            texts.append(part["refusal"])
            add_meta(message, "refusal", True)
        else:
            message.setdefault("attachments", []).append(_file(part, kind))
            if isinstance(part.get("filename"), str):
                message.setdefault("meta", {}).setdefault("files", []).append(part["filename"])
    return texts_joined(texts)


def _file(part: dict[str, Any], kind: str) -> str:
    for key in ("image_url", "file_url", "file_id", "file_data", "input_audio"):
        held = part.get(key)
        if held:
            return content_parts.file_reference({"file": held}, "file")
    return content_parts.file_reference(part, kind)


def _keep_rest(
    item: dict[str, Any], known: frozenset[str], message: dict[str, Any], notes: Notes
) -> None:
    """Other keys of an item go to the meta of its message."""
    for name, v in item.items():
        if name not in known and v is not None and v != [] and v != {}:
            if name not in ("phase", "server_label", "container_id"):
                notes.unknown(name)
            add_meta(message, name, v)
