"""Dialect `tau2`: simulations of tau2-bench, one file each or together with their tasks.

{"timestamp": "...", "info": {"agent_info": {"llm": "m"}, "environment_info": {"domain_name":
  "retail", "policy": "# Retail agent policy ..."}}, "tasks": [{"id": "0", ...}],
 "simulations": [{"id": "s", "task_id": "0", "trial": 0, "termination_reason": "user_stop",
  "reward_info": {"reward": 1.0}, "messages": [{"role": "assistant", "content": null,
   "tool_calls": [{"id": "c", "name": "find", "arguments": {}, "requestor": "assistant"}]},
   {"role": "tool", "id": "c", "content": "...", "error": false, "requestor": "assistant"}]}]}

Decided here: (1) A trace a simulation. The policy stands in `info` and becomes the system message
(counted): the prompt around it is not recorded. (2) Calls of the simulated *user* and their results
are seen by the user alone: they are in the meta of the user's next message. (3) `reward` is an
outcome `environment`, `termination_reason` an `exit_status`. (4) Voice runs (`ticks`) are read
where their chunks hold words: chunks of one speaker up to the other's next are one message. Where
only audio was recorded no word was written down: the record is refused, `speech_not_written`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import (
    conversation,
    declarations,
    declared_schemas,
    record_keys,
    toolalpaca,
)
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.errors import BadRecord

CODES = (
    Code(
        name="speech_not_written",
        kind="reject",
        what="A voice run that says when somebody spoke, but not what: it holds no words.",
        fix="Export the run with its transcripts.",
    ),
    Code(
        name="no_simulations",
        kind="reject",
        what="The results of a run hold its settings, but no simulation.",
        fix="Read the files of the simulations; they are kept beside the results.",
    ),
    Code(
        name="policy_as_system",
        kind="repair",
        what="The policy of the run's settings became the system message.",
        why="The agent had it in its prompt, which the run did not record.",
    ),
)
IGNORES = {
    "info.user_info": "settings of the simulated user, the same for all simulations",
    "info.audio_native_config": "settings of the audio channel",
    "simulations[].ticks": "audio chunks; their words are the messages",
    "ticks": "audio chunks; their words are the messages",
}

_RUN_KEYS = frozenset(("simulations", "tasks", "info"))
_SIMULATION_USED = frozenset(
    ("id", "task_id", "messages", "ticks", "reward_info", "termination_reason")
)
_MESSAGE_USED = frozenset(("role", "content", "tool_calls", "id", "error", "requestor", "name"))
_CALL_USED = frozenset(("id", "name", "arguments", "requestor"))


def fits(value: Any) -> str:
    """Evidence that a record is a simulation of tau2-bench, or the results of a run.

    >>> fits({"info": {"environment_info": {}}, "tasks": [], "simulations": []})
    'info and tasks of a run'
    """
    if not isinstance(value, dict):
        return ""
    info = value.get("info")
    if isinstance(info, dict) and "environment_info" in info and "tasks" in value:
        return "info and tasks of a run"
    if "task_id" in value and "termination_reason" in value:
        held = value.get("messages", value.get("ticks"))
        return "a simulation with termination_reason" if isinstance(held, list) else ""
    return ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """A trace for each simulation of a record."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    if "termination_reason" in value and "simulations" not in value:
        return [_simulation(value, {}, {}, {}, notes)]
    found = value.get("simulations")
    if found is None or found == []:
        raise BadRecord("no_simulations", ", ".join(list(value)[:12]))
    if not isinstance(found, list) or not all(isinstance(s, dict) for s in found):
        raise BadRecord("message_not_object", "simulations are no list of objects")
    given = value.get("info")
    info = given if isinstance(given, dict) else {}
    held = value.get("tasks")
    listed = held if isinstance(held, list) else []
    tasks = {str(task.get("id")): task for task in listed if isinstance(task, dict)}
    run = {key: v for key, v in value.items() if key not in _RUN_KEYS and v is not None}
    return toolalpaca.each_run(lambda one: _simulation(one, info, tasks, run, notes), found, notes)


