r"""Dialect `adp`: the standard form of the Agent Data Protocol, a run as a list of typed steps.

    {"id": "os_42", "details": {},
     "content": [
       {"class_": "text_observation", "content": "How many files?", "name": null, "source": "user"},
       {"class_": "code_action", "language": "bash", "content": "ls", "description": "List first."},
       {"class_": "text_observation", "content": "a.py", "source": "environment"},
       {"class_": "api_action", "function": "submit", "kwargs": {}, "description": null},
       {"class_": "web_observation", "axtree": "Tab 0 ...", "url": "", "html": null},
       {"class_": "message_action", "content": "<finish> 1 </finish>", "description": "Counted."}]}

Decided here:

- An action of code is a call: `bash` with `command` for shells, else the name of the language with
  `code`. An action of an API is a call of its function with its `kwargs`, as they are written.
- `description` is the thought that the source parsed out of the agent's text: reasoning, `lifted`.
- The source of an observation is believed: `environment` answers the open call, `user` is a user,
  even where a converter wrote shell output under that name. `observations: answer_calls` makes the
  turn after a call its result whatever its source; right for sets where nobody talks back.
- An observation of a web page is the environment's; its tree, or else its HTML, is the content.
- An observation of the name `system` is a system prompt; tools that are declared in it as the Kimi
  template writes them (`tool_declare`) become declarations, and the text stays.
- The raw form is whatever the source was; the SFT form is conversations of `sharegpt`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.dialects import (
    agent_text,
    conversation,
    declarations,
    function_prompt,
    record_keys,
)
from tracekit.dialects.conversation import add_meta
from tracekit.dialects.dialect import Dialect, Notes, Option, Record
from tracekit.errors import BadRecord

_ACTIONS = ("message_action", "code_action", "api_action")
_OBSERVATIONS = ("text_observation", "web_observation", "image_observation")
_SHELLS = frozenset(("bash", "sh", "shell", "zsh", "terminal"))
_READ = frozenset(
    (
        *("class_", "content", "source", "name", "description", "language", "function", "kwargs"),
        *("axtree", "html", "url"),
    )
)


def fits(value: Any) -> str:
    """Evidence that a record is a run in the standard form.

    >>> fits({"content": [{"class_": "text_observation", "content": "Count."}]})
    'content with class_'
    """
    steps = value.get("content") if isinstance(value, dict) else None
    first = steps[0] if isinstance(steps, list) and steps else None
    return "content with class_" if isinstance(first, dict) and "class_" in first else ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The one trace of a run."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    steps = value.get("content")
    if not isinstance(steps, list):
        raise BadRecord("no_messages", f"content is {type(steps).__name__}")
    answers = options.get("observations") == "answer_calls"
    messages: list[dict[str, Any]] = []
    tools: list[dict[str, Any]] | None = None
    for k, step in enumerate(steps):
        if not isinstance(step, dict):
            raise conversation.refuse_message(step, k)
        kind = step.get("class_")
        if kind in _ACTIONS:
            messages.append(_action(step, k))
        elif kind in _OBSERVATIONS:
            message = _observation(step, k, _answers(messages, step, answers))
            if message["role"] == "system" and tools is None:
                tools = _declared(message.get("content") or "", notes)
            messages.append(message)
        else:
            raise BadRecord("unknown_role", f"content[{k}] has the class {kind!r:.60}")
        rest = {key: v for key, v in step.items() if key not in _READ}
        agent_text.keep_rest(messages[-1], rest)
    fields, meta = record_keys.describe(value, {"content", "details"}, notes)
    _read_details(value.get("details"), fields, meta, notes)
    if "source_id" in fields:
        task, attempt = record_keys.without_attempt(fields["source_id"])
        if attempt is not None:
            fields.setdefault("task_key", task)
            meta["attempt"] = int(attempt)
    conversation.finish(messages, notes, meta)
    return [record_keys.trace(messages, tools, fields, meta, notes)]


def _read_details(details: Any, fields: dict[str, Any], meta: dict[str, Any], notes: Notes) -> None:
    if not isinstance(details, dict):
        if details is not None:
            meta["details"] = details
        return
    known = ("generated_patch", "eval_logs", "task_description", "website")
    more, rest = agent_text.describe(details, set(), known, notes)
    more.pop("source_id", None)
    if "id" in details:
        rest["id"] = details["id"]
    for key, v in more.items():
        fields.setdefault(key, v)
    if rest:
        meta["details"] = rest


def _action(step: dict[str, Any], k: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant"}
    thought = step.get("description")
    if isinstance(thought, str):
        if thought:
            message["reasoning"] = thought
            message["reasoning_kind"] = "lifted"
    elif thought is not None:
        add_meta(message, "description", thought)
    kind = step["class_"]
    if kind == "api_action":
        name = step.get("function")
        if not isinstance(name, str) or not name:
            raise BadRecord("bad_tool_call", f"content[{k}] names no function")
        kwargs = step.get("kwargs")
        message["tool_calls"] = [_call(name, {} if kwargs is None else kwargs)]
        if step.get("content") is not None:
            add_meta(message, "content", step["content"])
        return message
    text = step.get("content")
    if text is not None and not isinstance(text, str):
        raise BadRecord("content_not_text", f"content[{k}].content is {type(text).__name__}")
    if kind == "message_action":
        if text:
            message["content"] = text
        return message
    language = step.get("language")
    if not isinstance(language, str) or not language:
        raise BadRecord("bad_tool_call", f"content[{k}] is code of no language")
    shell = language.lower() in _SHELLS
    message["tool_calls"] = [
        _call("bash" if shell else language, {"command" if shell else "code": text or ""})
    ]
    if shell and language != "bash":
        add_meta(message, "language", language)
    return message


def _call(name: str, arguments: Any) -> dict[str, Any]:
    return {"id": "", "name": name, "arguments": jsontext.dump(arguments)}


def _answers(messages: list[dict[str, Any]], step: dict[str, Any], always: bool) -> bool:
    """Does an observation answer the call before it?"""
    if not messages or "tool_calls" not in messages[-1]:
        return False
    return always or step.get("source") in (None, "environment")


def _observation(step: dict[str, Any], k: int, answers: bool) -> dict[str, Any]:
    """Message of an observation: a result, a user turn, or the system prompt."""
    name, source = step.get("name"), step.get("source")
    role = "tool" if answers else "user"
    if name == "system" and source == "environment":
        role = "system"
    elif not answers and source not in (None, "user", "environment", "os"):
        raise BadRecord("unknown_role", f"content[{k}] has the source {source!r:.60}")
    message: dict[str, Any] = {"role": role}
    for key in ("content", "axtree", "html"):
        text = step.get(key)
        if text is None or text == "":
            continue
        if not isinstance(text, str):
            raise BadRecord("content_not_text", f"content[{k}].{key} is {type(text).__name__}")
        if "content" in message:
            add_meta(message, key, text)
        else:
            message["content"] = text
    if step.get("url"):
        add_meta(message, "url", step["url"])
    if role == "user" and source != "user":
        add_meta(message, "from", "environment")
    if isinstance(name, str) and name and role != "system":
        message["name"] = name
    elif name is not None and not isinstance(name, str):
        add_meta(message, "name", name)
    return message


_DECLARE = "tool_declare<|im_middle|>"


def _declared(text: str, notes: Notes) -> list[dict[str, Any]] | None:
    """Tools that a system prompt declares as JSON; None where it declares none that parse."""
    place = text.find(_DECLARE)
    if place < 0:
        return None
    end = text.find("<|im_end|>", place)
    listed = text[place + len(_DECLARE) : end if end >= 0 else len(text)]
    try:
        tools = declarations.read_tools(listed)
    except BadRecord:
        return None
    if tools:
        notes.repair("tools_from_prompt", len(tools))
    return tools


dialect = Dialect(
    name="adp",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=(
        *conversation.CODES,
        *record_keys.CODES,
        *function_prompt.CODES,
    ),
    options=(
        Option(
            name="observations",
            choices=("by_source", "answer_calls"),
            what="What a turn after a call is: what its source says, or the call's result always.",
        ),
    ),
)
