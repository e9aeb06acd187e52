r"""Dialect `openhands_sdk`: event logs of the OpenHands SDK (v1), a file is one conversation.

    {"kind": "SystemPromptEvent", "source": "agent", "system_prompt": {"type": "text", ...},
     "tools": [...]}
    {"kind": "MessageEvent", "source": "user", "llm_message": {"role": "user", "content": [...]}}
    {"kind": "ActionEvent", "id": "a1", "source": "agent", "llm_response_id": "r1",
     "thought": [{"type": "text", "text": "<think>Look.</think>"}], "reasoning_content": "Look.",
     "tool_call": {"id": "c1", "name": "terminal", "arguments": "{\"command\": \"ls\"}"},
     "action": {"kind": "TerminalAction", "command": "ls"}}
    {"kind": "ObservationEvent", "action_id": "a1", "tool_call_id": "c1", "tool_name": "terminal",
     "observation": {"content": [{"type": "text", "text": "a.py"}], "is_error": false, ...}}

Decided here:

- Actions of one `llm_response_id` are parallel calls of one reply.
- Name and arguments are those of `tool_call`, as the model wrote them (`security_risk` and
  `summary` stay); `action` is what the harness made of them.
- `thought` repeats `reasoning_content` inside of think tags: one copy is kept.
- Signatures of thinking blocks and encrypted reasoning items never enter; a block without a text
  makes the reasoning `withheld`.
- A result whose action is not in the log is refused (`result_without_action`): the exporter sampled
  events. A log in which no user and no system speaks starts mid-session and is refused as a whole
  (`starts_mid_session`); changes of state are events all the same.
- A condensation ends a view: the messages before it are one trace, its summary and what follows are
  the next, with `meta.continues`; the summary is a user turn, never a target.
- `base_state.json`, the settings beside a log, holds no message and is an event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit.codes import Code
from tracekit.dialects import (
    agent_text,
    conversation,
    declarations,
    openai_message,
    openhands_sdk_messages,
    record_keys,
)
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.errors import BadRecord

_MESSAGES = ("SystemPromptEvent", "MessageEvent", "ActionEvent", "ObservationEvent")
_ERRORS = ("AgentErrorEvent", "UserRejectObservation")
_EVENTS = {
    "ConversationStateUpdateEvent": "sdk_state_update",
    "PauseEvent": "sdk_pause",
    "CondensationRequest": "sdk_condensation_request",
    "Condensation": "sdk_condensation",
    "ConversationErrorEvent": "sdk_conversation_error",
    "TokenEvent": "sdk_tokens",
    "LLMCompletionLogEvent": "sdk_completion_log",
}

EVENTS = (
    Code(name="sdk_state_update", kind="event", what="The conversation went to another state."),
    Code(name="sdk_pause", kind="event", what="The user paused the agent."),
    Code(
        name="sdk_condensation_request", kind="event", what="The agent asked for a shorter history."
    ),
    Code(
        name="sdk_condensation",
        kind="event",
        what="A part of the history was left out of the next prompts, with nothing in its place.",
    ),
    Code(name="sdk_conversation_error", kind="event", what="The conversation ended on an error."),
    Code(name="sdk_tokens", kind="event", what="Token ids of a prompt and a reply."),
    Code(name="sdk_completion_log", kind="event", what="A request and its answer, as a log."),
    Code(name="sdk_base_state", kind="event", what="The settings of a conversation."),
    Code(name="sdk_other_event", kind="event", what="An event of a kind that this release lacks."),
)

CODES = (
    agent_text.TOO_MANY,
    Code(
        name="starts_mid_session",
        kind="reject",
        what="Neither a user nor a system prompt speaks in the log: it starts mid-session.",
        why="A reply without what it answers teaches to answer nothing.",
        fix="Put the log that holds the first message into the same file.",
    ),
    Code(
        name="result_without_action",
        kind="reject",
        what="The result of an action that is not in the log.",
        why="The exporter left the action out; what the result answers is not known.",
    ),
)

IGNORES = {
    "action": "the call as the harness ran it; what the model wrote is in `tool_call`",
    "thought": "the reasoning inside of think tags once more; kept where it differs",
    "thinking_blocks[].signature": "signature of the provider",
    "responses_reasoning_item": "encrypted reasoning of the provider; its summary is kept",
    "id": "a name in the log",
    "*.timestamp": "kept in the meta of messages; of events that are no message it is not",
    "llm_response_id": "a name in the log: which actions are of one reply",
    "action_id": "a name in the log: what the result answers",
    "observation.command": "the command of the call once more",
}


def fits(value: Any) -> str:
    """Evidence that a record is an event of the SDK.

    >>> fits({"kind": "MessageEvent", "source": "user", "llm_message": {"role": "user"}})
    'a MessageEvent of the SDK'
    """
    if not isinstance(value, dict):
        return ""
    kind = value.get("kind")
    if isinstance(kind, str) and "source" in value:
        known = kind in _MESSAGES or kind in _ERRORS or kind in _EVENTS
        return f"a {kind} of the SDK" if known or kind == "CondensationSummaryEvent" else ""
    return "settings of a conversation of the SDK" if _is_state(value) else ""


def _is_state(value: dict[str, Any]) -> bool:
    agent = value.get("agent")
    return isinstance(agent, dict) and "llm" in agent and "execution_status" in value


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Traces of one log: one, and one more for each condensation with a summary."""
    views: list[list[tuple[Record, dict[str, Any]]]] = [[]]
    for record in records:
        value = record.value
        if not isinstance(value, dict):
            raise BadRecord("not_an_object", f"an event is {type(value).__name__}")
        kind = value.get("kind")
        if kind in _MESSAGES or kind in _ERRORS:
            views[-1].append((record, value))
        elif _summary(value) is not None:
            views.append([(record, value)])
        elif _is_state(value):
            notes.event(record, "sdk_base_state")
        else:
            name = _EVENTS.get(kind, "sdk_other_event") if isinstance(kind, str) else None
            notes.event(record, name or "sdk_other_event")
    agent_text.check_number(len(views))
    traces = []
    tools: list[dict[str, Any]] | None = None
    for k, view in enumerate(views):
        if not view:
            continue
        missing = _refused(view)
        if missing:
            for record, _ in view:
                notes.reject(record, "starts_mid_session", missing)
            continue
        trace, given = _trace(view, k > 0, tools, notes)
        tools = given if given is not None else tools
        if trace is not None:
            traces.append(trace)
    return traces