def _simulation(
    value: dict[str, Any],
    info: dict[str, Any],
    tasks: dict[str, Any],
    run: dict[str, Any],
    notes: Notes,
) -> dict[str, Any]:
    meta: dict[str, Any] = {"benchmark": "tau2-bench", "user": "simulated"}
    if run:
        meta["run"] = run
    turns = value.get("messages") or []
    if not turns and value.get("ticks"):
        turns = _turns_of_ticks(value["ticks"])
    if not isinstance(turns, list) or not turns:
        raise BadRecord("no_messages", f"messages of simulation {value.get('id')!r:.60}")
    messages = _messages(turns, meta, notes)
    environment = info.get("environment_info")
    environment = environment if isinstance(environment, dict) else {}
    policy = environment.get("policy")
    if isinstance(policy, str) and policy and messages and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": policy})
        notes.repair("policy_as_system")
    elif policy is not None:
        meta["policy"] = policy
    offered = environment.get("tool_defs")
    tools = declarations.read_tools(offered) if isinstance(offered, (list, str)) else None
    if tools is None and offered is not None:
        meta["tool_defs"] = offered
    declared_schemas.normalise(tools, notes, meta)
    fields, rest = record_keys.describe(value, _SIMULATION_USED, notes)
    meta |= rest
    _describe(value, info, environment, tasks, fields, meta)
    conversation.finish(messages, notes, meta)
    return record_keys.trace(messages, tools, fields, meta, notes)


def _describe(
    value: dict[str, Any],
    info: dict[str, Any],
    environment: dict[str, Any],
    tasks: dict[str, Any],
    fields: dict[str, Any],
    meta: dict[str, Any],
) -> None:
    """Ids, verdicts, model and task of a simulation."""
    if value.get("id") is not None:
        fields["source_id"] = str(value["id"])
    domain = environment.get("domain_name")
    if value.get("task_id") is not None:
        number = str(value["task_id"])
        fields["task_key"] = f"{domain}/{number}" if isinstance(domain, str) else number
        if number in tasks:
            meta["task"] = tasks[number]
    agent = info.get("agent_info")
    if isinstance(agent, dict):
        meta["agent_info"] = agent
        if isinstance(agent.get("llm"), str):
            fields["model"] = agent["llm"]
    outcomes = []
    reward = value.get("reward_info")
    if isinstance(reward, dict):
        meta["reward_info"] = reward
        if isinstance(reward.get("reward"), (int, float)):
            given = jsontext.dump(reward["reward"])
            outcomes.append({"value": given, "kind": "environment", "name": "reward"})
    reason = value.get("termination_reason")
    if reason is not None:
        outcomes.append(
            {
                "value": jsontext.dump(reason),
                "kind": "exit_status",
                "name": "termination_reason",
            }
        )
    if outcomes:
        fields["outcomes"] = outcomes
    settings = {
        key: v
        for key, v in info.items()
        if key not in ("environment_info", "agent_info", "user_info", "audio_native_config")
        and v is not None
    }
    if settings:
        meta["settings"] = settings


# Messages.


def _messages(turns: list[Any], meta: dict[str, Any], notes: Notes) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    hidden: list[Any] = []
    for k, turn in enumerate(_flat(turns)):
        if not isinstance(turn, dict):
            raise conversation.refuse_message(turn, k)
        role = turn.get("role")
        of_user = turn.get("requestor") == "user" if role == "tool" else role == "user"
        if of_user and (role == "tool" or turn.get("tool_calls")):
            hidden.append(turn)
            if role == "tool" or not turn.get("content"):
                continue
            turn = {key: v for key, v in turn.items() if key != "tool_calls"}
        message = _message(turn, role, k, notes)
        if hidden and role == "user":
            conversation.add_meta(message, "calls_of_user", hidden)
            hidden = []
        messages.append(message)
    if hidden:
        meta["calls_of_user"] = hidden
    return messages


def _flat(turns: list[Any]) -> list[Any]:
    """Turns with the results that several calls gave together one by one."""
    flat: list[Any] = []
    for turn in turns:
        several = turn.get("tool_messages") if isinstance(turn, dict) else None
        flat.extend(several if isinstance(several, list) else (turn,))
    return flat


