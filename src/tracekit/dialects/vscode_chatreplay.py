"""Dialect `vscode_chatreplay`: chat replay files of VS Code, a record a file.

    {"prompts": [{"prompt": "change it", "logs": [
      {"kind": "element", "name": "A", "tokens": 9},
      {"kind": "request", "metadata": {"model": "m", "tools": […]},
       "requestMessages": {"messages": [{"role": 1, "content": [{"type": 1, "text": "hi"}]}]},
       "response": {"type": "success", "message": ["Done."]}},
      {"kind": "toolCall", "id": "c1", "tool": "create_file", "args": "{}", "response": ["…"]}]}]}

Roles are numbers (0 system, 1 user, 2 assistant, 3 tool), and so are the types of parts.

What was decided:
- Every request repeats the conversation so far. One that a later request goes on from, word for
  word, is not told twice: each trace is a conversation that none goes on from. A request under
  another system prompt begins a trace of its own, with the shared history as its beginning.
- The reply of a trace's last request is its response, with the calls that the log has after it.
- What the prompt was made from (`element`) and the marks of a cache hold no text of a message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.dialects import conversation, declarations, session_log
from tracekit.dialects.conversation import arguments_text, texts_joined
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.dialects.session_log import text_of
from tracekit.errors import BadRecord

_ROLES = ("system", "user", "assistant", "tool")
_TEXT, _OPAQUE, _CACHE = 1, 2, 3
_KNOWN = frozenset(("role", "content", "toolCalls", "toolCallId", "name"))
_TAGS = ("context", "environment_info", "workspace_info", "reminderInstructions", "attachments")


def fits(value: Any) -> str:
    """Evidence that a record is a chat replay.

    >>> fits({"prompts": [{"prompt": "hi", "logs": []}]})
    'prompts with logs'
    """
    prompts = value.get("prompts") if isinstance(value, dict) else None
    if not isinstance(prompts, list) or not prompts or not isinstance(prompts[0], dict):
        return ""
    return "prompts with logs" if isinstance(prompts[0].get("logs"), list) else ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Traces of one replay: one for each conversation that no later request goes on from."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    logs = _logs(value)
    places = [k for k, log in enumerate(logs) if log.get("kind") == "request"]
    if not places:
        raise BadRecord("no_messages", "the replay has no request")
    meta = {k: v for k, v in value.items() if k != "prompts" and v is not None}
    meta["prompts"] = [p.get("prompt") for p in value["prompts"] if isinstance(p, dict)]
    logged = [
        {key: log[key] for key in ("id", "time") if log.get(key) is not None}
        for log in logs
        if log.get("kind") == "toolCall"
    ]
    if logged:
        meta["logged_calls"] = logged
    made = []
    repeated: list[dict[str, Any]] = []
    for n, k in enumerate(places):
        following = places[n + 1] if n + 1 < len(places) else len(logs)
        if n + 1 < len(places) and _goes_on(logs[k], logs[following]):
            repeated.append(_about(logs[k]))
            continue
        calls = [log for log in logs[k + 1 : following] if log.get("kind") == "toolCall"]
        about = {"requests": [*repeated, _about(logs[k])]}
        made.append(_trace(logs[k], calls, {**meta, **about}, notes))
        repeated = []
    return made


def _logs(value: dict[str, Any]) -> list[dict[str, Any]]:
    prompts = value.get("prompts")
    found: list[dict[str, Any]] = []
    for prompt in prompts if isinstance(prompts, list) else ():
        logs = prompt.get("logs") if isinstance(prompt, dict) else None
        if isinstance(logs, list):
            found.extend(log for log in logs if isinstance(log, dict))
    return found


def _about(request: dict[str, Any]) -> dict[str, Any]:
    """What a request says of itself beside its messages and tools."""
    about = request.get("metadata")
    kept = {k: v for k, v in about.items() if k != "tools"} if isinstance(about, dict) else {}
    for key in ("name", "type", "id"):
        if request.get(key) is not None:
            kept.setdefault(key, request[key])
    return {k: v for k, v in kept.items() if v is not None}


def _turns(request: dict[str, Any]) -> list[Any]:
    held = request.get("requestMessages")
    turns = held.get("messages") if isinstance(held, dict) else held
    return turns if isinstance(turns, list) else []


def _response(request: dict[str, Any]) -> str | None:
    """Text of a reply; None where the request failed."""
    response = request.get("response")
    if not isinstance(response, dict) or response.get("type") not in (None, "success"):
        return None
    said = response.get("message")
    texts = [said] if isinstance(said, str) else said
    if not isinstance(texts, list):
        return None
    return "".join(text for text in texts if isinstance(text, str))


def _said(turn: Any) -> tuple[Any, str, str]:
    """What a message says, without the marks of the cache."""
    if not isinstance(turn, dict):
        return None, "", ""
    content = turn.get("content")
    parts = [
        part
        for part in (content if isinstance(content, list) else [content])
        if not (isinstance(part, dict) and part.get("type") == _CACHE)
    ]
    return turn.get("role"), jsontext.dump(parts), jsontext.dump(turn.get("toolCalls") or [])


def _goes_on(request: dict[str, Any], following: dict[str, Any]) -> bool:
    """Does a request repeat another one with its reply, and go on from there?"""
    before, after = _turns(request), _turns(following)
    if len(after) <= len(before) or list(map(_said, before)) != [
        _said(turn) for turn in after[: len(before)]
    ]:
        return False
    reply = after[len(before)]
    if not isinstance(reply, dict) or reply.get("role") != _ROLES.index("assistant"):
        return False
    scratch: dict[str, Any] = {"role": "assistant"}
    try:
        text = _text(reply.get("content"), 0, scratch)
    except BadRecord:
        return False
    return (text or "") == (_response(request) or "")


def _trace(
    request: dict[str, Any], calls: list[dict[str, Any]], base: dict[str, Any], notes: Notes
) -> dict[str, Any]:
    messages = [_message(turn, k, notes) for k, turn in enumerate(_turns(request))]
    about = request.get("metadata")
    about = about if isinstance(about, dict) else {}
    reply = _response(request)
    if reply is not None:
        message: dict[str, Any] = {"role": "assistant"}
        if reply:
            message["content"] = reply
        messages.append(message)
        results = [_logged(call, message, k, notes) for k, call in enumerate(calls)]
        messages.extend(result for result in results if result is not None)
    meta: dict[str, Any] = {"harness": "vscode-copilot-chat", **base}
    if reply is None and request.get("response") is not None:
        meta["response"] = request["response"]
    tools = declarations.read_tools(about.get("tools"))
    conversation.finish(messages, notes, meta)
    injected = session_log.injected(messages, _TAGS)
    if injected:
        meta["injected"] = injected
    trace: dict[str, Any] = {"messages": messages, "meta": jsontext.dump(meta)}
    if tools is not None:
        trace["tools"] = tools
    if text_of(about, "model"):
        trace["model"] = about["model"]
    return trace


def _message(turn: Any, k: int, notes: Notes) -> dict[str, Any]:
    if not isinstance(turn, dict):
        raise conversation.refuse_message(turn, k)
    number = turn.get("role")
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < len(_ROLES):
        raise BadRecord("unknown_role", f"messages[{k}]: role {number!r:.60}")
    message: dict[str, Any] = {"role": _ROLES[number]}
    text = _text(turn.get("content"), k, message)
    if text is not None:
        message["content"] = text
    if text_of(turn, "toolCallId"):
        message["tool_call_id"] = turn["toolCallId"]
    if text_of(turn, "name"):
        message["name"] = turn["name"]
    calls = turn.get("toolCalls")
    for call in calls if isinstance(calls, list) and message["role"] == "assistant" else ():
        function: Any = call.get("function", call) if isinstance(call, dict) else None
        name = text_of(function, "name")
        if name is None:
            raise BadRecord("bad_tool_call", f"messages[{k}] has a call without a name")
        message.setdefault("tool_calls", []).append(
            {
                "id": text_of(call, "id") or "",
                "name": name,
                "arguments": arguments_text(function.get("arguments"), notes) or "{}",
            }
        )
    session_log.keep_rest(turn, _KNOWN, message, notes)
    return message


def _text(content: Any, k: int, message: dict[str, Any]) -> str | None:
    if content is None or isinstance(content, str):
        return content or None
    if not isinstance(content, list):
        raise BadRecord("content_not_text", f"messages[{k}].content is {type(content).__name__}")
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == _TEXT and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == _CACHE:
            continue
        elif isinstance(part, dict) and isinstance(part.get("imageUrl"), dict):
            url = text_of(part["imageUrl"], "url") or jsontext.dump(part["imageUrl"])
            if url.startswith("data:"):
                url = "sha256:" + hashlib.sha256(url.encode("utf-8", "replace")).hexdigest()
            message.setdefault("attachments", []).append(url)
        elif kind == _OPAQUE and _thinking(part) is not None and message["role"] == "assistant":
            message["reasoning"], message["reasoning_kind"] = _thinking(part), "full"
        elif isinstance(part, dict):
            message.setdefault("meta", {}).setdefault("parts", []).append(part)
        else:
            raise BadRecord("content_not_text", f"messages[{k}] has a part of no known form")
    return texts_joined(texts)


def _thinking(part: dict[str, Any]) -> str | None:
    value = part.get("value")
    inner = value.get("thinking") if isinstance(value, dict) else None
    return text_of(inner, "text") or text_of(value, "thinking")


def _logged(
    log: dict[str, Any], message: dict[str, Any], k: int, notes: Notes
) -> dict[str, Any] | None:
    """The result of a call that stands in the log alone; its call goes to the reply."""
    name = text_of(log, "tool")
    if name is None:
        raise BadRecord("bad_tool_call", f"toolCall {k} of the log has no name")
    call_id = (text_of(log, "id") or "").partition("__vscode-")[0]
    message.setdefault("tool_calls", []).append(
        {"id": call_id, "name": name, "arguments": arguments_text(log.get("args"), notes) or "{}"}
    )
    answer = log.get("response")
    texts = [answer] if isinstance(answer, str) else answer
    if not isinstance(texts, list):
        return None
    text = texts_joined(t if isinstance(t, str) else jsontext.dump(t) for t in texts)
    result: dict[str, Any] = {"role": "tool"}
    if call_id:
        result["tool_call_id"] = call_id
    if text is not None:
        result["content"] = text
    return result


dialect = Dialect(
    name="vscode_chatreplay",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=(*conversation.CODES, *declarations.CODES),
    ignores={"prompts[].logs[].id": "names of the client's log"},
)
