"""Recorded event streams (`data: {...}` lines) put together to the reply that they carried."""

from __future__ import annotations

from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.errors import BadRecord

CODES = (
    Code(
        name="bad_stream",
        kind="reject",
        what="A recorded event stream holds no reply, or an event that does not parse.",
    ),
    Code(
        name="error_response",
        kind="reject",
        what="The provider answered with an error; there is no reply to train on.",
    ),
    Code(name="stream_joined", kind="repair", what="A recorded event stream became one reply."),
)

NO_REPLY = Code(
    name="no_reply",
    kind="reject",
    what="The exchange holds no reply: it asked for something else (a count of tokens), or the "
    "reply was made later and fetched by an id.",
)


def stream_events(text: str) -> list[Any]:
    """JSON values of the `data:` lines; `[DONE]` and other lines are left out."""
    events = []
    for line in text.split("\n"):
        if line.startswith("data:"):
            data = line[5:].strip()
            if data and data != "[DONE]":
                try:
                    events.append(jsontext.parse(data.encode("utf-8", "replace")))
                except BadRecord as error:
                    raise BadRecord("bad_stream", error.detail or error.code) from None
    return events


def openai_reply(text: str) -> dict[str, Any]:
    """A chat completion, as if it had not been streamed, from its chunks.

    Texts of one field join, calls join by index, other fields keep their last value. Raises
    BadRecord: bad_stream, error_response.
    """
    reply: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    for chunk in stream_events(text):
        if not isinstance(chunk, dict):
            continue
        if chunk.get("error"):
            raise BadRecord("error_response", jsontext.dump(chunk["error"])[:300])
        reply |= {key: v for key, v in chunk.items() if key != "choices" and v is not None}
        for part in chunk.get("choices") or ():
            if not isinstance(part, dict):
                continue
            index = part.get("index")
            place = index if isinstance(index, int) else 0
            choice = choices.setdefault(place, {"index": place, "message": {"role": "assistant"}})
            delta = part.get("delta")
            if isinstance(delta, dict):
                _add_delta(choice["message"], delta)
            if part.get("finish_reason") is not None:
                choice["finish_reason"] = part["finish_reason"]
    if not choices:
        raise BadRecord("bad_stream", "no choices in the stream")
    reply["choices"] = [choices[k] for k in sorted(choices)]
    return reply


_ONCE = frozenset(("role", "channel", "name", "id", "type"))


