"""Dialect `inspect_log`: logs of Inspect AI, as `.json` and as `.eval` archives; a trace a sample.

A log is one document, or the members of an archive, each as `{"member": name, "value": ...}`:

    {"version": 2, "status": "success", "eval": {"task": "sums", "model": "openai/small"},
     "plan": {"steps": [{"solver": "generate"}]}, "samples": [{"id": 1, "epoch": 1,
     "input": "3+4?", "target": "7", "messages": [
       {"role": "user", "content": "3+4?", "source": "input"},
       {"role": "assistant", "content": "7", "source": "generate"}],
     "output": {"model": "small", "choices": [{"stop_reason": "stop"}]},
     "scores": {"match": {"value": "C", "answer": "7"}}, "events": [], "attachments": {}}]}

Decided here: a log of any status gives its whole samples (a cancelled run still has some). What
the log as a whole says (`eval`, `plan`) stands in the meta of its first trace, its ids in all.
Calls of a model that are no message of the sample (a judge's, a sub-agent's) are in
`meta.side_calls`, of growing ones the longest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import conversation, declarations, inspect_sample, openai_message
from tracekit.dialects.dialect import Dialect, Notes, Option, Record
from tracekit.errors import BadRecord

CODES = (
    *conversation.CODES,
    *openai_message.CODES,
    *declarations.CODES,
    *inspect_sample.CODES,
    Code(
        name="no_samples",
        kind="reject",
        what="The log holds no sample: its run was cancelled or failed before the first one ended.",
    ),
    Code(
        name="unknown_member",
        kind="reject",
        what="A member of the archive is none that its dialect knows.",
    ),
    Code(
        name="sample_left_out",
        kind="repair",
        what="A sample became no trace while others of its record did; the counter "
        "`sample_left_out:<code>` says why.",
    ),
)

EVENTS = (
    Code(
        name="log_header",
        kind="event",
        what="The header of an archive none of whose samples became a trace.",
    ),
    Code(
        name="log_journal",
        kind="event",
        what="A member of an archive that repeats what header and samples say: the journal, "
        "summaries and reductions.",
    ),
)

IGNORES = {
    "*.member": "the name of a file in the archive",
    "*.events": "steps of the harness: its tools, times, side calls, inputs, errors and unknown "
    "events are kept; the rest repeats messages, scores and store, or is the traffic of tools with "
    "their sandbox, whose results the tool messages give",
    "*.transcript": "the same in logs of version 1",
    "*.attachments": "long texts of messages and events, put back where they are named",
    "*.message_pool": "messages of events; kept where a side call names them",
    "*.call_pool": "raw requests of the events",
    "*.results": "sums over the samples",
    "*.stats": "sums over the samples",
    "*.reductions": "sums over the epochs",
    "*.output": "repeats the last message; where it does not, it is kept",
    "*.signature": "signature of a reasoning block, readable by the provider only",
    "*.image": "bytes of an image; its hash is kept",
    "*.view": "how the harness shows a call",
}

_JOURNAL = ("_journal/", "summaries.json", "reductions.json")


def _is_header(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("eval"), dict)
        and isinstance(value["eval"].get("task"), str)
        and "plan" in value
    )


def _member(value: Any) -> str | None:
    """Name of the member that a record of an archive is, where it is one of such a log."""
    if isinstance(value, dict) and isinstance(value.get("member"), str) and "value" in value:
        return str(value["member"])
    return None


def fits(value: Any) -> str:
    """Evidence that a record is a log, or the member of one.

    >>> fits({"member": "samples/1_epoch_1.json", "value": {"id": 1, "epoch": 1, "messages": []}})
    'a sample of an Inspect archive'
    """
    name = _member(value)
    if name is None:
        if _is_header(value) and ("samples" in value or "status" in value):
            return "an Inspect log with eval and plan"
        return ""
    held = value["value"]
    if name.startswith("samples/"):
        sample = isinstance(held, dict) and "epoch" in held and "messages" in held
        return "a sample of an Inspect archive" if sample else ""
    if name == "header.json" or name.startswith("_journal/"):
        ours = _is_header(held) or name.startswith("_journal/summaries")
        return "a header of an Inspect archive" if ours else ""
    return "a summary of an Inspect archive" if name.endswith(_JOURNAL[1:]) else ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Traces of one file: of a log, or of the members of an archive."""
    traces: list[dict[str, Any]] = []
    members = [record for record in records if _member(record.value) is not None]
    for record in records:
        if _member(record.value) is None:
            traces.extend(_document(record, records, notes, options))
    return [*_archive(members, notes, options), *traces] if members else traces