def _message(turn: dict[str, Any], role: Any, k: int, notes: Notes) -> dict[str, Any]:
    if role not in ("system", "user", "assistant", "tool"):
        raise BadRecord("unknown_role", f"messages[{k}] has the role {role!r:.60}")
    text = turn.get("content")
    if text is not None and not isinstance(text, str):
        if role != "tool":
            raise BadRecord("content_not_text", f"messages[{k}] is {type(text).__name__}")
        text = jsontext.dump(text)
        notes.repair("result_was_object")
    message: dict[str, Any] = {"role": role}
    if text:
        message["content"] = text
    calls = turn.get("tool_calls")
    if calls and role == "assistant":
        if not isinstance(calls, list):
            raise BadRecord("bad_tool_call", f"messages[{k}].tool_calls is no list")
        message["tool_calls"] = [_call(call, k, message, notes) for call in calls]
    elif calls:
        conversation.add_meta(message, "tool_calls", calls)
    if role == "tool":
        if turn.get("id") is not None:
            message["tool_call_id"] = str(turn["id"])
        if isinstance(turn.get("error"), bool):
            message["error"] = turn["error"]
        elif turn.get("error") is not None:
            conversation.add_meta(message, "error", turn["error"])
    if isinstance(turn.get("name"), str) and turn["name"]:
        message["name"] = turn["name"]
    for key, v in turn.items():
        if key not in _MESSAGE_USED and v is not None:
            conversation.add_meta(message, key, v)
    return message


def _call(call: Any, k: int, message: dict[str, Any], notes: Notes) -> dict[str, Any]:
    name = call.get("name") if isinstance(call, dict) else None
    if not isinstance(name, str) or not name:
        raise BadRecord("bad_tool_call", f"messages[{k}] has a call without a name")
    rest = {key: v for key, v in call.items() if key not in _CALL_USED and v is not None}
    if rest:
        message.setdefault("meta", {}).setdefault("calls", []).append(rest)
    return {
        "id": str(call["id"]) if call.get("id") is not None else "",
        "name": name,
        "arguments": conversation.arguments_text(call.get("arguments"), notes),
    }


# Voice runs.


def _turns_of_ticks(ticks: Any) -> list[dict[str, Any]]:
    """Turns of a voice run: words of one speaker up to those of the other, calls and results."""
    turns: list[dict[str, Any]] = []
    n_speech = 0
    for k, tick in enumerate(ticks if isinstance(ticks, list) else ()):
        if not isinstance(tick, dict):
            raise conversation.refuse_message(tick, k)
        for who, role in (("user", "user"), ("agent", "assistant")):
            chunk = tick.get(f"{who}_chunk")
            if isinstance(chunk, dict):
                n_speech += chunk.get("contains_speech") is True
                _add_words(turns, role, chunk)
            calls, results = tick.get(f"{who}_tool_calls"), tick.get(f"{who}_tool_results")
            if calls:
                turns.append({"role": role, "content": None, "tool_calls": calls})
            turns.extend(results if isinstance(results, list) else ())
    if not turns:
        raise BadRecord("speech_not_written", f"{n_speech} chunks of speech, none with words")
    for turn in turns:
        if isinstance(turn, dict) and "pieces" in turn:
            turn["content"] = "".join(turn.pop("pieces"))
    return turns


def _add_words(turns: list[dict[str, Any]], role: str, chunk: dict[str, Any]) -> None:
    words = chunk.get("content")
    if not isinstance(words, str) or not words or chunk.get("is_audio") is True:
        return
    last = turns[-1] if turns else {}
    if isinstance(last, dict) and last.get("role") == role and "pieces" in last:
        last["pieces"].append(words)
    else:
        turns.append({"role": role, "pieces": [words]})


dialect = Dialect(
    name="tau2",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=(
        *conversation.CODES,
        *declarations.CODES,
        *declared_schemas.CODES,
        *record_keys.CODES,
        *(code for code in toolalpaca.CODES if code.name == "run_skipped"),
        *CODES,
    ),
    ignores=IGNORES,
)
