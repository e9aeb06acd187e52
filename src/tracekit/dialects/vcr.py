"""Dialect `vcr`: cassettes of VCR, whose interactions are exchanges with the API of a model.

A record is one cassette, from YAML or JSON:

    {"version": 1, "interactions": [{
       "request": {"method": "POST", "uri": "https://api.example.com/v1/chat/completions",
         "parsed_body": {"model": "small", "messages": [{"role": "user", "content": "9*4?"}]}},
       "response": {"status": {"code": 200}, "parsed_body": {"choices": [
         {"finish_reason": "stop", "message": {"role": "assistant", "content": "36"}}]}}}]}

Each exchange is handed to the dialect of its API, the exchanges of the Responses API together.
Decided here: a cassette is one record; where an exchange gives no trace while others do, it is
counted with the code that its dialect gives. Bodies may be text, gzip, zstd or deflate; headers
are left out, since they are transport and hold credentials.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import anthropic, gemini, openai, openai_responses, streams
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.errors import BadRecord

MAX_BODY_BYTES = 64 << 20
"""A packed body that grows beyond this is refused."""

_APIS = (anthropic.dialect, gemini.dialect, openai_responses.dialect, openai.dialect)


class Refused(NamedTuple):
    """An interaction that gives no trace: why, which, and what it holds where that is known."""

    error: BadRecord
    interaction: int
    exchange: Any


def _joined(lists: Iterable[Iterable[Code]]) -> tuple[Code, ...]:
    return tuple({code.name: code for codes in lists for code in codes}.values())


CODES = _joined(
    (
        *((*api.codes, *api.events) for api in _APIS),
        (
            Code(
                name="no_known_exchange",
                kind="reject",
                what="No interaction of the cassette is an exchange with the API of a model.",
            ),
            Code(
                name="body_unreadable",
                kind="reject",
                what="The body of an interaction is packed in a way that cannot be undone.",
            ),
            Code(
                name="exchange_left_out",
                kind="repair",
                what="An interaction of a cassette gave no trace while others did; the counter "
                "`exchange_left_out:<code>` says why.",
            ),
            Code(
                name="body_unpacked",
                kind="repair",
                what="The body of an interaction was stored as packed bytes and was unpacked.",
            ),
        ),
    )
)

IGNORES = {
    "*.headers": "transport, with credentials; nothing of it was said by anybody",
    **{k: v for api in _APIS for k, v in api.ignores.items() if k.startswith("*")},
}


def fits(value: Any) -> str:
    """Evidence that a record is a cassette.

    >>> fits({"interactions": [{"request": {"method": "POST", "uri": "u"}, "response": {}}]})
    'interactions with request and response'
    """
    if not isinstance(value, dict):
        return ""
    listed = value.get("interactions")
    if not isinstance(listed, list) or not listed:
        return ""
    first = listed[0]
    request = first.get("request") if isinstance(first, dict) else None
    ours = isinstance(request, dict) and "uri" in request and "method" in request
    return "interactions with request and response" if ours and "response" in first else ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Traces of one cassette: those that the dialects of its APIs make."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    listed = value.get("interactions")
    exchanges: dict[str, list[Record]] = {}
    refused: list[Refused] = []
    for k, one in enumerate(listed if isinstance(listed, list) else ()):
        try:
            exchange = _exchange(one, k, notes)
        except BadRecord as error:
            refused.append(Refused(error, k, None))
            continue
        api = next((api for api in _APIS if api.fits(exchange)), None)
        if api is None:
            unknown = BadRecord("no_known_exchange", f"interaction {k}")
            refused.append(Refused(unknown, k, exchange))
        else:
            exchanges.setdefault(api.name, []).append(Record(records[0].file, k, exchange))
    traces: list[dict[str, Any]] = []
    for api in _APIS:
        held = exchanges.get(api.name, [])
        units = [[record] for record in held] if api.unit == "record" else [held] if held else []
        for unit in units:
            traces.extend(_traces(api, unit, notes, options, refused))
    if not traces:
        raise refused[0].error if refused else BadRecord("no_known_exchange", "no interactions")
    if refused:
        for one in refused:
            notes.repair("exchange_left_out")
            notes.count(f"exchange_left_out:{one.error.code}")
        meta = jsontext.parse(traces[0]["meta"].encode()) if traces[0].get("meta") else {}
        meta["left_out"] = [
            {"code": one.error.code, "interaction": one.interaction, "exchange": one.exchange}
            for one in refused
        ]
        traces[0]["meta"] = jsontext.dump(meta)
    return traces


def _traces(
    api: Dialect,
    unit: list[Record],
    notes: Notes,
    options: Mapping[str, str],
    refused: list[Refused],
) -> list[dict[str, Any]]:
    """Traces of a unit of exchanges; what its dialect notes of single exchanges is refused."""
    inner = Notes(notes.repairs, notes.unknown_keys, notes.counters)
    known = {option.name for option in api.options}
    try:
        found = api.read(unit, inner, {k: v for k, v in options.items() if k in known})
    except BadRecord as error:
        refused.extend(Refused(error, record.row, record.value) for record in unit)
        return []
    for record, code, detail in inner.rejects:
        refused.append(Refused(BadRecord(code, detail), record.row, record.value))
    for record, kind in inner.events:
        refused.append(Refused(BadRecord(kind), record.row, record.value))
    for trace in found:
        trace.pop("rows", None)
    return found


def unpacked(value: dict[str, Any]) -> list[dict[str, Any]]:
    """The exchanges of a cassette with their bodies as values, event streams put together."""
    found = []
    for k, one in enumerate(value["interactions"]):
        try:
            exchange = _exchange(one, k, Notes())
            if isinstance(exchange["response"], str):
                exchange["response"] = streams.any_reply(exchange["response"])
        except BadRecord:
            continue
        found.append(exchange)
    return found


def _exchange(one: Any, k: int, notes: Notes) -> dict[str, Any]:
    """An interaction as the record that the dialects of APIs read."""
    request = one.get("request") if isinstance(one, dict) else None
    response = one.get("response") if isinstance(one, dict) else None
    if not isinstance(request, dict) or not isinstance(response, dict):
        raise BadRecord("no_known_exchange", f"interaction {k} has no request and response")
    status = response.get("status")
    return {
        "interaction": k,
        "url": request.get("uri"),
        "status": status.get("code") if isinstance(status, dict) else status,
        "request": _body(request, notes),
        "response": _body(response, notes),
    }


def _body(side: Mapping[str, Any], notes: Notes) -> Any:
    """Body of a request or response: a value where it is JSON, else its text, or null."""
    if side.get("parsed_body") is not None:
        return side["parsed_body"]
    held = side.get("body")
    if isinstance(held, dict):
        packed = held.get("base64_string")
        if isinstance(packed, str):
            try:
                held = base64.b64decode(packed, validate=True)
            except (binascii.Error, ValueError):
                raise BadRecord("body_unreadable", "base64_string is no base64") from None
        else:
            held = held.get("string")
    if isinstance(held, bytes):
        held = _unpacked(held, notes)
    if not isinstance(held, str):
        return held
    try:
        return jsontext.parse(held.encode("utf-8", "replace"))
    except BadRecord:
        return held


def _unpacked(data: bytes, notes: Notes) -> str:
    plain = data
    if data[:2] == b"\x1f\x8b" or data[:1] == b"\x78":
        plain = _inflated(data)
    elif data[:4] == b"\x28\xb5\x2f\xfd":
        import zstandard

        try:
            reader = zstandard.ZstdDecompressor(max_window_size=MAX_BODY_BYTES).stream_reader(data)
            plain = reader.read(MAX_BODY_BYTES + 1)
        except zstandard.ZstdError as error:
            raise BadRecord("body_unreadable", f"zstd: {error}") from None
    if len(plain) > MAX_BODY_BYTES:
        raise BadRecord("body_unreadable", f"it grows beyond {MAX_BODY_BYTES:,} bytes")
    if plain is not data:
        notes.repair("body_unpacked")
    try:
        return plain.decode("utf-8")
    except UnicodeDecodeError:
        raise BadRecord("body_unreadable", f"{len(data):,} bytes that are no text") from None


def _inflated(data: bytes) -> bytes:
    reader = zlib.decompressobj(wbits=47)  # gzip or zlib, by its header
    try:
        plain = reader.decompress(data, MAX_BODY_BYTES + 1)
    except zlib.error as error:
        raise BadRecord("body_unreadable", f"gzip: {error}") from None
    if len(plain) <= MAX_BODY_BYTES and not reader.eof:
        raise BadRecord("body_unreadable", "the packed bytes end early")
    return plain


dialect = Dialect(
    name="vcr",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=CODES,
    ignores=IGNORES,
    options=(openai.CALLS,),
)
