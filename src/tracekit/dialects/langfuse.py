"""Dialect `langfuse`: exports of Langfuse, a trace with its observations; a trace a conversation.

    {"trace": {"id": "t1", "name": "weather", "scores": [{"name": "helpful", "value": 1,
               "source": "EVAL"}]},
     "observations": [{"id": "o1", "type": "GENERATION", "startTime": "2026-01-02T03:04:05Z",
       "model": "small", "input": "[{\\"role\\": \\"user\\", \\"content\\": \\"9*4?\\"}]",
       "output": "{\\"role\\": \\"assistant\\", \\"content\\": \\"36\\"}"}]}

Decided here: scores belong to the longest conversation of the trace; their kind is that of their
source (EVAL: judge, ANNOTATION: human, API: claimed by the application). Texts of observations
that stand in no conversation are in `meta.observations` of the first trace, each once; so are
those attributes of the instrumentation that repeat nothing.
The normalised messages that Langfuse keeps beside a trace for its tests (`*.chatml.json`) repeat
the observations of that trace and are an event.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import span_traces
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.dialects.span_calls import Span
from tracekit.dialects.span_turns import loaded
from tracekit.errors import BadRecord

EVENTS = (
    Code(
        name="normalised_copy",
        kind="event",
        what="Messages that Langfuse made of the observations of a trace that stands beside them.",
    ),
)

IGNORES = {
    "*.createdAt": "when Langfuse wrote the row",
    "*.updatedAt": "when Langfuse wrote the row",
    "*.created_at": "when Langfuse wrote the row",
    "*.data": "a copy of the observations of another record",
    "*.error": "what the maker of the copy could not read",
    "*.encrypted_content": "encrypted by the provider, readable by nobody else",
    "*.protectedData": "encrypted reasoning of the provider, readable by nobody",
    "*.thoughtSignature": "signature of the provider",
    "*.signature": "signature of the provider",
    "*.projectId": "a name in the account of the exporter",
    "*.internalModelId": "a name in the price list of Langfuse",
    "*.internalModel": "a name in the price list of Langfuse",
    "*.usagePricingTierId": "a name in the price list of Langfuse",
    "*.toolCalls": "repeats the calls of the output",
    "*.toolDefinitions": "repeats the declared tools",
}
_KINDS = {"EVAL": "judge", "ANNOTATION": "human"}
_SPEAKS = frozenset(("input", "output", "metadata", "scores", "observations"))
_SIDES = ("input", "output", "metadata")
_MAX_LITERAL_CHARS = 1 << 20


def _observations(value: dict[str, Any]) -> list[Any] | None:
    for holder in (value, value.get("trace"), value.get("body")):
        if isinstance(holder, dict) and isinstance(holder.get("observations"), list):
            return list(holder["observations"])
    return None


def _is_copy(value: dict[str, Any]) -> bool:
    """Messages by observation: `{"input": {"success": true, "data": [...]}, "output": ...}`."""
    if not value:
        return False
    for entry in value.values():
        if not isinstance(entry, dict) or not entry or not set(entry) <= {"input", "output"}:
            return False
        for side in entry.values():
            if not isinstance(side, dict) or not isinstance(side.get("success"), bool):
                return False
    return True


def fits(value: Any) -> str:
    """Evidence that a record is a trace of Langfuse, or its normalised copy.

    >>> fits({"o1": {"input": {"success": True, "data": []}}})
    'messages by observation'
    """
    if not isinstance(value, dict):
        return ""
    listed = _observations(value)
    if listed:
        first = listed[0]
        ours = isinstance(first, dict) and {"id", "type", "startTime"} <= first.keys()
        return "observations with type and startTime" if ours else ""
    return "messages by observation" if _is_copy(value) else ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Traces of one record, by the time of their first reply."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    listed = _observations(value)
    if listed is None:
        if _is_copy(value):
            notes.event(records[0], "normalised_copy")
            return []
        raise BadRecord("no_model_call", f"no observations among {', '.join(list(value)[:12])}")
    observations = [one for one in listed if isinstance(one, dict)]
    about = value["trace"] if isinstance(value.get("trace"), dict) else value
    made = span_traces.traces([_span(one) for one in observations], notes, options)
    texts = span_traces.said_texts(trace for trace, _, _ in made)
    longest = max(range(len(made)), key=lambda k: len(made[k][0]["messages"]))
    out = []
    for k, (trace, meta, talk) in enumerate(made):
        if isinstance(about.get("id"), str):
            trace["source_id"] = about["id"]
        if isinstance(about.get("sessionId"), str):
            trace["session_id"] = about["sessionId"]
        meta["observations_read"] = [span.id for span in talk.calls]
        if k == longest:
            outcomes, told = _scores(about.get("scores"))
            if outcomes:
                trace["outcomes"] = outcomes
            if told:
                meta["scores"] = told
        if k == 0:
            meta["trace"] = _about(about)
            _collect(meta, texts)
            meta["observations"] = [_told(one, texts) for one in observations]
            beside = span_traces.unsaid({key: about[key] for key in _SIDES if key in about}, texts)
            if beside:
                meta["unsaid"] = beside
            rest = {k: v for k, v in value.items() if k not in ("trace", "observations")}
            if about is not value and rest:
                for key in rest:
                    notes.unknown(key)
                meta["beside"] = rest
        out.append(span_traces.finished(trace, meta))
    return out


def _collect(meta: Mapping[str, Any], texts: set[str]) -> None:
    texts |= span_traces.said_texts([meta])


def _about(about: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in about.items() if k not in _SPEAKS and v not in (None, [], {}, "")}


def _told(one: dict[str, Any], texts: set[str]) -> dict[str, Any]:
    """What an observation says beside its messages, and its texts that stand nowhere else."""
    keys = ("id", "type", "name", "parentObservationId", "startTime", "endTime", "level",
            "statusMessage", "model", "modelParameters", "usageDetails", "version", "promptName",
            "promptVersion", "promptId", "environment")  # fmt: skip
    told = {k: one[k] for k in keys if one.get(k) not in (None, [], {}, "", "DEFAULT", "default")}
    beside = span_traces.unsaid({k: one[k] for k in _SIDES if k in one}, texts)
    if beside:
        told["unsaid"] = beside
    rest = {
        k: v
        for k, v in one.items()
        if k not in keys and k not in _SPEAKS and k not in _MEASURED and v not in (None, [], {}, "")
    }
    if rest:
        told["rest"] = rest
    return told


_MEASURED = frozenset(
    (
        *("traceId", "projectId", "createdAt", "updatedAt", "latency", "internalModelId"),
        *("internalModel", "costDetails", "providedCostDetails", "inputCost", "outputCost"),
        *("totalCost", "inputUsage", "outputUsage", "totalUsage", "usagePricingTierId"),
        *("usagePricingTierName", "toolDefinitions", "toolCalls", "toolCallNames"),
        *("calculatedInputCost", "calculatedOutputCost", "calculatedTotalCost", "usage"),
        *("promptTokens", "completionTokens", "totalTokens", "unit", "inputPrice", "outputPrice"),
        *("totalPrice", "modelId"),
    )
)


def _span(one: dict[str, Any]) -> Span:
    details = loaded(one.get("metadata"))
    details = details if isinstance(details, dict) else {}
    attributes = loaded(details.get("attributes"))
    attributes = attributes if isinstance(attributes, dict) else {}
    kind = one.get("type")
    parent = one.get("parentObservationId")
    model = one.get("model")
    call_id = attributes.get("gen_ai.tool.call.id", attributes.get("ai.toolCall.id"))
    name = attributes.get("gen_ai.tool.name", attributes.get("tool.name"))
    error = one.get("level") == "ERROR"
    meta = {
        "observation": one.get("id"), "start": one.get("startTime"), "end": one.get("endTime"),
        "usage": one.get("usageDetails") or None, "tool": name,
    }  # fmt: skip
    output = one.get("output")
    is_tool = kind == "TOOL" or isinstance(call_id, str)
    if is_tool and output is None and error:
        output = one.get("statusMessage")
    return Span(
        id=str(one.get("id")),
        parent=parent if isinstance(parent, str) else None,
        kind="tool" if is_tool else "model" if kind == "GENERATION" else "other",
        name=str(one.get("name") or ""),
        start=str(one.get("startTime") or ""),
        input=one.get("input"),
        output=output,
        model=model if isinstance(model, str) else None,
        tools=_declared(one, {**details, **attributes}),
        call_id=call_id if isinstance(call_id, str) else None,
        error=True if is_tool and error else None,
        meta=meta,
    )


def _declared(one: dict[str, Any], attributes: Mapping[str, Any]) -> list[Any] | None:
    """Tools that the instrumentation logs beside the input, in the spelling of each."""
    listed = loaded(attributes.get("gen_ai.tool.definitions"))
    if isinstance(listed, list):
        return listed
    listed = loaded(attributes.get("ai.prompt.tools"))
    if isinstance(listed, list):
        return [loaded(tool) for tool in listed]
    given = _literal(attributes.get("model_request_parameters"))
    if isinstance(given, dict):
        both = [*(given.get("function_tools") or ()), *(given.get("output_tools") or ())]
        return [_of_pydantic(tool) for tool in both if isinstance(tool, dict)]
    listed = loaded(attributes.get("llm.tools"))
    if isinstance(listed, list):
        return [
            {k.removeprefix("tool."): v for k, v in tool.items()}
            for tool in listed
            if isinstance(tool, dict)
        ]
    found: list[Any] = []
    while isinstance(schema := attributes.get(f"llm.tools.{len(found)}.tool.json_schema"), str):
        found.append(loaded(schema))
    if found:
        return found
    held = one.get("toolDefinitions")
    if isinstance(held, dict) and held:
        return [loaded(tool) for tool in held.values()]
    return None


def _literal(value: Any) -> Any:
    """A value written as JSON or as Python prints it."""
    found = loaded(value)
    if isinstance(found, str) and found.startswith("{'") and len(found) < _MAX_LITERAL_CHARS:
        try:
            return ast.literal_eval(found)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            return None
    return found


def _of_pydantic(tool: dict[str, Any]) -> dict[str, Any]:
    kept = {
        k: v for k, v in tool.items() if v not in (None, {}, []) and k in ("name", "description")
    }
    schema = tool.get("parameters_json_schema")
    return {**kept, **({"parameters": schema} if schema is not None else {})}


def _scores(scores: Any) -> tuple[list[dict[str, Any]], list[Any]]:
    """Outcomes, and what the scores say beside their values."""
    outcomes: list[dict[str, Any]] = []
    told: list[Any] = []
    for score in scores if isinstance(scores, list) else ():
        if not isinstance(score, dict) or not isinstance(score.get("name"), str):
            told.append(score)
            continue
        text = score.get("stringValue")
        value = text if isinstance(text, str) and text else score.get("value")
        kind = _KINDS.get(str(score.get("source")), "claimed")
        outcomes.append({"value": jsontext.dump(value), "kind": kind, "name": score["name"]})
        skip = ("value", "stringValue", "projectId", "longStringValue", "traceId")
        told.append({k: v for k, v in score.items() if k not in skip and v not in (None, "", [])})
    return outcomes, told


dialect = Dialect(
    name="langfuse",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=span_traces.CODES,
    events=EVENTS,
    ignores=IGNORES,
    options=(span_traces.CALLS,),
)
