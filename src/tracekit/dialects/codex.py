"""Dialect `codex`: rollouts of the Codex CLI, a file at a time.

    {"timestamp": "…", "type": "session_meta", "payload": {"id": "s1", "cwd": "/tmp/a", …}}
    {"timestamp": "…", "type": "response_item", "payload": {"type": "message", "role": "user", …}}
    {"timestamp": "…", "type": "event_msg", "payload": {"type": "user_message", "message": "hi"}}

Older rollouts have a header `{"id", "timestamp", "instructions"}` and then bare items between
`{"record_type": "state"}` lines.

What was decided:
- Items in a row are one assistant message until a result or a user speaks; reasoning, or text after
  text or calls, begins a new one, so that the order of what was said stays.
- A rollout that was forked or resumed begins with its own `session_meta` and copies the lines of
  its parent; the first header counts, and the parent is `parent_id`.
- `event_msg` lines repeat what `response_item` lines say, for the screen: events. A log that has no
  items at all is read from them (`messages_from_events`).
- Summaries of reasoning are context, not targets. Withheld reasoning is `withheld`; its encrypted
  text goes nowhere.
- `base_instructions` is the system message. `instructions` of older headers are the user's
  (AGENTS.md), which stand in the first user message already: kept once.
- A compaction is a cut: what follows is a trace of its own that begins with the replacing history,
  where nothing is a target. `meta.continues` names the session.
- Turns that the user took back (`thread_rolled_back`) end a trace; what follows is another one,
  with the turns before them as its beginning (`branches`).
- Results keep their text as the model saw it; `{"output", "metadata"}` around it is taken off, and
  exit codes become `error`. What the client cut out of a result ("omitted … lines") the model did
  not see either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit.codes import Code
from tracekit.dialects import codex_items, session_log, session_tree
from tracekit.dialects.codex_lines import EVENT_KINDS, LINE_KINDS, as_message, fits, is_header
from tracekit.dialects.codex_log import HISTORY, Log
from tracekit.dialects.conversation import add_meta
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.dialects.session_log import text_of
from tracekit.errors import BadRecord

TAGS = (
    *("user_instructions", "environment_context", "turn_aborted", "INSTRUCTIONS"),
    *("permissions instructions", "collaboration_mode", "user_shell_command", "skill"),
    *("subagent_notification", "user_action", "model_switch", "personality_spec"),
)
"""Tags around text that Codex writes into the words of its user."""
_FROM_EVENTS = Code(
    name="messages_from_events",
    kind="repair",
    what="The log has no message lines; its messages were read from the events of the client.",
)
CODES = (
    *session_log.CODES,
    session_log.SUMMARY,
    session_log.SERVER_CALL,
    codex_items.WRAPPED,
    _FROM_EVENTS,
    HISTORY,
)
IGNORES = {
    "*.encrypted_content": "encrypted by the provider, readable by nobody else",
    "*.internal_chat_message_metadata_passthrough": "names of the provider's log",
    "*.id": "a name in the provider's log",
    "*.type": "a word of the format",
    "*.turn_id": "a name in the client's log",
    "*.timestamp": "a message keeps the time of its first line",
}


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Traces of one rollout: one, and one more after each compaction."""
    log = Log(notes, TAGS)
    lines = session_log.objects(records, notes)
    from_events = _only_events(lines)
    if from_events:
        notes.repair(_FROM_EVENTS.name)
    for record in lines:
        try:
            _read_line(record, log, from_events)
        except BadRecord as error:
            notes.reject(record, error.code, error.detail)
            log.talk.meta["refused_lines"] = log.talk.meta.get("refused_lines", 0) + 1
    return session_log.traces(log.settled(options.get("branches") == "latest"), notes)


def _only_events(lines: list[Record]) -> bool:
    kinds = set()
    for record in lines:
        payload = record.value.get("payload")
        if not isinstance(payload, dict):
            return False
        if record.value.get("type") == "response_item":
            return False
        if record.value.get("type") == "event_msg":
            kinds.add(payload.get("type") if isinstance(payload.get("type"), str) else "")
    return "agent_message" in kinds


