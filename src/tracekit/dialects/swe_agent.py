r"""Dialect `swe_agent`: trajectories of SWE-agent (`.traj`): steps of the harness and the history.

    {"environment": "swe_main",
     "trajectory": [{"action": "ls\n", "observation": "a.py", "response": "Look.\n```\nls\n```",
                     "thought": "Look.\n", "execution_time": 0.2,
                     "state": "{\"open_file\": \"n/a\"}"}],
     "history": [{"role": "system", "content": "SETTING: ...", "agent": "primary"},
                 {"role": "user", "content": "Here is a demonstration ...", "is_demo": true},
                 {"role": "user", "content": "We're currently solving ..."},
                 {"role": "assistant", "content": "Look.\n```\nls\n```", "thought": "Look.\n",
                  "action": "ls\n"},
                 {"role": "user", "content": "a.py\n(Open file: n/a)\nbash-$"}],
     "info": {"exit_status": "submitted", "submission": "diff ...", "model_stats": {...}}}

Newer files call tools: `tool_calls` and a turn of role `tool` with a list `tool_call_ids`.

Decided here:

- The conversation is `history`, which the model saw; `trajectory` says the same by step. What only
  a step says (time, state, a text that differs) is in the meta of its reply. Where the history ends
  before the last step, the missing reply or result is taken from the step (`step_completed`).
- The thought is `content`, not reasoning: this model speaks before it acts; it has no hidden
  channel.
- Text variants: thought and action are two recorded fields, so the action is lifted to a call of
  `bash`. Function calls keep the name that they have.
- A demonstration is the same text in all runs of a configuration. `demos: drop` leaves it out; its
  hash and length stand in `meta.demonstrations`.
- `exit_status: submitted` says only that the run ended. A run without a token sent to a model (a
  replay, a human) has no model, whatever its configuration names.
- Old results that the harness hides from later prompts (`history_processor`) are whole here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import agent_text, conversation, openai_message, record_keys
from tracekit.dialects.conversation import add_meta
from tracekit.dialects.dialect import Dialect, Notes, Option, Record
from tracekit.errors import BadRecord

_STEP = frozenset(("action", "observation"))
_READ = frozenset(
    (
        *("role", "content", "agent", "message_type", "thought", "action", "is_demo"),
        *("tool_calls", "tool_call_ids", "thinking_blocks", "demo"),
    )
)
_SNAPSHOTS = ("messages", "query")
"""Keys of a step that hold the history up to it once more."""

CODES = (
    Code(
        name="demonstration_dropped",
        kind="repair",
        what="A demonstration in the prompt was left out; `meta.demonstrations` has its hash.",
        why="It is the same text in all traces of a configuration.",
        fix="Option `demos: keep` keeps it as the user turn that it was.",
    ),
    Code(
        name="step_completed",
        kind="repair",
        what="The history ends before the last step of the trajectory; the reply or the result "
        "that it lacks was taken from the step.",
    ),
)

IGNORES = {
    "*.history[].action": "the call as the harness spelled it for its shell; the call is kept",
    "*.history[].thinking_blocks[].signature": "signature of the provider",
    "*.history[].thinking_blocks[].data": "encrypted reasoning, readable by nobody",
    "*.trajectory": "the steps of `history` once more; what differs is kept in the meta",
}


def fits(value: Any) -> str:
    """Evidence that a record is a trajectory of SWE-agent.

    >>> fits({"history": [{"role": "system", "content": "SETTING", "agent": "main"}]})
    'history with role and agent'
    """
    if not isinstance(value, dict):
        return ""
    history = value.get("history")
    first = history[0] if isinstance(history, list) and history else None
    if not isinstance(first, dict) or not _is_text(first, "role") or "content" not in first:
        return ""
    steps = value.get("trajectory")
    if isinstance(steps, list) and steps and isinstance(steps[0], dict):
        return "history and trajectory of steps" if steps[0].keys() >= _STEP else ""
    return "history with role and agent" if "agent" in first and "question" not in value else ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The one trace of a trajectory."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    history = value.get("history")
    if not isinstance(history, list):
        raise BadRecord("no_messages", f"history is {type(history).__name__}")
    native = any(isinstance(turn, dict) and turn.get("tool_calls") for turn in history)
    lift = options.get("calls") != "as_text" and not native
    meta: dict[str, Any] = {}
    messages: list[dict[str, Any]] = []
    for k, turn in enumerate(history):
        if (
            isinstance(turn, dict)
            and turn.get("is_demo") is True
            and options.get("demos") != "keep"
        ):
            meta.setdefault("demonstrations", []).append(_hash(turn.get("content")))
            notes.repair("demonstration_dropped")
        else:
            messages.append(_message(turn, k, lift, notes))
    _add_steps(messages, value.get("trajectory"), meta, (native, lift), notes)
    if lift:
        agent_text.lift_observations(messages, notes)
        agent_text.cut_instructions(messages, meta, notes)
    agent_text.mark_refused_edits(messages, notes)
    agents = [m.pop("_agent", None) for m in messages]
    _set_agents(messages, agents, meta)
    trace, rest = _fields(value, notes)
    meta.update(rest)
    conversation.finish(messages, notes, meta)
    return [record_keys.trace(messages, None, trace, meta, notes)]


def _hash(content: Any) -> dict[str, Any]:
    text = content if isinstance(content, str) else jsontext.dump(content)
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
    return {"text": f"sha256:{digest}", "n_chars": len(text)}


def _message(turn: Any, k: int, lift: bool, notes: Notes) -> dict[str, Any]:
    """One turn of the history; `_agent` is for the caller."""
    if not isinstance(turn, dict):
        raise conversation.refuse_message(turn, k)
    plain = {key: turn[key] for key in ("role", "content", "tool_calls") if key in turn}
    ids = turn.get("tool_call_ids")
    if isinstance(ids, list) and ids:
        plain["tool_call_id"] = ids[0]
    message = openai_message.read_message(plain, k, notes, {"calls": "as_text"})
    if turn.get("agent") is not None:
        message["_agent"] = turn["agent"]
    if isinstance(ids, list) and len(ids) > 1:
        add_meta(message, "tool_call_ids", ids)
    rest = {key: v for key, v in turn.items() if key not in _READ}
    agent_text.keep_rest(message, rest)
    blocks = turn.get("thinking_blocks")
    if isinstance(blocks, list):
        texts = [b["thinking"] for b in blocks if isinstance(b, dict) and _is_text(b, "thinking")]
        if message["role"] == "assistant" and texts:
            openai_message.add_reasoning(message, "\n\n".join(texts), "thinking_blocks", notes)
        elif message["role"] == "assistant" and blocks and "reasoning" not in message:
            message["reasoning_kind"] = "withheld"
    if message["role"] == "assistant":
        _read_action(turn, message, lift, notes)
    return message


def _is_text(value: dict[str, Any], key: str) -> bool:
    return isinstance(value.get(key), str)


def _read_action(turn: dict[str, Any], message: dict[str, Any], lift: bool, notes: Notes) -> None:
    """Lifts the recorded action of a text variant; keeps a thought that says something else."""
    thought = turn["thought"] if _is_text(turn, "thought") else ""
    action = turn["action"] if _is_text(turn, "action") else ""
    content = message.get("content") or ""
    if "tool_calls" not in message:
        if lift and action.strip() and _is_all(content, thought, action):
            agent_text.lift_into(message, thought.rstrip(), action.strip("\r\n"), notes)
            return
        if action.strip() not in content:
            add_meta(message, "action", action)
    if thought.strip() not in content:
        add_meta(message, "thought", thought)


def _is_all(content: str, thought: str, action: str) -> bool:
    """Is a content nothing but thought and action, with markup between them?"""
    for piece in (thought.strip(), action.strip()):
        if piece not in content:
            return False
        content = content.replace(piece, "", 1)
    for mark in agent_text.BLOCKS:
        content = content.replace(mark, "")
    return not content.strip()


def _add_steps(
    messages: list[dict[str, Any]],
    steps: Any,
    meta: dict[str, Any],
    mode: tuple[bool, bool],
    notes: Notes,
) -> None:
    """Puts what only the steps say into the meta of their replies, and completes the end."""
    if not isinstance(steps, list) or not steps:
        return
    if not all(isinstance(step, dict) for step in steps):
        meta["trajectory"] = steps
        return
    native, lift = mode
    replies = [k for k, m in enumerate(messages) if m["role"] == "assistant"]
    for place, step in zip(replies, steps, strict=False):
        said = messages[place].get("content") or ""
        calls = messages[place].get("tool_calls") or [{"arguments": ""}]
        after = messages[place + 1] if place + 1 < len(messages) else {}
        seen = (after.get("content") or "") if after.get("role") != "assistant" else ""
        if place + 1 == len(messages):
            seen = _observation(step)  # becomes the result, below
        _keep_step(messages[place], step, said, calls, seen, native)
    if len(steps) > len(replies):
        for step in steps[len(replies) :]:
            messages.extend(_step_messages(step, native, lift, notes))
        notes.repair("step_completed")
    elif messages[-1]["role"] == "assistant" and len(steps) == len(replies):
        observation = _observation(steps[-1])
        if observation:
            role = "tool" if "tool_calls" in messages[-1] else "user"
            messages.append({"role": role, "content": observation, "meta": {"from": "trajectory"}})
            notes.repair("step_completed")


def _observation(step: dict[str, Any]) -> str:
    return step["observation"] if _is_text(step, "observation") else ""


def _keep_step(
    message: dict[str, Any],
    step: dict[str, Any],
    said: str,
    calls: list[dict[str, Any]],
    seen: str,
    native: bool,
) -> None:
    kept: dict[str, Any] = {}
    for key, v in step.items():
        if v is None or v in ("", [], {}) or key in _SNAPSHOTS:
            continue
        if isinstance(v, str) and key in ("thought", "response", "observation", "action"):
            text = v.strip()
            if key == "action" and native:
                continue
            if not text or text in said or text in seen:
                continue
            call = agent_text.parsed(calls[0]["arguments"])
            command = call.get("command") if isinstance(call, dict) else None
            if isinstance(command, str):
                if text == command.strip():
                    continue
                if key == "response" and text.startswith(said.strip()) and command.strip() in text:
                    continue
        kept[key] = v
    if kept:
        add_meta(message, "step", kept)


def _step_messages(
    step: dict[str, Any], native: bool, lift: bool, notes: Notes
) -> list[dict[str, Any]]:
    """Reply and result of a step that the history does not have."""
    response = step["response"] if _is_text(step, "response") else ""
    thought = step["thought"] if _is_text(step, "thought") else ""
    action = step["action"] if _is_text(step, "action") else ""
    reply: dict[str, Any] = {"role": "assistant", "meta": {"from": "trajectory"}}
    if response:
        reply["content"] = response
    if native:
        if action and action == action.split()[0]:  # a call without arguments is its name
            reply["tool_calls"] = [{"id": "", "name": action, "arguments": "{}"}]
        elif action:
            add_meta(reply, "action", action)
    elif lift and action.strip():
        agent_text.lift_into(reply, thought.rstrip(), action.strip("\r\n"), notes)
    rest = {
        k: v for k, v in step.items() if k not in ("response", "thought", "action", "observation")
    }
    for key in _SNAPSHOTS:
        rest.pop(key, None)
    if rest:
        add_meta(reply, "step", rest)
    if thought.strip() and thought.strip() not in (reply.get("content") or ""):
        add_meta(reply, "thought", thought)
    observation = _observation(step)
    if not observation:
        return [reply]
    role = "tool" if "tool_calls" in reply else "user"
    return [reply, {"role": role, "content": observation, "meta": {"from": "trajectory"}}]


def _set_agents(messages: list[dict[str, Any]], agents: list[Any], meta: dict[str, Any]) -> None:
    named = [agent for agent in agents if agent is not None]
    if not named:
        return
    if all(agent == named[0] for agent in named):
        meta["agent"] = named[0]
        return
    for message, agent in zip(messages, agents, strict=True):
        if agent is not None:
            add_meta(message, "agent", agent)


def _fields(value: dict[str, Any], notes: Notes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fields of the trace and meta that `info`, the configuration and the other keys give."""
    used = frozenset(("history", "trajectory", "info", "replay_config", "environment"))
    fields, meta = record_keys.describe(value, used, notes)
    if value.get("environment") is not None:
        meta["environment"] = value["environment"]
    info = value.get("info")
    sent: Any = None
    if isinstance(info, dict):
        info = {key: v for key, v in info.items() if v is not None and v != ""}
        status = info.pop("exit_status", None)
        if isinstance(status, str):
            outcome = {"value": jsontext.dump(status), "kind": "exit_status", "name": "exit_status"}
            fields.setdefault("outcomes", []).append(outcome)
        elif status is not None:
            info["exit_status"] = status
        if "submission" in info:
            meta["submission"] = info.pop("submission")
        stats = info.get("model_stats")
        sent = stats.get("tokens_sent") if isinstance(stats, dict) else None
        if info:
            meta["info"] = info
    elif info is not None:
        meta["info"] = info
    config = value.get("replay_config")
    if isinstance(config, str):
        parsed = agent_text.parsed(config)
        config = config if parsed is None else parsed
    if config is not None:
        meta["replay_config"] = config
    if isinstance(config, dict):
        task = _inside(config, "problem_statement", "id")
        if isinstance(task, str) and task:
            fields.setdefault("task_key", task)
        model = _inside(config, "agent", "model", "name")
        if isinstance(model, str) and isinstance(sent, (int, float)) and sent > 0:
            fields.setdefault("model", model)
    return fields, meta


def _inside(value: Any, *path: str) -> Any:
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


dialect = Dialect(
    name="swe_agent",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=(
        *conversation.CODES,
        *openai_message.CODES,
        *record_keys.CODES,
        *agent_text.OWN_CODES,
        *CODES,
    ),
    ignores=IGNORES,
    options=(
        agent_text.CALLS,
        Option(
            name="demos",
            choices=("drop", "keep"),
            what="Demonstrations in the prompt: left out with a count, or kept as user turns.",
        ),
    ),
)
