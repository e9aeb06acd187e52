"""Units of exported spans, where a record is one span or several: runs, rows, events, rejects."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracekit.codes import Code
from tracekit.dialects import span_traces
from tracekit.dialects.dialect import Notes, Record
from tracekit.dialects.span_calls import Span
from tracekit.errors import BadRecord

EVENTS = (
    Code(
        name="other_span",
        kind="event",
        what="A span that is neither a call of a model nor of a tool, or an embedding.",
    ),
)


@dataclass(frozen=True, slots=True)
class Logged:
    """A span with its record, its run and what it says beside its messages."""

    record: Record
    run: str
    span: Span
    about: dict[str, Any]


About = Callable[[list[Logged], dict[str, Any]], dict[str, Any]]
"""Adds fields of a trace (ids, outcomes) from the spans of its run; gives meta."""


def read(
    records: Sequence[Record],
    logged: Sequence[Logged],
    notes: Notes,
    options: Mapping[str, str],
    about: About,
) -> list[dict[str, Any]]:
    """Traces of a unit. Records without a call of a model or tool are events.

    Records whose calls have no reply are refused one by one; a unit of one such record as a whole.
    """
    runs: dict[str, list[Logged]] = defaultdict(list)
    for one in logged:
        runs[one.run].append(one)
    traces: list[tuple[dict[str, Any], dict[str, Any]]] = []
    silent: list[Logged] = []
    refusals: dict[tuple[str, int], BadRecord] = {}
    for run in runs.values():
        try:
            found = _run(run, notes, options, about)
        except BadRecord as error:
            found = []
            for one in run:
                if one.span.kind != "other":
                    refusals.setdefault(_place(one.record), error)
        traces.extend(found)
        silent.extend([] if found else run)
    homes = {place: meta for trace, meta in reversed(traces) for place in trace["rows"]}
    for one in silent:  # spans of other runs in a record that has a trace
        home = homes.get(_place(one.record))
        if home is not None:
            texts = span_traces.said_texts([home])
            home.setdefault("other_spans", []).append(_told(one, texts))
    told = set(homes)
    for record in records:
        place = _place(record)
        if place in told:
            continue
        refused = refusals.get(place)
        if refused is None:
            notes.event(record, "other_span")
        elif len(records) == 1:
            raise refused
        else:
            notes.reject(record, refused.code, refused.detail)
    return [span_traces.finished(trace, meta) for trace, meta in traces]


def _place(record: Record) -> tuple[str, int]:
    return record.file, record.row


def _run(
    run: list[Logged], notes: Notes, options: Mapping[str, str], about: About
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    if all(one.span.kind == "other" for one in run):
        return []
    made = span_traces.traces([one.span for one in run], notes, options)
    texts = span_traces.said_texts(trace for trace, _, _ in made)
    places = {one.span.id: _place(one.record) for one in run}
    out = []
    for k, (trace, meta, talk) in enumerate(made):
        rows = {places[span.id] for span in talk.calls}
        meta["spans_read"] = [span.id for span in talk.calls]
        if k == 0:
            # The other calls of the run repeat what its conversations say.
            used = {places[span.id] for _, _, other in made for span in other.calls}
            rows |= {_place(one.record) for one in run if one.span.kind != "other"} - used
            meta |= about(run, trace)
            texts |= span_traces.said_texts([meta])
            meta["spans"] = [_told(one, texts) for one in run]
        trace["rows"] = sorted(rows) or [_place(run[0].record)]
        out.append((trace, meta))
    return out


def _told(one: Logged, texts: set[str]) -> dict[str, Any]:
    """What a span says beside its messages, and its texts that stand nowhere else."""
    beside = span_traces.unsaid({"input": one.span.input, "output": one.span.output}, texts)
    return {**one.about, **({"unsaid": beside} if beside else {})}
