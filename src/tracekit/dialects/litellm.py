"""Dialect `litellm`: one call of a model, as agents on LiteLLM log it, a file a call.

    {"messages": [{"role": "user", "content": [{"type": "text", "text": "List the files."}]}],
     "tools": [{"type": "function", "function": {"name": "terminal"}}], "context_window": 200000,
     "kwargs": {"stop": ["</function"]}, "response": {"model": "m-1", "choices": [...]},
     "cost": 0.01, "timestamp": 1757015025.9, "latency_sec": 2.5,
     "raw_messages": [...], "raw_response": {...}}

For a model without native calls, what was sent holds calls, results and tools as
text; `raw_messages` are those of the agent before, `raw_response` is the reply as it came. Decided
here: `calls: lift` (the default) reads the agent's messages with the reply that was made of them;
`calls: as_text` reads what was sent with the reply as it came, and declares no tools, since the
prompt does. The other view stays in `meta.as_sent` or `meta.native`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.dialects import openai
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.errors import BadRecord

_KNOWN = frozenset(
    (
        *("messages", "tools", "response", "raw_messages", "raw_response"),
        *("kwargs", "context_window", "cost", "timestamp", "latency_sec"),
    )
)


def fits(value: Any) -> str:
    """Evidence that a record is such a log.

    >>> fits({"messages": [], "response": {"choices": []}, "context_window": 8, "kwargs": {}})
    'messages with a response, context_window and kwargs'
    """
    if not isinstance(value, dict) or not isinstance(value.get("messages"), list):
        return ""
    response = value.get("response")
    logged = isinstance(response, dict) and isinstance(response.get("choices"), list)
    if logged and "context_window" in value and isinstance(value.get("kwargs"), dict):
        return "messages with a response, context_window and kwargs"
    return ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Traces of one call: one for each choice of its reply."""
    record = records[0]
    value = record.value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    request: dict[str, Any] = {"messages": value.get("messages"), "tools": value.get("tools")}
    response = value.get("response")
    meta: dict[str, Any] = {}
    if isinstance(value.get("raw_messages"), list):
        native = {"messages": value["raw_messages"], "response": response}
        sent = {"messages": value.get("messages"), "response": value.get("raw_response")}
        if options.get("calls") == "as_text":
            meta["native"] = {**native, "tools": request.pop("tools")}
            response = sent["response"] or response
        else:
            meta["as_sent"] = sent
            request["messages"] = native["messages"]
    for key in ("kwargs", "context_window", "cost", "timestamp", "latency_sec"):
        held = value.get(key)
        if key == "kwargs" and isinstance(held, dict) and held.get("tools") == value.get("tools"):
            held = {name: v for name, v in held.items() if name != "tools"}
        if held is not None:
            meta[key] = held
    rest = {key: v for key, v in value.items() if key not in _KNOWN}
    exchange = {**rest, "request": request, "response": response}
    traces = openai.read([Record(record.file, record.row, exchange)], notes, options)
    for trace in traces:
        own = jsontext.parse(trace["meta"].encode()) if trace.get("meta") else {}
        trace["meta"] = jsontext.dump({**own, **meta})
    return traces


dialect = Dialect(
    name="litellm",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=openai.CODES,
    ignores=openai.IGNORES,
    options=(openai.CALLS,),
)
