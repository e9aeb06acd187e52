r"""Dialect `terminus`: rows that Harbor exports of its trials, a row a turn (episode) of a run.

    {"conversations": [{"role": "user", "content": "You are an AI assistant tasked with ..."},
                       {"role": "assistant", "content": "<think>\n\n</think>\n{\"analysis\": ..."},
                       {"role": "user", "content": "New Terminal Output: ..."}],
     "agent": "terminus-2", "model": "...", "model_provider": "hosted_vllm", "date": "...",
     "task": "0895cf7d", "episode": "episode-9", "run_id": "7a51e76d", "trial_name": "0895__ngz",
     "tool_definitions": null, "result": null}

Decided here:

- A reply of Terminus is JSON with `analysis`, `plan` and `commands`, in a conversation about that
  JSON: the prompt asks for it, the harness complains of it. So `commands: as_text` is the
  default. `commands: lift` makes a call of `bash_command` of each command and of
  `mark_task_complete`, as Harbor's own trajectories have them; analysis and plan become the
  content, the next screen answers the last call. A reply with more than its JSON stays text.
- An empty think block is reasoning that was given and is empty: the non-thinking form.
- Rows of OpenHands hold calls as `<tool_call>` or `<function=...>`: `calls` is about these.
- Episodes of a trial grow: each row is a trace, `session_id` is the trial, `task_key` the task.
- `result` is the reward of the verifier (kind `tests`), or the error that ended the trial.
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
    openai_message,
    record_keys,
)
from tracekit.dialects.dialect import Dialect, Notes, Option, Record
from tracekit.errors import BadRecord

_ROW = ("agent", "trial_name", "episode")
_USED = {"conversations", "task", "trial_name", "result", "tool_definitions"}
_KNOWN = ("agent", "model_provider", "date", "episode", "run_id")


def fits(value: Any) -> str:
    """Evidence that a record is a row of a trial.

    >>> row = {"agent": "terminus-2", "trial_name": "t", "episode": "episode-0"}
    >>> fits({"conversations": [{"role": "user", "content": "hi"}], **row})
    'conversations with trial_name and episode'
    """
    if not isinstance(value, dict) or not isinstance(value.get("conversations"), list):
        return ""
    return "conversations with trial_name and episode" if all(k in value for k in _ROW) else ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The one trace of a row."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    turns = value.get("conversations")
    if not isinstance(turns, list):
        raise BadRecord("no_messages", f"conversations is {type(turns).__name__}")
    messages = [openai_message.read_message(t, k, notes, options) for k, t in enumerate(turns)]
    tools = declarations.read_tools(value.get("tool_definitions"))
    fields, meta = _fields(value, notes)
    if options.get("calls") != "as_text":
        if agent_text.asked_for(messages) == "functions":
            tools = function_prompt.lift(messages, tools, meta, notes)
        if any("tool_calls" in message for message in messages):
            agent_text.lift_observations(messages, notes)
    if options.get("commands") == "lift":
        _lift_commands(messages, meta, notes)
    conversation.finish(messages, notes, meta)
    return [record_keys.trace(messages, tools, fields, meta, notes)]


def _fields(value: dict[str, Any], notes: Notes) -> tuple[dict[str, Any], dict[str, Any]]:
    fields, meta = agent_text.describe(value, _USED, _KNOWN, notes)
    for key, field in (("task", "task_key"), ("trial_name", "session_id")):
        if isinstance(value.get(key), str) and value[key]:
            fields[field] = value[key]
        elif value.get(key) is not None:
            meta[key] = value[key]
    result = value.get("result")
    if isinstance(result, (str, int, float)):
        kind = "exit_status" if isinstance(result, str) else "tests"
        outcome = {"value": jsontext.dump(result), "kind": kind, "name": "result"}
        fields.setdefault("outcomes", []).append(outcome)
    elif result is not None:
        meta["result"] = result
    return fields, meta


def _lift_commands(messages: list[dict[str, Any]], meta: dict[str, Any], notes: Notes) -> None:
    n_lifted = 0
    for k, message in enumerate(messages):
        if message["role"] != "assistant" or "tool_calls" in message:
            continue
        found = _commands((message.get("content") or "").strip())
        if found is None:
            continue
        said, calls, rest = found
        message.pop("content")
        if said:
            message["content"] = said
        message["tool_calls"] = calls
        agent_text.keep_rest(message, rest)
        notes.repair("calls_lifted", len(calls))
        n_lifted += 1
        after = messages[k + 1] if k + 1 < len(messages) else None
        if after is not None and after["role"] == "user":
            after["role"] = "tool"
            for n, call in enumerate(calls):
                call["id"] = f"call_{k}_{n + 1}"
            after["tool_call_id"] = calls[-1]["id"]
            notes.repair("observation_lifted")
    if n_lifted:
        agent_text.cut_instructions(messages, meta, notes)


def _commands(
    text: str,
) -> tuple[str | None, list[dict[str, Any]], dict[str, Any]] | None:
    """Words, calls and other keys of a reply that is nothing but its JSON; None for any other."""
    if not text.startswith("{") or not text.endswith("}"):
        return None
    reply = agent_text.parsed(text)
    if not isinstance(reply, dict) or not isinstance(reply.get("commands"), list):
        return None
    analysis, plan = reply.get("analysis"), reply.get("plan")
    if not isinstance(analysis, str) or not isinstance(plan, str):
        return None
    calls = []
    for command in reply["commands"]:
        if not isinstance(command, dict) or not isinstance(command.get("keystrokes"), str):
            return None
        calls.append({"id": "", "name": "bash_command", "arguments": jsontext.dump(command)})
    if reply.get("task_complete") is True:
        calls.append({"id": "", "name": "mark_task_complete", "arguments": "{}"})
    if not calls:
        return None
    known = ("analysis", "plan", "commands", "task_complete")
    rest = {key: v for key, v in reply.items() if key not in known}
    return conversation.texts_joined((analysis, plan), "\n\n"), calls, rest


dialect = Dialect(
    name="terminus",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=(
        *conversation.CODES,
        *openai_message.CODES,
        *declarations.CODES,
        *record_keys.CODES,
        *agent_text.OWN_CODES,
        *function_prompt.CODES,
    ),
    options=(
        agent_text.CALLS,
        Option(
            name="commands",
            choices=("as_text", "lift"),
            what="Replies of Terminus, which are JSON with commands: left as they are, or made "
            "calls with their screens as results.",
        ),
    ),
)
