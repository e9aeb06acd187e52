r"""Dialect `atif`: trajectories of Harbor (ATIF v1.x), a run as a list of steps.

    {"schema_version": "ATIF-v1.5", "session_id": "s1",
     "agent": {"name": "terminus-2", "version": "2.0.0", "model_name": "openai/gpt-4o",
               "tool_definitions": [...], "extra": {"parent_session_id": "s0"}},
     "steps": [{"step_id": 1, "source": "user", "message": "Make hello.txt."},
               {"step_id": 2, "source": "agent", "message": "Analysis: ...",
                "reasoning_content": "...", "is_copied_context": false,
                "tool_calls": [{"tool_call_id": "c1", "function_name": "bash_command",
                                "arguments": {"keystrokes": "ls\n"}}],
                "observation": {"results": [{"source_call_id": "c1", "content": "a.py"}]},
                "metrics": {"prompt_tokens": 682, "completion_token_ids": [...]}}],
     "final_metrics": {...}, "continued_trajectory_ref": "...cont-1.json"}

Decided here:

- A result without `source_call_id` belongs to its step: one a call, in order, or else the one
  screen after all calls, which answers the last of them. In a step without calls it is a user turn,
  the environment's words, as the next prompt had them.
- A step with `is_copied_context` is context that another file holds as its own: weight 0.
- A summary that replaces the history (a system step that names sub-agents, with steps after it) is
  a cut: what stood before is one trace, what follows another, with `meta.continues`. The step
  itself was no message of the model and stands in `meta.compaction`.
- Look-ups of OpenHands, which its converter writes as system steps, were never shown to the model:
  `meta.events`.
- Runs of sub-agents name their parent: `parent_id`. Files of one run are joined by `session_id`.
- Calls as text (OpenHands without function calling) are lifted where the prompt prints functions.
  Harbor itself lifted those of Terminus; what asks for them as JSON is cut out of the prompt too.
- Token ids and log probabilities of a step say the same text again, as the sampler saw it: left
  out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit.codes import Code
from tracekit.dialects import (
    agent_text,
    content_parts,
    conversation,
    declarations,
    function_prompt,
    openai_message,
    record_keys,
)
from tracekit.dialects.conversation import add_meta, arguments_text
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.errors import BadRecord

_ROLES = {"system": "system", "user": "user", "agent": "assistant"}
_READ = frozenset(
    (
        *("step_id", "source", "message", "reasoning_content", "tool_calls", "observation"),
        *("is_copied_context", "model_name", "metrics"),
    )
)
_LOOKUPS = ("Retrieving content for:", "Added workspace context", "Added microagent knowledge")
_LEFT_OUT = ("prompt_token_ids", "completion_token_ids", "logprobs")
_USED = {"schema_version", "session_id", "agent", "steps", "trajectory_id"}
_KNOWN = ("final_metrics", "continued_trajectory_ref", "notes", "extra", "subagent_trajectories")

CODES = (
    agent_text.TOO_MANY,
    Code(
        name="copied_context_not_trained",
        kind="repair",
        what="The source says that a reply was copied from another trajectory as context; it has "
        "weight 0.",
        why="The other trajectory trains it.",
    ),
)


def fits(value: Any) -> str:
    """Evidence that a record is an ATIF trajectory.

    >>> fits({"schema_version": "ATIF-v1.5", "steps": [{"step_id": 1, "source": "user"}]})
    'ATIF-v1.5'
    """
    if not isinstance(value, dict) or not isinstance(value.get("steps"), list):
        return ""
    version = value.get("schema_version")
    return version[:20] if isinstance(version, str) and version.startswith("ATIF") else ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Traces of one trajectory: one, and one more for each summary that replaced its history."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    steps = value.get("steps")
    if not isinstance(steps, list):
        raise BadRecord("no_messages", f"steps is {type(steps).__name__}")
    agent = value.get("agent")
    agent = agent if isinstance(agent, dict) else {}
    tools = declarations.read_tools(agent.get("tool_definitions"))
    shared = _meta(value, agent, notes)
    cuts: list[list[dict[str, Any]]] = [[]]
    views: list[list[dict[str, Any]]] = [[]]
    for k, step in enumerate(steps):
        if not isinstance(step, dict):
            raise conversation.refuse_message(step, k)
        if _is_lookup(step, agent):
            shared[1].setdefault("events", []).append(step)
        elif _is_compaction(step):
            cuts[-1].append({key: v for key, v in step.items() if key != "source"})
            if _assistant(views[-1]):
                views.append([])
                cuts.append([])
        else:
            views[-1].extend(_messages(step, k, notes))
    if len(views) > 1 and not _assistant(views[-1]):
        views[-2].extend(views.pop())
    agent_text.check_number(len(views))
    traces = []
    for k, messages in enumerate(views):
        fields, meta = dict(shared[0]), dict(shared[1])
        if cuts[k]:
            meta["compaction"] = cuts[k]  # what the history of this trace was replaced by
        if k > 0:
            meta["continues"] = k
        traces.append(_trace(messages, tools, fields, meta, notes, options))
    return traces


def _trace(
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None,
    fields: dict[str, Any],
    meta: dict[str, Any],
    notes: Notes,
    options: Mapping[str, str],
) -> dict[str, Any]:
    if options.get("calls") != "as_text" and agent_text.asked_for(messages) == "functions":
        tools = function_prompt.lift(messages, tools, meta, notes)
    elif options.get("calls") != "as_text" and any("tool_calls" in m for m in messages):
        agent_text.cut_instructions(messages, meta, notes)
    _set_model(messages, fields)
    conversation.finish(messages, notes, meta)
    return record_keys.trace(messages, tools, fields, meta, notes)


def _assistant(messages: list[dict[str, Any]]) -> bool:
    return any(message["role"] == "assistant" for message in messages)


def _is_lookup(step: dict[str, Any], agent: dict[str, Any]) -> bool:
    """Is a step a look-up of OpenHands (recall), which the model is not shown?"""
    text = step.get("message")
    return (
        agent.get("name") == "openhands"
        and step.get("source") == "system"
        and isinstance(text, str)
        and text.startswith(_LOOKUPS)
    )


def _is_compaction(step: dict[str, Any]) -> bool:
    if step.get("source") != "system":
        return False
    observation = step.get("observation")
    results = observation.get("results") if isinstance(observation, dict) else None
    return isinstance(results, list) and any(
        isinstance(result, dict) and result.get("subagent_trajectory_ref") for result in results
    )


def _messages(step: dict[str, Any], k: int, notes: Notes) -> list[dict[str, Any]]:
    """The message of a step and those of its observation."""
    role = _ROLES.get(step["source"]) if isinstance(step.get("source"), str) else None
    if role is None:
        raise BadRecord("unknown_role", f"steps[{k}] has the source {step.get('source')!r:.60}")
    message: dict[str, Any] = {"role": role}
    _set_text(message, step.get("message"), f"steps[{k}].message")
    thought = step.get("reasoning_content")
    if isinstance(thought, str) and role == "assistant":
        openai_message.add_reasoning(message, thought, "reasoning_content", notes)
    elif thought is not None:
        add_meta(message, "reasoning_content", thought)
    calls = step.get("tool_calls")
    if calls:
        if not isinstance(calls, list) or role != "assistant":
            raise BadRecord("bad_tool_call", f"steps[{k}].tool_calls is {type(calls).__name__}")
        message["tool_calls"] = [_call(call, k, message, notes) for call in calls]
    if role == "assistant" and isinstance(step.get("model_name"), str):
        add_meta(message, "model", step["model_name"])
    metrics = step.get("metrics")
    if isinstance(metrics, dict):
        metrics = {key: v for key, v in metrics.items() if key not in _LEFT_OUT and v is not None}
    if metrics:
        add_meta(message, "metrics", metrics)
    copied = step.get("is_copied_context")
    if copied is True:
        if role == "assistant":
            message["weight"] = 0.0
            notes.repair("copied_context_not_trained")
        add_meta(message, "is_copied_context", True)
    agent_text.keep_rest(message, {key: v for key, v in step.items() if key not in _READ})
    return [message, *_results(step.get("observation"), message, k)]


def _set_text(message: dict[str, Any], value: Any, where: str) -> None:
    if isinstance(value, str):
        text: str | None = value or None
    elif value is None:
        text = None
    elif isinstance(value, list) and all(
        isinstance(part, dict) and content_parts.is_part(part) for part in value
    ):
        text = content_parts.read_parts(value, 0, message)
    else:
        raise BadRecord("content_not_text", f"{where} is {type(value).__name__}")
    if text is not None:
        message["content"] = text


def _call(call: Any, k: int, message: dict[str, Any], notes: Notes) -> dict[str, Any]:
    name = call.get("function_name") if isinstance(call, dict) else None
    if not isinstance(name, str) or not name:
        raise BadRecord("bad_tool_call", f"steps[{k}] has a call without a name")
    call_id = call.get("tool_call_id")
    known = ("tool_call_id", "function_name", "arguments")
    rest = {key: v for key, v in call.items() if key not in known}
    if rest:
        agent_text.keep_rest(message, {"calls": rest})
    return {
        "id": call_id if isinstance(call_id, str) else "",
        "name": name,
        "arguments": arguments_text(call.get("arguments"), notes),
    }


def _results(observation: Any, message: dict[str, Any], k: int) -> list[dict[str, Any]]:
    if observation is None:
        return []
    results = observation.get("results") if isinstance(observation, dict) else None
    if not isinstance(results, list):
        add_meta(message, "observation", observation)
        return []
    calls = message.get("tool_calls", [])
    found: list[dict[str, Any]] = []
    for n, result in enumerate(results):
        if not isinstance(result, dict):
            raise BadRecord("content_not_text", f"steps[{k}] has a result that is no object")
        answer: dict[str, Any] = {"role": "tool" if calls else "user"}
        _set_text(answer, result.get("content"), f"steps[{k}].observation.results[{n}]")
        call_id = result.get("source_call_id")
        if calls:
            if not isinstance(call_id, str):
                call_id = calls[n if len(results) == len(calls) else -1]["id"]
            if call_id:
                answer["tool_call_id"] = call_id
        else:
            add_meta(answer, "from", "environment")
        rest = {key: v for key, v in result.items() if key not in ("content", "source_call_id")}
        agent_text.keep_rest(answer, rest)
        found.append(answer)
    return found


def _meta(
    value: dict[str, Any], agent: dict[str, Any], notes: Notes
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fields and meta that all traces of the trajectory share."""
    fields, meta = agent_text.describe(value, _USED, _KNOWN, notes)
    if isinstance(value.get("session_id"), str) and value["session_id"]:
        fields["session_id"] = value["session_id"]
    if isinstance(value.get("trajectory_id"), str) and value["trajectory_id"]:
        fields["source_id"] = value["trajectory_id"]
    meta["schema_version"] = value.get("schema_version")
    name, version = agent.get("name"), agent.get("version")
    if isinstance(name, str):
        meta["harness"] = f"{name} {version}" if isinstance(version, str) else name
    if isinstance(agent.get("model_name"), str):
        fields["model"] = agent["model_name"]
    used = ("name", "version", "model_name", "tool_definitions")
    rest = {key: v for key, v in agent.items() if key not in used and v is not None}
    if rest:
        meta["agent"] = rest
        extra = rest.get("extra")
        parent = extra.get("parent_session_id") if isinstance(extra, dict) else None
        if isinstance(parent, str) and parent:
            fields["parent_id"] = parent
    if value.get("agent") is not None and not isinstance(value["agent"], dict):
        meta["agent"] = value["agent"]
    return fields, meta


def _set_model(messages: list[dict[str, Any]], fields: dict[str, Any]) -> None:
    """The model of the trace; a reply of another one keeps its own."""
    for message in messages:
        meta = message.get("meta") or {}
        if "model" in meta and meta["model"] == fields.setdefault("model", meta["model"]):
            del meta["model"]


dialect = Dialect(
    name="atif",
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
        *CODES,
    ),
    options=(agent_text.CALLS,),
)
