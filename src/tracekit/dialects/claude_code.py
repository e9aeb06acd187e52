"""Dialect `claude_code`: session logs of Claude Code, a session with its sub-agents at a time.

A session gives a trace for each path from a root of its graph to a leaf, and traces of their own
for its sub-agents. System prompt and tools are not in the log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import anthropic_blocks, claude_code_messages, conversation, session_log
from tracekit.dialects.claude_code_graph import (
    Chain,
    Line,
    Node,
    blocks,
    nodes_of,
    trajectories,
)
from tracekit.dialects.dialect import Dialect, Notes, Option, Record
from tracekit.errors import BadRecord

_EVENTS = {
    "ai-title": "A title that a model gave the session.",
    "agent-meta": "What kind of sub-agent a log beside it is of, in a file of its own.",
    "agent-name": "The name of the agent.",
    "atis-latch": "State of the client.",
    "attachment": "What the client attached: hooks, memory, lists of tools.",
    "bridge-session": "State of the client.",
    "custom-title": "A title that the user gave the session.",
    "file-history-snapshot": "A snapshot of files for undo.",
    "frame-link": "A link to a preview.",
    "last-prompt": "A copy of the last prompt.",
    "mode": "A change of mode.",
    "permission-mode": "A change of the permissions.",
    "pr-link": "A link to a pull request.",
    "progress": "Progress of a running tool or sub-agent.",
    "queue-operation": "A prompt was queued or taken; the prompt is a line of its own.",
    "relocated": "The session moved to another folder.",
    "result": "The end of a background agent.",
    "started": "The start of a background agent.",
    "summary": "A title of a session, of this or another file.",
    "system": "A note of the client: hooks, errors of the API, borders of compactions.",
    "worktree-state": "State of the client.",
}
_BRANCHES = "branches"

EVENTS = (
    *(Code(name=t.replace("-", "_"), kind="event", what=what) for t, what in _EVENTS.items()),
    *(code for code in session_log.EVENTS if code.name == session_log.UNKNOWN),
    *session_log.ABANDONED,
)
CODES = (
    session_log.NO_TYPE,
    session_log.PARENT_MISSING,
    session_log.INTERRUPTED,
    session_log.SYNTHETIC,
    Code(
        name="parent_cycle",
        kind="repair",
        what="Lines name each other as parent; the first of them became a root.",
    ),
    Code(
        name="call_refused_by_user",
        kind="repair",
        what="The user refused a call; it is no target (`train.calls`), the rest of it is.",
        why="The model would learn to make calls that its user does not want.",
    ),
)


def fits(value: Any) -> str:
    """Evidence that a record is a line of a session log.

    >>> fits({"type": "user", "uuid": "u1", "parentUuid": None, "message": {"content": "hi"}})
    'a user line with uuid and parentUuid'
    """
    if not isinstance(value, dict) or not _OTHER_LOGS.isdisjoint(value):
        return ""
    if "agentId" in value and "isSidechain" not in value and "message" in value:
        return ""
    if _is_agent_meta(value):
        return "the description of a sub-agent"
    kind = value.get("type")
    if kind == "system" and ("uuid" not in value or "message" in value):
        return ""
    if kind in ("user", "assistant"):
        if not _has_content(value):
            return ""
        if "parentUuid" in value or "uuid" in value:
            return f"{_with_article(kind)} line with uuid and parentUuid"
        return f"{_with_article(kind)} line with a message" if value.keys() & _LOG_KEYS else ""
    if (
        isinstance(kind, str)
        and kind in _EVENTS
        and ("sessionId" in value or "leafUuid" in value or "snapshot" in value or "uuid" in value)
    ):
        return "an event line of a session"
    return ""


def _with_article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


_LOG_KEYS = frozenset(("sessionId", "timestamp", "cwd"))
_OTHER_LOGS = frozenset(("payload", "agent", "agentSlug", "workspace", "systemPayload"))
"""Keys of logs whose lines are much like these."""
_AGENT_META = frozenset(("agentType", "spawnDepth", "description", "name", "model", "toolUseId"))


def _is_agent_meta(value: dict[str, Any]) -> bool:
    return isinstance(value.get("agentType"), str) and value.keys() <= _AGENT_META


def _has_content(value: dict[str, Any]) -> bool:
    message = value.get("message")
    return isinstance(message, dict) and "content" in message


def key(value: Any) -> str | None:
    """What the lines of one session share, also those of its sub-agents' files."""
    session = value.get("sessionId") if isinstance(value, dict) else None
    return session if isinstance(session, str) and session else None


