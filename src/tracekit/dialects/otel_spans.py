"""Dialect `otel_spans`: OpenTelemetry spans of model calls, one by one, in lists, or as OTLP JSON.

    {"name": "ai.generateText.doGenerate", "spanContext": {"traceId": "t1", "spanId": "s1"},
     "startTime": [1770131992, 242000000], "attributes": {
       "ai.operationId": "ai.generateText.doGenerate", "gen_ai.request.model": "small",
       "ai.prompt.messages": "[{\\"role\\": \\"user\\", \\"content\\": \\"9*4?\\"}]",
       "ai.response.text": "36", "ai.response.finishReason": "stop"}}

Read are the attributes of the GenAI conventions (messages, events), of the Vercel AI SDK, of
OpenInference (`llm.input_messages.0.message.role`) and Traceloop (`gen_ai.prompt.0.role`).
Decided here: a run is a trace id. An operation of the Vercel AI SDK whose inner call is exported
under another trace id is a run of its own and gives an equal trace. Embeddings are events.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tracekit.dialects import otel_attributes, span_traces, span_units
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.dialects.span_units import Logged
from tracekit.errors import BadRecord

IGNORES = {
    "*.ai.embedding": "numbers of an embedding",
    "*.ai.embeddings": "numbers of an embedding",
    "*.signature": "signature of the provider",
    "*.thoughtSignature": "signature of the provider",
    "*.encrypted_content": "encrypted by the provider, readable by nobody else",
}


def _is_span(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return False
    return isinstance(value.get("attributes"), (dict, list)) and (
        isinstance(value.get("spanContext"), dict)
        or isinstance(value.get("context"), dict)
        or ("traceId" in value and "spanId" in value)
        or ("trace_id" in value and "span_id" in value)
    )


def fits(value: Any) -> str:
    """Evidence that a record is a span, or holds spans.

    >>> fits({"name": "chat", "traceId": "t", "spanId": "s", "attributes": []})
    'a span with attributes'
    """
    if _is_span(value):
        return "a span with attributes"
    if not isinstance(value, dict) or not value:
        return ""
    if isinstance(value.get("resourceSpans"), list):
        return "resourceSpans"
    lists = list(value.values())[:8]
    held = all(isinstance(v, list) and v and all(map(_is_span, v[:4])) for v in lists)
    return "lists of spans by name" if held else ""


def key(value: Any) -> str | None:
    """The trace id of a span; a record of several spans has none."""
    return otel_attributes.trace_id(value) if _is_span(value) else None


def _spans(value: Any) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """(span, resource attributes) of a record."""
    if _is_span(value):
        yield value, {}
        return
    if not isinstance(value, dict):
        return
    resources = value.get("resourceSpans")
    if isinstance(resources, list):
        for resource in resources:
            inner = resource if isinstance(resource, dict) else {}
            about = inner.get("resource")
            told = about.get("attributes") if isinstance(about, dict) else None
            scopes = inner.get("scopeSpans", inner.get("instrumentationLibrarySpans"))
            for scope in scopes if isinstance(scopes, list) else ():
                spans = scope.get("spans") if isinstance(scope, dict) else None
                for span in spans if isinstance(spans, list) else ():
                    if _is_span(span):
                        yield span, otel_attributes.plain(told)
        return
    for held in value.values():
        if isinstance(held, list):
            for span in held:
                if _is_span(span):
                    yield span, {}


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Traces of the spans of one trace id, or of all of a record that holds several."""
    logged: list[Logged] = []
    good: list[Record] = []
    for record in records:
        found = [otel_attributes.span_of(span, told) for span, told in _spans(record.value)]
        if found:
            good.append(record)
            logged.extend(Logged(record, run, span, about) for run, span, about in found)
        elif len(records) == 1:
            raise BadRecord("no_model_call", "the record holds no span")
        else:
            notes.reject(record, "no_model_call", "the record holds no span")
    return span_units.read(good, logged, notes, options, _fields)


def _fields(run: list[Logged], trace: dict[str, Any]) -> dict[str, Any]:
    trace["source_id"] = run[0].run
    for one in run:
        session = one.about.get("session")
        if isinstance(session, str):
            trace["session_id"] = session
            break
    return {}


dialect = Dialect(
    name="otel_spans",
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