def _read_line(record: Record, log: Log, from_events: bool) -> None:
    value = record.value
    kind, payload = value.get("type"), value.get("payload")
    if not isinstance(payload, dict):
        _read_flat(record, log)
    elif kind == "response_item":
        _read_item(record, payload, log)
    elif kind == "session_meta":
        _read_header(record, payload, log)
    elif kind == "event_msg":
        _read_event(record, payload, log, from_events)
    elif kind == "compacted":
        log.cut(record, payload, _history(record, payload))
    elif isinstance(kind, str):
        if kind == "turn_context":
            log.model = text_of(payload, "model") or log.model
        log.talk.skip(record, LINE_KINDS.get(kind, session_log.UNKNOWN), kind, log.notes)
    else:
        raise BadRecord("no_event_type", f"type {kind!r:.60}")


def _read_flat(record: Record, log: Log) -> None:
    value = record.value
    if value.get("record_type") == "state":
        log.talk.skip(record, session_log.STATE, "state", log.notes)
    elif is_header(value):
        _read_header(record, value, log, flat=True)
    elif value.get("type") == "FileChange":
        log.talk.skip(record, session_log.CHANGE, "FileChange", log.notes)
    else:
        _read_item(record, value, log)
        result = value.get("result")
        if value.get("type") == "FunctionCall" and result is not None:
            log.reply = None
            answer = codex_items.read_result({"result": result}, record.row, log.notes)
            ok = result.get("ok") if isinstance(result, dict) else None
            if isinstance(ok, bool):
                answer["error"] = not ok
            log.talk.messages.append(answer)


def _read_header(record: Record, header: dict[str, Any], log: Log, flat: bool = False) -> None:
    if log.headers:
        log.talk.skip(record, session_log.HEADER, "session_meta", log.notes)
        return
    log.headers.append(record)
    rest = {k: v for k, v in header.items() if v is not None and k not in ("id", "session_id")}
    fields, meta = log.talk.fields, log.talk.meta
    session = text_of(header, "id", "session_id")
    if session is not None:
        fields["session_id"] = fields["source_id"] = session
    source = header.get("source")
    spawn = source.get("subagent") if isinstance(source, dict) else None
    spawn = spawn.get("thread_spawn") if isinstance(spawn, dict) else None
    parent = text_of(header, "forked_from_id", "parent_thread_id")
    parent = parent or text_of(spawn, "parent_thread_id")
    if parent is not None:
        fields["parent_id"] = parent
    if flat:
        month = (text_of(header, "timestamp") or "")[:7]
        meta["harness"] = f"codex (flat, {month})" if month else "codex (flat)"
    else:
        version = text_of(header, "cli_version")
        meta["harness"] = "codex" if version is None else f"codex {version}"
    base = rest.pop("base_instructions", None)
    system = base if isinstance(base, str) else text_of(base, "text")
    if system:
        log.set_system(system)
        if isinstance(base, dict) and len(base) > 1:
            rest["base_instructions"] = {k: v for k, v in base.items() if k != "text"}
    else:
        meta["system"] = "not_recorded"
    for name in ("cwd", "instructions"):
        if isinstance(rest.get(name), str) and rest[name]:
            meta[name] = rest.pop(name)
    meta["session_meta"] = rest


def _read_item(record: Record, item: dict[str, Any], log: Log) -> None:
    kind, notes, k = codex_items.kind_of(item), log.notes, record.row
    value = record.value
    if kind == "message":
        message = codex_items.read_message(item, k, notes)
        if message["role"] != "assistant":
            session_log.keep_time(value, message)
            _mark_injected(message)
            log.say(record, message)
            return
        held = log.reply is not None and ("content" in log.reply or "tool_calls" in log.reply)
        reply = log.open_reply(record, value, fresh=held)
        _merge(reply, message)
    elif kind == "reasoning":
        held = log.reply is not None and len(log.reply.keys() - {"role", "meta"}) > 0
        message = {"role": "assistant"}
        codex_items.add_reasoning(item, message, notes)
        _merge(log.open_reply(record, value, fresh=held), message)
    elif kind in codex_items.CALLS:
        held_calls: dict[str, Any] = {"role": "assistant"}
        codex_items.add_call(item, kind, k, held_calls, notes)
        reply = log.open_reply(record, value, fresh=False)
        _add_calls(reply, held_calls)
    elif kind in codex_items.RESULTS:
        message = codex_items.read_result(item, k, notes)
        session_log.keep_time(value, message)
        log.say(record, message)
    elif kind == "agent_message":
        message = codex_items.read_agent_message(item, k, notes)
        session_log.keep_time(value, message)
        log.say(record, message)
    elif kind == "ghost_snapshot":
        log.talk.skip(record, session_log.CHANGE, kind, notes)
    elif kind in ("compaction", "compaction_summary", "context_compaction"):
        log.talk.skip(record, session_log.COMPACTION, kind, notes)
    elif kind:
        log.talk.skip(record, session_log.UNKNOWN, kind, notes)
    else:
        raise BadRecord("no_event_type", f"line {k}: an item without type and role")