def joins(value: Any) -> bool:
    """Does a line of another session go on from the line before it? A resumed session does."""
    return isinstance(value, dict) and bool(value.get("parentUuid"))


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Traces of one session; lines that are no message become events."""
    lines = _lines(records, notes)
    nodes = nodes_of(lines, notes)
    found = trajectories(nodes, options.get(_BRANCHES) == "latest")
    for node in found.unanswered:
        for record in node.records():
            notes.reject(record, "no_assistant_message", "nobody answers in this conversation")
    for kind, left in (("abandoned_prompt", found.prompts), ("abandoned_branch", found.branches)):
        for node in left:
            for record in node.records():
                notes.event(record, kind)
    callers = _callers(nodes)
    skipped = _skipped(lines)
    traces = []
    refused: dict[tuple[str, int], tuple[Record, BadRecord]] = {}
    kept: set[tuple[str, int]] = set()
    for path in found.paths:
        places = [(r.file, r.row) for node in path for r in node.records()]
        try:
            trace = _trace(path, callers, skipped, notes)
        except BadRecord as error:
            for node in path:
                for record in node.records():
                    refused[record.file, record.row] = (record, error)
            continue
        trace["rows"] = sorted(set(places))
        kept.update(places)
        traces.append(trace)
    for place, (record, reason) in refused.items():
        if place not in kept:
            notes.reject(record, reason.code, reason.detail)
    return traces


def _lines(records: Sequence[Record], notes: Notes) -> list[Line]:
    """Lines of a unit; what is no message is noted as event or reject."""
    lines = []
    for place, record in enumerate(records):
        value = record.value
        if not isinstance(value, dict):
            notes.reject(record, "not_an_object", f"the line is {type(value).__name__}")
            continue
        if _is_agent_meta(value):
            notes.event(record, "agent_meta")
            continue
        kind = value.get("type")
        is_message = kind in ("user", "assistant")
        if not isinstance(kind, str) or (is_message and not _has_content(value)):
            notes.reject(record, "no_event_type", f"type {kind!r:.60}")
            continue
        agent = value.get("agentId")
        side = value.get("isSidechain") is True
        chain: Chain = (side, agent if side and isinstance(agent, str) else "")
        lines.append(Line(record, place, chain, is_message))
        if not is_message:
            known = kind in _EVENTS
            notes.event(record, kind.replace("-", "_") if known else "unknown_event")
            if not known:
                notes.unknown(f"type:{kind:.60}")
    return lines


def _callers(nodes: list[Node]) -> dict[str, tuple[str, Node]]:
    """(call id, node) by the id of the sub-agent that the call started."""
    callers: dict[str, tuple[str, Node]] = {}
    for node in nodes:
        for line in node.results:
            agent = claude_code_messages.subagent_of(line)
            if agent is not None:
                for block in blocks(line):
                    if isinstance(block, dict) and isinstance(block.get("tool_use_id"), str):
                        callers.setdefault(agent, (block["tool_use_id"], node))
    return callers


def _skipped(lines: list[Line]) -> dict[Chain, dict[str, int]]:
    """Events by type, for each conversation; an event without a chain is of its file's first."""
    chain_of_file: dict[str, Chain] = {}
    for line in lines:
        if line.is_message:
            chain_of_file.setdefault(line.record.file, line.chain)
    skipped: dict[Chain, dict[str, int]] = {}
    for line in lines:
        if not line.is_message:
            chain = line.chain
            if "isSidechain" not in line.value:
                chain = chain_of_file.get(line.record.file, chain)
            counts = skipped.setdefault(chain, {})
            counts[line.value["type"]] = counts.get(line.value["type"], 0) + 1
    return skipped


def _trace(
    path: list[Node],
    callers: dict[str, tuple[str, Node]],
    skipped: dict[Chain, dict[str, int]],
    notes: Notes,
) -> dict[str, Any]:
    messages, meta = claude_code_messages.read_path(path, notes)
    first = path[0].first
    last = path[-1].first.value
    session = last.get("sessionId")
    session = session if isinstance(session, str) and session else None
    is_subagent, agent = first.chain
    trace: dict[str, Any] = {"messages": messages}
    version = next((n.first.value["version"] for n in path if "version" in n.first.value), None)
    meta["harness"] = "claude-code" if version is None else f"claude-code {version}"
    for name in ("cwd", "gitBranch"):
        if isinstance(first.value.get(name), str) and first.value[name]:
            meta[name] = first.value[name]
    meta["system"] = "not_recorded"
    if is_subagent:
        if agent:
            meta["agent"] = agent
            trace["session_id"] = trace["source_id"] = agent
        if session is not None:
            trace["parent_id"] = session
        call = callers.get(agent)
        link = path[0].link
        if call is not None:
            meta["parent_call"] = call[0]
        elif link is not None:
            started = [b["id"] for line in link.lines for b in blocks(line) if _is_task(b)]
            if len(started) == 1:
                meta["parent_call"] = started[0]
    elif session is not None:
        trace["session_id"] = trace["source_id"] = session
        if path[0].link is not None:
            trace["parent_id"] = session
            meta["continues"] = path[0].link.first.value.get("uuid")
        elif key(first.value) not in (None, session):
            trace["parent_id"] = key(first.value)  # a resumed session copies what it goes on from
    counts = skipped.pop(first.chain, None)
    if counts:
        meta["skipped_events"] = counts
    _set_model(trace, messages)
    trace["meta"] = jsontext.dump(meta)
    return trace


def _is_task(block: Any) -> bool:
    return (
        isinstance(block, dict)
        and block.get("name") in ("Task", "Agent")
        and isinstance(block.get("id"), str)
    )


def _set_model(trace: dict[str, Any], messages: list[dict[str, Any]]) -> None:
    """The model of most replies names the trace; a reply of another one keeps its own in meta."""
    counts: dict[str, int] = {}
    metas = [jsontext.parse(m["meta"].encode()) if m.get("meta") else {} for m in messages]
    for meta in metas:
        model = meta.get("model")
        if isinstance(model, str) and model != "<synthetic>":
            counts[model] = counts.get(model, 0) + 1
    if not counts:
        return
    trace["model"] = max(counts, key=lambda name: counts[name])
    for message, meta in zip(messages, metas, strict=True):
        if meta.get("model") == trace["model"]:
            del meta["model"]
            message["meta"] = jsontext.dump(meta) if meta else None


dialect = Dialect(
    name="claude_code",
    version=2,
    unit="session",
    fits=fits,
    read=read,
    key=key,
    joins=joins,
    codes=(*conversation.CODES, *anthropic_blocks.CODES, *CODES),
    events=EVENTS,
    ignores=claude_code_messages.IGNORES,
    options=(
        Option(
            name=_BRANCHES,
            choices=("all", "latest"),
            what="Paths of a forked session: a trace each, or only the one with the latest line.",
        ),
    ),
)