def _summary(value: dict[str, Any]) -> str | None:
    if value.get("kind") in ("Condensation", "CondensationSummaryEvent"):
        summary = value.get("summary")
        return summary if isinstance(summary, str) and summary else None
    return None


def _refused(view: list[tuple[Record, dict[str, Any]]]) -> str:
    """Why a log is refused as a whole, or "": nobody asks anything in it."""
    kinds = [value.get("kind") for _, value in view]
    if any(k in ("SystemPromptEvent", "Condensation", "CondensationSummaryEvent") for k in kinds):
        return ""
    if any(v.get("kind") == "MessageEvent" and v.get("source") != "agent" for _, v in view):
        return ""
    n_actions = sum(kind == "ActionEvent" for kind in kinds)
    n_results = sum(kind in ("ObservationEvent", *_ERRORS) for kind in kinds)
    return f"{n_actions} actions, {n_results} observations, no user message"


def _trace(
    view: list[tuple[Record, dict[str, Any]]],
    continued: bool,
    tools: list[dict[str, Any]] | None,
    notes: Notes,
) -> tuple[dict[str, Any] | None, list[dict[str, Any]] | None]:
    messages: list[dict[str, Any]] = []
    meta: dict[str, Any] = {"continues": True} if continued else {}
    rows = []
    replies: dict[str, dict[str, Any]] = {}
    called: set[str] = set()
    given = tools
    for record, value in view:
        kind = value.get("kind")
        if kind == "ActionEvent":
            openhands_sdk_messages.add_action(value, messages, replies, called, notes)
        elif kind == "ObservationEvent" or kind in _ERRORS:
            call_id = value.get("tool_call_id")
            if not isinstance(call_id, str) or call_id not in called:
                notes.reject(record, "result_without_action", f"call {call_id!r:.60}")
                continue
            messages.append(openhands_sdk_messages.result(value, call_id))
        elif kind == "SystemPromptEvent":
            messages.append(openhands_sdk_messages.system_prompt(value))
            if value.get("tools") is not None:
                given = openhands_sdk_messages.declared(value["tools"])
        elif kind == "MessageEvent":
            messages.append(openhands_sdk_messages.said(value, notes))
        else:
            messages.append({"role": "user", "content": _summary(value), "meta": {"summary": True}})
        rows.append((record.file, record.row))
    try:
        conversation.finish(messages, notes, meta)
    except BadRecord as error:
        if error.code != "no_assistant_message":
            raise
        kept = set(rows)
        for record, _ in view:
            if (record.file, record.row) in kept:
                notes.reject(record, error.code, error.detail)
        return None, given
    trace = record_keys.trace(messages, given, {}, meta, notes)
    trace["rows"] = rows
    return trace, given


dialect = Dialect(
    name="openhands_sdk",
    version=1,
    unit="file",
    fits=fits,
    read=read,
    codes=(
        *conversation.CODES,
        *openai_message.CODES,
        *declarations.CODES,
        *record_keys.CODES,
        *CODES,
    ),
    events=EVENTS,
    ignores=IGNORES,
)
