"""Dialect `openai_turns`: a file is one conversation, a record is one OpenAI message.

A run of mini-swe-agent that is saved so is read as `mini_swe_agent` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit.dialects import (
    agent_text,
    conversation,
    function_prompt,
    masks,
    mini_swe_agent,
    openai,
    record_keys,
)
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.dialects.openai_message import ROLES

_SAYS = frozenset(("content", "tool_calls", "function_call"))
_OTHER_SHAPES = frozenset(("type", "messages", "uuid", "sessionId", "choices", "stop_reason"))


def fits(value: Any) -> str:
    """Evidence that a record is one message.

    >>> fits({"role": "user", "content": "9*4?"})
    'a message with role'
    """
    role = value.get("role") if isinstance(value, dict) else None
    if not isinstance(role, str) or role not in ROLES:
        return ""
    says = not _SAYS.isdisjoint(value) and _OTHER_SHAPES.isdisjoint(value)
    if isinstance(value.get("created_at"), str):
        return ""  # a line of an early Codex log
    return "a message with role" if says and not openai.has_anthropic_blocks([value]) else ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The one trace of a file."""
    meta: dict[str, Any] = {}
    turns = [record.value for record in records]
    if agent_text.asked_for(turns) == "block":
        messages = mini_swe_agent.read_turns(turns, meta, notes, options)
    else:
        messages = openai.read_turns(turns, None, notes, options)
    conversation.finish(messages, notes, meta)
    trace = record_keys.trace(messages, None, {}, meta, notes)
    trace["rows"] = [(record.file, record.row) for record in records]
    return [trace]


dialect = Dialect(
    name="openai_turns",
    version=2,
    unit="file",
    fits=fits,
    read=read,
    codes=(*openai.CODES, *agent_text.OWN_CODES, *function_prompt.CODES),
    ignores={**openai.IGNORES, **mini_swe_agent.IGNORES},
    options=(openai.CALLS, masks.OPTION),
)
