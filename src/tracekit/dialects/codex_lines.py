"""Lines of a Codex rollout: how one is recognised, and what kind of event each other one is."""

from __future__ import annotations

from typing import Any

from tracekit.dialects import session_log
from tracekit.dialects.dialect import Notes
from tracekit.dialects.session_log import (
    BORDER,
    CHANGE,
    COMPACTION,
    NOTICE,
    REPEATED,
    STATE,
    TELEMETRY,
)

LINE_KINDS = {
    "turn_context": STATE,
    "world_state": STATE,
    "inter_agent_communication_metadata": STATE,
    "compacted": COMPACTION,
}
"""Kind of the lines that hold neither an item nor an event of the client."""

EVENT_KINDS = {
    **dict.fromkeys(
        (
            *("user_message", "agent_message", "agent_reasoning", "agent_reasoning_raw_content"),
            *("agent_reasoning_section_break", "item_completed", "raw_response_item"),
            *("agent_message_delta", "agent_reasoning_delta", "item_started", "plan_update"),
        ),
        REPEATED,
    ),
    **dict.fromkeys(
        ("token_count", "account/rateLimits/updated", "codex/event/raw_item", "turn.completed"),
        TELEMETRY,
    ),
    **dict.fromkeys(
        (
            *("task_started", "task_complete", "turn_started", "turn_complete", "turn_aborted"),
            *("exec_command_begin", "exec_command_end", "exec_command_output_delta"),
            *("mcp_tool_call_begin", "mcp_tool_call_end", "web_search_begin", "web_search_end"),
            *("patch_apply_begin", "image_generation_begin", "image_generation_end"),
            *("view_image_tool_call", "dynamic_tool_call_request", "dynamic_tool_call_response"),
            *("collab_agent_spawn_begin", "collab_agent_spawn_end", "collab_waiting_begin"),
            *("collab_waiting_end", "collab_close_begin", "collab_close_end"),
            *("collab_agent_interaction_begin", "collab_agent_interaction_end"),
            *("sub_agent_activity", "entered_review_mode", "exited_review_mode"),
            *("exec_approval_request", "apply_patch_approval_request", "shutdown_complete"),
        ),
        BORDER,
    ),
    **dict.fromkeys(("patch_apply_end", "turn_diff", "undo_started", "undo_completed"), CHANGE),
    **dict.fromkeys(
        (
            *("thread_settings_applied", "thread_goal_updated", "thread_name_updated"),
            *("session_configured", "thread_rolled_back"),
        ),
        STATE,
    ),
    **dict.fromkeys(
        (
            *("error", "warning", "stream_error", "background_event", "guardian_assessment"),
            *("deprecation_notice", "model_reroute"),
        ),
        NOTICE,
    ),
    "context_compacted": COMPACTION,
}
"""Kind of an `event_msg` by the type of its payload."""


_WRAPPED = frozenset(("session_meta", "response_item", "event_msg", *LINE_KINDS))


def fits(value: Any) -> str:
    """Evidence that a record is a line of a rollout.

    >>> fits({"type": "session_meta", "payload": {"id": "s1"}})
    'a session_meta line with payload'
    """
    if not isinstance(value, dict):
        return ""
    kind = value.get("type")
    if isinstance(value.get("payload"), dict):
        known = isinstance(kind, str) and kind in _WRAPPED
        return f"a {kind} line with payload" if known else ""
    if value.get("record_type") == "state" and len(value) == 1:
        return "a state line of a flat rollout"
    if is_header(value):
        return "the header of a flat rollout"
    if kind in ("Message", "FunctionCall", "FileChange") and "id" not in value:
        return f"a {kind} line of a flat rollout"
    return _fits_item(value, kind)


def is_header(value: dict[str, Any]) -> bool:
    """Is a line the header of a flat rollout?"""
    if not isinstance(value.get("id"), str) or "type" in value or "role" in value:
        return False
    return "timestamp" in value and "instructions" in value


def _fits_item(value: dict[str, Any], kind: Any) -> str:
    if isinstance(value.get("created_at"), str):
        if kind in ("function_call", "function_result"):
            return f"a {kind} line with created_at"
        if kind is None and isinstance(value.get("role"), str):
            return "a message line with created_at" if _says(value) else ""
        return ""
    if kind == "message" and isinstance(value.get("role"), str):
        content = value.get("content")
        parts = content if isinstance(content, list) else []
        types = [p.get("type") for p in parts if isinstance(p, dict)]
        found = "input_text" in types or "output_text" in types
        return "a message item with input_text or output_text" if found else ""
    if kind == "reasoning" and "status" not in value and isinstance(value.get("summary"), list):
        return "a reasoning item with summary"
    if kind == "function_call" and isinstance(value.get("call_id"), str) and "name" in value:
        return "a function_call item with call_id"
    if kind == "function_call_output" and isinstance(value.get("call_id"), str):
        return "a function_call_output item with call_id"
    return ""


def _says(value: dict[str, Any]) -> bool:
    return isinstance(value.get("message", value.get("content")), str)


def as_message(payload: dict[str, Any], notes: Notes) -> dict[str, Any] | None:
    """What an event says, as a message; None where nobody speaks in it.

    >>> as_message({"type": "agent_message", "message": "36"}, Notes())
    {'role': 'assistant', 'content': '36'}
    """
    kind = payload["type"]
    text = session_log.text_of(payload, "message", "text")
    if text is None:
        return None
    if kind == "user_message":
        return {"role": "user", "content": text}
    if kind == "agent_message":
        return {"role": "assistant", "content": text}
    message: dict[str, Any] = {"role": "assistant", "reasoning": text}
    if kind == "agent_reasoning":
        session_log.summarised(message, notes)
        return message
    if kind == "agent_reasoning_raw_content":
        message["reasoning_kind"] = "full"
        return message
    return None