def _archive(
    members: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Traces of the members of one archive."""
    header, samples = _members(members, notes)
    described = _described(header.value["value"] if header else {})
    traces: list[dict[str, Any]] = []
    for record in samples:
        try:
            trace = inspect_sample.read(record.value["value"], described, notes, options)
        except BadRecord as error:
            notes.reject(record, error.code, error.detail)
            continue
        places = [(header.file, header.row)] if header else []
        trace["rows"] = [*places, (record.file, record.row)]
        traces.append(trace)
    if header is not None and not traces:
        if samples:
            notes.event(header, "log_header")
        else:
            notes.reject(header, "no_samples", _status(header.value["value"]))
    return _whole_log(traces, header.value["value"] if header else {})


def _status(log: Mapping[str, Any]) -> str:
    return f"status {log.get('status')!r:.40}"


def _members(records: Sequence[Record], notes: Notes) -> tuple[Record | None, list[Record]]:
    """The header (of a run that broke off: what its journal began with) and the samples."""
    header: Record | None = None
    samples: list[Record] = []
    journal: list[Record] = []
    for record in records:
        name = _member(record.value) or ""
        if name == "header.json" and header is None and _is_header(record.value["value"]):
            header = record
        elif name.startswith("samples/"):
            samples.append(record)
        elif name.startswith(_JOURNAL):
            journal.append(record)
        else:
            notes.reject(record, "unknown_member", name[:200])
    if header is None:
        started = (r for r in journal if _is_header(r.value["value"]))
        header = next(started, None)
    for record in journal:
        if record is not header:
            notes.event(record, "log_journal")
    return header, samples


def _document(
    record: Record, records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Traces of a log that is one document."""
    log = record.value
    try:
        if not isinstance(log, dict):
            raise BadRecord("not_an_object", f"the record is {type(log).__name__}")
        samples = log.get("samples")
        if not isinstance(samples, list) or not samples:
            raise BadRecord("no_samples", _status(log))
        described = _described(log)
        traces = []
        refused: list[BadRecord] = []
        for sample in samples:
            try:
                traces.append(inspect_sample.read(sample, described, notes, options))
            except BadRecord as error:
                refused.append(error)
        if not traces:
            raise refused[0]
    except BadRecord as error:
        if len(records) == 1:
            raise
        notes.reject(record, error.code, error.detail)
        return []
    for refusal in refused:
        notes.repair("sample_left_out")
        notes.count(f"sample_left_out:{refusal.code}")
    for trace in traces:
        trace["rows"] = [(record.file, record.row)]
    return _whole_log(traces, log)


def _described(log: Mapping[str, Any]) -> dict[str, Any]:
    """What each trace says of its log: task, model, ids, status."""
    about = log.get("eval")
    about = about if isinstance(about, dict) else {}
    keys = ("task", "task_id", "run_id", "eval_id", "model")
    found = {key: about[key] for key in keys if isinstance(about.get(key), str)}
    if isinstance(log.get("status"), str):
        found["status"] = log["status"]
    return found


def _whole_log(traces: list[dict[str, Any]], log: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The traces, the first one with what the log says as a whole.

    The ids of all samples of the data set are left out: each trace has its own.
    """
    if traces:
        whole = {k: log[k] for k in ("version", "plan", "error", "tags", "metadata") if log.get(k)}
        about = log.get("eval")
        if isinstance(about, dict):
            dataset = about.get("dataset")
            if isinstance(dataset, dict):
                named = {k: v for k, v in dataset.items() if k != "sample_ids"}
                about = {**about, "dataset": named}
            whole["eval"] = about
        whole |= {k: v for k, v in log.items() if k not in _LOG_KEYS and v is not None}
        meta = jsontext.parse(traces[0]["meta"].encode()) if traces[0].get("meta") else {}
        traces[0]["meta"] = jsontext.dump({**meta, "log": whole})
    return traces


_LOG_KEYS = frozenset(
    ("version", "status", "eval", "plan", "results", "stats", "error", "samples", "reductions")
)

CALLS = Option(
    name="calls",
    choices=("lift", "as_text"),
    what="Calls written as text (`<tool_call>`): made calls, or left in the content.",
)

dialect = Dialect(
    name="inspect_log",
    version=1,
    unit="file",
    fits=fits,
    read=read,
    codes=CODES,
    events=EVENTS,
    ignores=IGNORES,
    options=(CALLS,),
)
