"""Dialect `gemini`: requests and replies in the shape of Gemini's generateContent.

A record is a request with its reply (also streamed), or a conversation in that shape, in the
camelCase of the API or in snake_case:

    {"request": {"systemInstruction": {"parts": [{"text": "Be brief."}]},
                 "contents": [{"role": "user", "parts": [{"text": "Is it raining in Oslo?"}]}],
                 "tools": [{"functionDeclarations": [{"name": "rain", "parameters": {}}]}]},
     "response": {"modelVersion": "g-1", "candidates": [{"finishReason": "STOP", "content": {
        "role": "model", "parts": [{"functionCall": {"name": "rain", "args": {"city": "Oslo"}},
                                    "thoughtSignature": "AAAA"}]}}]}}

Several candidates give several traces. Decided here:

- Parts with `thought` are summaries that the provider writes: context and no target. A reply with a
  signature, or with counted thinking, and without such a part withholds its reasoning. The
  signature that clients put in to skip the check is no sign of thinking.
- Texts of one model turn join without anything between them, as the API streams them; texts of a
  user turn join with a line end.
- The result of a function is the JSON text of its `response`; a response that holds `error` and
  nothing of a result is an error.
- Code that the provider runs is a call of `code_execution`; after its result a new message begins.
  Searches leave no call in the reply; what they found is in `meta.grounding` of the message.
- A reply without a part is a trace where the model stopped by itself or at its limit, and a reject
  where a filter held it back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import conversation, declarations, gemini_parts, record_keys, streams
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.dialects.gemini_parts import ROLES, either
from tracekit.errors import BadRecord

ANOTHER = Code(
    name="another_dialect",
    kind="reject",
    what="The record has the shape of another dialect; the detail says which keys it has.",
    fix="Ingest such records with their own dialect, from a file of their own.",
)
_SYSTEM = ("systemInstruction", "system_instruction")
_USED_IN_REQUEST = frozenset(("contents", "tools", "model", *_SYSTEM))
_USED_IN_REPLY = frozenset(("candidates", "modelVersion", "model_version"))
_USED_IN_CANDIDATE = frozenset(
    (
        *("content", "index", "finishReason", "finish_reason", "logprobsResult"),
        *("logprobs_result", "groundingMetadata", "grounding_metadata"),
    )
)
_ENDED = frozenset(("STOP", "MAX_TOKENS", "FINISH_REASON_UNSPECIFIED"))
_WIDGET = ("searchEntryPoint", "search_entry_point")


def fits(value: Any) -> str:
    """Evidence that a record has the shape of generateContent.

    >>> fits({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]})
    'contents with parts'
    """
    if not isinstance(value, dict):
        return ""
    request = value.get("request")
    if isinstance(request, dict):
        return "request with contents" if _is_contents(request.get("contents")) else ""
    if _is_contents(value.get("contents")):
        return "contents with parts"
    return "a reply with candidates" if _is_reply(value) and "messages" not in value else ""


def _is_contents(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(turn, dict) and isinstance(turn.get("parts"), list) for turn in value)
        and all(turn.get("role") in ROLES for turn in value)
    )


def _is_reply(value: dict[str, Any]) -> bool:
    candidates = value.get("candidates")
    return (
        isinstance(candidates, list)
        and bool(candidates)
        and all(isinstance(c, dict) and isinstance(c.get("content"), dict) for c in candidates)
        and isinstance(candidates[0]["content"].get("parts"), list)
    )


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Traces of one record: one for each candidate of its reply."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    request = value.get("request")
    if isinstance(request, dict):
        used = frozenset(("request", "response"))
        reply = _reply(value.get("response"), notes)
    else:
        request = value
        reply = value if "contents" not in value and _is_reply(value) else None
        used = frozenset(value) if reply is value else frozenset(_USED_IN_REQUEST - {"model"})
        if reply is None and value.get("response") is not None:
            reply, used = _reply(value["response"], notes), used | {"response"}
    contents = request.get("contents", [] if reply is request else None)
    if not isinstance(contents, list):
        keys = ", ".join(list(request)[:8])
        raise BadRecord(ANOTHER.name, f"no contents; its keys are {keys:.120}")
    fields, meta = record_keys.describe(value, used, notes)
    if request is not value:
        _describe(request, reply, fields, meta)
    elif reply is value:
        _describe({}, reply, fields, meta)
    candidates = _candidates(reply) if reply is not None else [None]
    if candidates == [None] and not any(_speaks(turn) for turn in contents):
        raise BadRecord(streams.NO_REPLY.name, _without_reply(reply))
    return [
        _trace(request, contents, reply, candidate, (dict(fields), dict(meta)), notes)
        for candidate in candidates
    ]


def _speaks(turn: Any) -> bool:
    return isinstance(turn, dict) and turn.get("role") == "model"


def _without_reply(reply: Any) -> str:
    if reply is None:
        return "the exchange has no response"
    return f"the response holds {', '.join(list(reply)[:8])}"


def _reply(response: Any, notes: Notes) -> dict[str, Any] | None:
    if isinstance(response, str):
        notes.repair("stream_joined")
        return streams.gemini_reply(response)
    if isinstance(response, list):
        return _reply(jsontext.dump(response), notes)
    if response is None:
        return None
    if not isinstance(response, dict):
        raise BadRecord("error_response", f"the response is {type(response).__name__}")
    if response.get("error"):
        raise BadRecord("error_response", jsontext.dump(response["error"])[:300])
    return response


def _candidates(reply: dict[str, Any]) -> list[dict[str, Any] | None]:
    """Candidates of a reply that say something, or [None] where it has none."""
    given = reply.get("candidates")
    feedback = either(reply, "promptFeedback", "prompt_feedback")
    if not given and feedback:
        raise BadRecord("error_response", jsontext.dump(feedback)[:300])
    if not isinstance(given, list) or not given:
        return [None]
    kept: list[dict[str, Any] | None] = []
    refused = ""
    for candidate in given:
        if not isinstance(candidate, dict):
            raise BadRecord("error_response", f"a candidate is {type(candidate).__name__}")
        reason = either(candidate, "finishReason", "finish_reason")
        content = candidate.get("content")
        empty = not isinstance(content, dict) or not content.get("parts")
        if empty and isinstance(reason, str) and reason not in _ENDED:
            message = either(candidate, "finishMessage", "finish_message")
            refused = f"{reason}: {message}"
            continue
        kept.append(candidate)
    if not kept:
        raise BadRecord("error_response", refused[:300])
    return kept


def _trace(
    request: dict[str, Any],
    contents: list[Any],
    reply: dict[str, Any] | None,
    candidate: dict[str, Any] | None,
    described: tuple[dict[str, Any], dict[str, Any]],
    notes: Notes,
) -> dict[str, Any]:
    fields, meta = described
    messages: list[dict[str, Any]] = []
    called: set[str] = set()
    system = gemini_parts.instruction(either(request, *_SYSTEM))
    if system is not None:
        messages.append({"role": "system", "content": system})
    for k, turn in enumerate(contents):
        messages.extend(gemini_parts.read_turn(turn, k, notes, called))
    if candidate is not None:
        content = candidate.get("content")
        parts = content.get("parts") if isinstance(content, dict) else None
        said = gemini_parts.read_turn(
            {"role": "model", "parts": parts or []}, len(contents), notes, called
        )
        _finish_reply(said, candidate, reply or {})
        messages.extend(said)
    tools = _tools(request.get("tools"), called, meta)
    conversation.finish(messages, notes, meta)
    return record_keys.trace(messages, tools, fields, meta, notes)


def _finish_reply(
    said: list[dict[str, Any]], candidate: dict[str, Any], reply: dict[str, Any]
) -> None:
    """What a candidate says about its message; the last message of it is meant."""
    if not said or said[-1]["role"] != "assistant":
        said.append({"role": "assistant"})
    last = said[-1]
    reason = either(candidate, "finishReason", "finish_reason")
    if isinstance(reason, str):
        last["finish_reason"] = reason
    usage = either(reply, "usageMetadata", "usage_metadata")
    thought = either(usage, "thoughtsTokenCount", "thoughts_token_count")
    if thought and not any("reasoning_kind" in message for message in said):
        said[0]["reasoning_kind"] = "withheld"
    grounding = either(candidate, "groundingMetadata", "grounding_metadata")
    if isinstance(grounding, dict):
        kept = {key: v for key, v in grounding.items() if key not in _WIDGET}
        if kept:
            conversation.add_meta(last, "grounding", kept)
    rest = {k: v for k, v in candidate.items() if k not in _USED_IN_CANDIDATE and v is not None}
    if rest:
        conversation.add_meta(last, "candidate", rest)


def _describe(
    request: dict[str, Any], reply: Any, fields: dict[str, Any], meta: dict[str, Any]
) -> None:
    """Model of the reply or the request, and what they say beside the conversation."""
    answered = reply if isinstance(reply, dict) else {}
    beside = record_keys.exchange_meta(request, _USED_IN_REQUEST, answered, _USED_IN_REPLY)
    beside.pop("model", None)
    model = either(answered, "modelVersion", "model_version") or request.get("model")
    if isinstance(model, str):
        fields["model"] = model
    meta.update(beside)


def _tools(given: Any, called: set[str], meta: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Declared functions; tools of the provider as far as they were called."""
    functions: list[Any] | None = None
    if isinstance(given, dict):
        given = [given]
    if given is None:
        pass
    elif isinstance(given, list):
        functions = []
        served = []
        for tool in given:
            if not isinstance(tool, dict):
                raise BadRecord("tool_without_name", f"a tool is {type(tool).__name__}")
            found = either(tool, "functionDeclarations", "function_declarations")
            if isinstance(found, list):
                functions.extend(map(_declaration, found))
            rest = {
                key: v
                for key, v in tool.items()
                if key not in ("functionDeclarations", "function_declarations")
            }
            if rest:
                served.append(rest)
        if served:
            meta["server_tools"] = served
    else:
        raise BadRecord("tools_not_list", f"tools are {type(given).__name__}")
    tools = declarations.read_tools(functions)
    if called:
        names = {tool["name"] for tool in tools or ()}
        plain: dict[str, Any] = {"description": None, "parameters": None, "extra": None}
        tools = [*(tools or ()), *({"name": n, **plain} for n in sorted(called - names))]
    return tools


def _declaration(function: Any) -> Any:
    if not isinstance(function, dict):
        return function
    schema = either(function, "parametersJsonSchema", "parameters_json_schema")
    if schema is None or function.get("parameters") is not None:
        return function
    kept = {
        key: v
        for key, v in function.items()
        if key not in ("parametersJsonSchema", "parameters_json_schema")
    }
    return {**kept, "parameters": schema}


dialect = Dialect(
    name="gemini",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=(
        *conversation.CODES,
        *declarations.CODES,
        *record_keys.CODES,
        *streams.CODES,
        *gemini_parts.CODES,
        streams.NO_REPLY,
        ANOTHER,
    ),
    ignores={
        "*.thoughtSignature": "encrypted thinking, readable by the provider only",
        "*.thought_signature": "encrypted thinking, readable by the provider only",
        "*.searchEntryPoint": "HTML of the provider's search box",
        "*.search_entry_point": "HTML of the provider's search box",
        "*.logprobsResult": "measurements of the sampler, not said by anybody",
        "*.logprobs_result": "measurements of the sampler, not said by anybody",
    },
)