def _add_delta(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for key, v in delta.items():
        held = message.get(key)
        if v is None:
            continue
        if key == "tool_calls" and isinstance(v, list):
            _add_calls(message.setdefault("tool_calls", []), v)
        elif key in _ONCE or held is None:
            message[key] = v
        elif key == "reasoning_details" and isinstance(v, list) and isinstance(held, list):
            _add_details(held, v)
        elif isinstance(held, str) and isinstance(v, str):
            message[key] = held + v
        elif isinstance(held, list) and isinstance(v, list):
            message[key] = [*held, *v]
        else:
            message[key] = v


def _add_calls(calls: list[dict[str, Any]], parts: list[Any]) -> None:
    for part in parts:
        if not isinstance(part, dict):
            continue
        index = part.get("index")
        call = next((c for c in calls if c.get("index") == index and index is not None), None)
        if call is None:
            call = {"index": index, "id": None, "function": {"name": "", "arguments": None}}
            calls.append(call)
        if part.get("id"):
            call["id"] = part["id"]
        function = part.get("function")
        if isinstance(function, dict):
            name, arguments = function.get("name"), function.get("arguments")
            # Some providers send the whole name with each piece of the arguments.
            if isinstance(name, str) and name != call["function"]["name"]:
                call["function"]["name"] += name
            if isinstance(arguments, str):
                call["function"]["arguments"] = (call["function"]["arguments"] or "") + arguments


def _add_details(held: list[Any], parts: list[Any]) -> None:
    """Joins the texts of reasoning details of one index and type."""
    for part in parts:
        last = held[-1] if held else None
        if (
            isinstance(part, dict)
            and isinstance(last, dict)
            and (part.get("index"), part.get("type")) == (last.get("index"), last.get("type"))
        ):
            for key, v in part.items():
                old = last.get(key)
                joins = key in ("text", "summary") and isinstance(v, str) and isinstance(old, str)
                if joins:
                    last[key] = old + v
                elif v is not None:
                    last[key] = v
        else:
            held.append(part)


def anthropic_reply(text: str) -> dict[str, Any]:
    """A message of the Messages API from its events.

    Raises BadRecord: bad_stream, error_response.
    """
    reply: dict[str, Any] | None = None
    blocks: dict[int, dict[str, Any]] = {}
    inputs: dict[int, str] = {}
    for event in stream_events(text):
        kind = event.get("type") if isinstance(event, dict) else None
        if kind == "error":
            raise BadRecord("error_response", jsontext.dump(event.get("error"))[:300])
        if kind == "message_start" and isinstance(event.get("message"), dict):
            reply = dict(event["message"])
        elif kind == "content_block_start" and isinstance(event.get("content_block"), dict):
            blocks[_index(event)] = dict(event["content_block"])
        elif kind == "content_block_delta" and isinstance(event.get("delta"), dict):
            block = blocks.get(_index(event))
            if block is not None:
                _add_block_delta(block, event["delta"], inputs, _index(event))
        elif kind == "message_delta" and reply is not None and isinstance(event.get("delta"), dict):
            reply.update({key: v for key, v in event["delta"].items() if v is not None})
    if reply is None:
        raise BadRecord("bad_stream", "no message_start in the stream")
    for k, written in inputs.items():
        if written:
            spelled = jsontext.compact(written)
            blocks[k]["input"] = written if spelled is None else jsontext.parse(spelled.encode())
    reply["content"] = [blocks[k] for k in sorted(blocks)]
    return reply


def _index(event: dict[str, Any]) -> int:
    index = event.get("index")
    return index if isinstance(index, int) else 0


def _add_block_delta(
    block: dict[str, Any], delta: dict[str, Any], inputs: dict[int, str], k: int
) -> None:
    kind = delta.get("type")
    if kind == "input_json_delta" and isinstance(delta.get("partial_json"), str):
        inputs[k] = inputs.get(k, "") + delta["partial_json"]
    elif kind == "citations_delta" and delta.get("citation") is not None:
        held = block.get("citations")
        block["citations"] = [*(held if isinstance(held, list) else ()), delta["citation"]]
    else:
        for key in ("text", "thinking", "signature"):
            if isinstance(delta.get(key), str):
                held = block.get(key)
                block[key] = (held if isinstance(held, str) else "") + delta[key]


def any_reply(text: str) -> dict[str, Any]:
    """The reply of a stream of any of these interfaces, told by its first event.

    Raises BadRecord: bad_stream, error_response.
    """
    head = text[:400]
    if '"response.' in head or "event: response." in head:
        return responses_reply(text)
    if head.startswith("event:"):
        return anthropic_reply(text)
    return gemini_reply(text) if '"candidates"' in head else openai_reply(text)


def responses_reply(text: str) -> dict[str, Any]:
    """A response of the Responses API from its events.

    The last event that carries the response whole is taken; of a stream that breaks off before,
    the items that were finished, with the status `incomplete`. Raises BadRecord: bad_stream,
    error_response.
    """
    reply: dict[str, Any] | None = None
    ended = False
    items: dict[int, Any] = {}
    for event in stream_events(text):
        if not isinstance(event, dict):
            continue
        kind = event.get("type")
        if kind == "error":
            raise BadRecord("error_response", jsontext.dump(event)[:300])
        if isinstance(event.get("response"), dict):
            reply = event["response"]
            ended = kind in _ENDS
        elif kind == "response.output_item.done":
            place = event.get("output_index")
            items[place if isinstance(place, int) else len(items)] = event.get("item")
    if reply is None:
        raise BadRecord("bad_stream", "no response in the stream")
    if not ended:
        return {**reply, "output": [items[k] for k in sorted(items)], "status": "incomplete"}
    if not reply.get("output") and items:
        return {**reply, "output": [items[k] for k in sorted(items)]}
    return reply


_ENDS = frozenset(("response.completed", "response.incomplete", "response.failed"))


def gemini_reply(text: str) -> dict[str, Any]:
    """A reply of the Gemini API from its chunks, each of which is a reply with some of the parts.

    Texts that follow each other in one candidate, and are of one kind, join. Raises BadRecord:
    bad_stream, error_response.
    """
    reply: dict[str, Any] = {}
    candidates: dict[int, dict[str, Any]] = {}
    chunks = _gemini_chunks(text)
    for chunk in chunks:
        if not isinstance(chunk, dict):
            continue
        if chunk.get("error"):
            raise BadRecord("error_response", jsontext.dump(chunk["error"])[:300])
        reply |= {key: v for key, v in chunk.items() if key != "candidates" and v is not None}
        given = chunk.get("candidates")
        for candidate in given if isinstance(given, list) else ():
            if isinstance(candidate, dict):
                index = candidate.get("index")
                place = index if isinstance(index, int) else 0
                _add_candidate(candidates.setdefault(place, {}), candidate)
    if not reply and not candidates:
        raise BadRecord("bad_stream", "no reply in the stream")
    if candidates:
        reply["candidates"] = [candidates[k] for k in sorted(candidates)]
    return reply


def _gemini_chunks(text: str) -> list[Any]:
    """Chunks of `data:` lines, or of the JSON array that the API streams by default."""
    if text.lstrip().startswith("["):
        try:
            chunks = jsontext.parse(text.encode("utf-8", "replace"))
        except BadRecord as error:
            raise BadRecord("bad_stream", error.detail or error.code) from None
        return chunks if isinstance(chunks, list) else []
    return stream_events(text)


def _add_candidate(held: dict[str, Any], new: dict[str, Any]) -> None:
    held |= {key: v for key, v in new.items() if key != "content" and v is not None}
    content = new.get("content")
    if not isinstance(content, dict):
        return
    parts = held.setdefault("content", {"role": "model", "parts": []})["parts"]
    given = content.get("parts")
    for part in given if isinstance(given, list) else ():
        last = parts[-1] if parts else None
        if (
            isinstance(part, dict)
            and isinstance(last, dict)
            and isinstance(part.get("text"), str)
            and isinstance(last.get("text"), str)
            and last.get("thought") == part.get("thought")
        ):
            parts[-1] = {**last, **part, "text": last["text"] + part["text"]}
        else:
            parts.append(part)
