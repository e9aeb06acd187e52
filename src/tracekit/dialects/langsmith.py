"""Dialect `langsmith`: runs of LangSmith, as batches on their way to the server or one by one.

    {"post": [{"id": "r1", "trace_id": "r1", "run_type": "llm", "name": "ChatOpenAI",
       "start_time": 1728803135809, "inputs": {"model": "small",
         "messages": [{"role": "user", "content": "9*4?"}]}}],
     "patch": [{"trace_id": "r1", "outputs": {"choices": [{"finish_reason": "stop",
         "message": {"role": "assistant", "content": "36"}}]}}]}

Decided here: a run is what `post` and `patch` say of one id; a patch without an id belongs to the
run of its trace. Where both give inputs, the later ones count. `feedback_stats` are no verdict on
a trace and stay in the meta.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tracekit.dialects import span_traces, span_units
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.dialects.span_calls import Span
from tracekit.dialects.span_units import Logged
from tracekit.errors import BadRecord

IGNORES = {
    "*.dotted_order": "times and ids of the run, in one text",
    "*.serialized": "the signature of the client's function",
    "*.events[].kwargs": "pieces of the reply as they came in",
    "*.events[].time": "when the pieces came in",
    "*.signature": "signature of the provider",
    "*.thoughtSignature": "signature of the provider",
    "*.encrypted_content": "encrypted by the provider, readable by nobody else",
}
_MODELS = frozenset(("llm", "chat", "chat_model"))
_SPEAKS = frozenset(("inputs", "outputs", "dotted_order", "serialized", "events", "child_runs"))


def _is_run(value: Any) -> bool:
    return isinstance(value, dict) and (
        "inputs" in value or "outputs" in value) and (
        "run_type" in value or ("trace_id" in value and "dotted_order" in value)
    )  # fmt: skip


def _is_batch(value: dict[str, Any]) -> bool:
    lists = [value[key] for key in ("post", "patch") if isinstance(value.get(key), list)]
    return any(lists) and all(_is_run(run) for runs in lists for run in runs)


def fits(value: Any) -> str:
    """Evidence that a record is a batch of runs, or a run.

    >>> fits({"id": "r1", "run_type": "llm", "trace_id": "r1", "inputs": {}, "outputs": {}})
    'a run with run_type and inputs'
    """
    if not isinstance(value, dict):
        return ""
    if _is_batch(value):
        return "runs in post and patch"
    return "a run with run_type and inputs" if "run_type" in value and _is_run(value) else ""


def key(value: Any) -> str | None:
    """The trace of the first run of a record."""
    first = next(_runs(value), None)
    return None if first is None else _text(first.get("trace_id")) or _text(first.get("id"))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _runs(value: Any) -> Iterator[dict[str, Any]]:
    """Runs of a record, flat, as they are written."""
    if not isinstance(value, dict):
        return
    waiting = [run for name in ("post", "patch") for run in _list(value.get(name))]
    waiting = waiting if waiting or not _is_run(value) else [value]
    while waiting:
        run = waiting.pop(0) if len(waiting) < 64 else waiting.pop()
        if isinstance(run, dict):
            yield run
            waiting.extend(_list(run.get("child_runs")))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Traces of the runs of one trace of LangSmith, or of all of a file."""
    runs: dict[str, dict[str, Any]] = {}
    homes: dict[str, Record] = {}
    good = []
    for record in records:
        empty = True
        for run in _runs(record.value):
            empty = False
            name = _text(run.get("id")) or _text(run.get("trace_id")) or f"run {len(runs)}"
            known = runs.setdefault(name, {})
            known.update({k: v for k, v in run.items() if v not in (None, {}, [])})
            homes[name] = record
        if empty and len(records) == 1:
            raise BadRecord("no_model_call", "the record holds no run")
        if empty:
            notes.reject(record, "no_model_call", "the record holds no run")
        else:
            good.append(record)
    homes_used = {(r.file, r.row) for r in homes.values()}
    logged = [
        Logged(homes[name], _text(run.get("trace_id")) or name, _span(name, run), _about(run))
        for name, run in runs.items()
    ]
    traces = span_units.read(
        [r for r in good if (r.file, r.row) in homes_used], logged, notes, options, _fields
    )
    # The beginning of a run that a later record ends: it is in the trace of its run.
    for record in good:
        if (record.file, record.row) not in homes_used:
            _place_early(record, traces, notes)
    return traces


def _place_early(record: Record, traces: list[dict[str, Any]], notes: Notes) -> None:
    ids = {_text(run.get("id")) or _text(run.get("trace_id")) for run in _runs(record.value)}
    for trace in traces:
        if trace.get("source_id") in ids or trace.get("session_id") in ids:
            trace["rows"] = sorted({*trace["rows"], (record.file, record.row)})
            return
    notes.event(record, "other_span")


def _span(name: str, run: dict[str, Any]) -> Span:
    kind = _text(run.get("run_type"))
    inputs = run.get("inputs")
    inputs = inputs if isinstance(inputs, dict) else {}
    details = run.get("extra")
    details = details if isinstance(details, dict) else {}
    settings = details.get("invocation_params")
    settings = settings if isinstance(settings, dict) else {}
    outputs = run.get("outputs")
    model = inputs.get("model", settings.get("model"))
    if isinstance(outputs, dict) and _text(outputs.get("model")):
        model = outputs["model"]
    tools = inputs.get("tools", settings.get("tools", inputs.get("functions")))
    usage = (
        outputs.get("usage_metadata", outputs.get("usage")) if isinstance(outputs, dict) else None
    )
    return Span(
        id=name,
        parent=_text(run.get("parent_run_id")),
        kind="model" if kind in _MODELS else "tool" if kind == "tool" else "other",
        name=str(run.get("name") or ""),
        start=_start(run),
        input={k: v for k, v in inputs.items() if k != "tools"},
        output=outputs,
        model=model if isinstance(model, str) else None,
        tools=tools if isinstance(tools, list) else None,
        error=True if kind == "tool" and run.get("error") else None,
        meta={
            "run": name, "start": run.get("start_time"), "end": run.get("end_time"), "usage": usage,
        },
    )  # fmt: skip


def _start(run: dict[str, Any]) -> str:
    """Time of a run as text that sorts: its order in its trace, or its start."""
    order = _text(run.get("dotted_order"))
    if order:
        return order
    start = run.get("start_time")
    return f"{start:020.3f}" if isinstance(start, (int, float)) else str(start or "")


def _about(run: dict[str, Any]) -> dict[str, Any]:
    told = {k: v for k, v in run.items() if k not in _SPEAKS}
    inputs = run.get("inputs")
    if isinstance(inputs, dict):
        settings = {
            k: v
            for k, v in inputs.items()
            if k not in ("messages", "tools", "functions", "prompt") and v is not None
        }
        if settings:
            told["settings"] = settings
    return told


def _fields(run: list[Logged], trace: dict[str, Any]) -> dict[str, Any]:
    trace["source_id"] = run[0].span.id
    trace["session_id"] = run[0].run
    return {}


dialect = Dialect(
    name="langsmith",
    version=1,
    unit="session",
    fits=fits,
    read=read,
    key=key,
    codes=span_traces.CODES,
    events=span_units.EVENTS,
    ignores=IGNORES,
    options=(span_traces.CALLS,),
)