def _merge(reply: dict[str, Any], message: dict[str, Any]) -> None:
    for key, v in message.items():
        if key == "meta":
            for name, inner in v.items():
                add_meta(reply, name, inner)
        else:
            reply[key] = v


def _add_calls(reply: dict[str, Any], message: dict[str, Any]) -> None:
    """Adds calls to a reply, with their flags where one of them is no target."""
    before = len(reply.get("tool_calls", ()))
    added = message.pop("tool_calls")
    train = message.pop("train", None)
    held = reply.get("train")
    if train is not None or (held is not None and held["calls"] is not None):
        held = held or {"reasoning": True, "content": True, "calls": None}
        old = held["calls"] if held["calls"] is not None else [True] * before
        new = train["calls"] if train is not None else [True] * len(added)
        reply["train"] = {**held, "calls": [*old, *new]}
    reply.setdefault("tool_calls", []).extend(added)
    files = message.pop("attachments", None)
    if files:
        reply.setdefault("attachments", []).extend(files)
    _merge(reply, message)


def _mark_injected(message: dict[str, Any]) -> None:
    """A user message that holds nothing but what the client wrote says so."""
    text = (message.get("content") or "").strip()
    if message["role"] == "user" and text.startswith(("<", "# AGENTS.md instructions")):
        found = session_log.spans(text, TAGS)
        if found and found[-1][1] == len(text) and (found[0][0] == 0 or text[0] == "#"):
            add_meta(message, "injected", True)


def _read_event(record: Record, payload: dict[str, Any], log: Log, from_events: bool) -> None:
    kind = payload.get("type")
    if not isinstance(kind, str):
        raise BadRecord("no_event_type", f"event_msg of type {kind!r:.60}")
    message = as_message(payload, log.notes) if from_events else None
    if message is not None:
        session_log.keep_time(record.value, message)
        if message["role"] == "user":
            log.say(record, message)
        else:
            held = log.reply is not None and ("content" in log.reply or "reasoning" in message)
            _merge(log.open_reply(record, record.value, fresh=held), message)
        return
    if kind == "turn_aborted":
        session_log.interrupt(log.talk.messages, log.notes)
        log.reply = None
    if kind == "thread_rolled_back" and isinstance(payload.get("num_turns"), int):
        log.take_back(payload["num_turns"])
    log.talk.skip(record, EVENT_KINDS.get(kind, session_log.UNKNOWN), kind, log.notes)


def _history(record: Record, payload: dict[str, Any]) -> list[dict[str, Any]]:
    """Messages of the history that replaces a compacted one; what cannot be read is meta."""
    given = payload.get("replacement_history")
    scratch = Log(Notes(), TAGS)
    for item in given if isinstance(given, list) else ():
        if isinstance(item, dict):
            try:
                _read_item(Record(record.file, record.row, item), item, scratch)
            except BadRecord:
                scratch.talk.messages.append({"role": "user", "meta": {"unread": item}})
    return scratch.talk.messages


dialect = Dialect(
    name="codex",
    version=1,
    unit="file",
    fits=fits,
    read=read,
    codes=CODES,
    events=(*session_log.EVENTS, *session_log.ABANDONED),
    ignores=IGNORES,
    options=(session_tree.BRANCHES,),
)
