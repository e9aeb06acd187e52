"""Dialect `openai`: conversations of messages with `role`, in the shapes that data sets use.

One record is a list of messages, an object that holds such a list, a recorded request with its
response (also streamed), or a prompt with a completion. Several choices give several traces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.dialects import (
    agent_text,
    codeact,
    conversation,
    declarations,
    kimi_template,
    masks,
    math_samples,
    openai_message,
    packed_results,
    react,
    record_keys,
    streams,
    tracekit_rows,
)
from tracekit.dialects.dialect import Dialect, Notes, Option, Record
from tracekit.errors import BadRecord

_LISTS = ("messages", "conversations", "conversation", "traj", "dialogue", "chosen_messages")
"""Keys under which a record holds its messages, by rank."""
_TOOLS = ("tools", "functions", "available_tools")
_USED_IN_REQUEST = frozenset(("messages", *_TOOLS))


_SAYS = frozenset(("content", "tool_calls", "function_call", "reasoning_content", "reasoning"))


def _is_turn(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("role"), str):
        return False
    return not _SAYS.isdisjoint(value)


def _is_turns(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and _is_turn(value[0])


_BLOCKS = frozenset(("tool_use", "tool_result", "redacted_thinking", "server_tool_use"))


def has_anthropic_blocks(messages: list[Any]) -> bool:
    """Does a content hold blocks that only the Anthropic shape has?"""
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list):
            for block in content:
                if isinstance(block, dict):
                    kind = block.get("type")
                    if isinstance(kind, str) and (kind in _BLOCKS or kind.endswith("_tool_result")):
                        return True
                    if kind == "thinking" and isinstance(block.get("thinking"), str):
                        return True
    return False


def anthropic_tools(value: Any) -> bool:
    """Are tools declared with `input_schema`?"""
    return isinstance(value, list) and any(
        isinstance(tool, dict) and "input_schema" in tool for tool in value
    )


def _list_key(value: dict[str, Any]) -> str | None:
    for key in _LISTS:
        held = value.get(key)
        if _is_turns(held):
            return key
        if isinstance(held, str) and held.lstrip().startswith("[") and '"role"' in held:
            return key
    return None


def _choices(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("choices"), list)
        and all(isinstance(c, dict) and "message" in c for c in value["choices"])
    )


def fits(value: Any) -> str:
    """Evidence that a record is a conversation of the OpenAI shape.

    >>> fits({"messages": [{"role": "user", "content": "9*4?"}]})
    'messages with role'
    """
    if isinstance(value, list):
        native = _is_turns(value) and _openai(value) and not react.fits(value)
        return "a list of messages with role" if native and not agent_text.asked_for(value) else ""
    if not isinstance(value, dict):
        return ""
    if tracekit_rows.is_row(value):
        return ""
    if "rejected_messages" in value or ("context_window" in value and "kwargs" in value):
        return ""  # a pair; a log of LiteLLM, which may hold its messages twice
    if ("chosen" in value and "rejected" in value) or ("traj" in value and "task_id" in value):
        return ""  # a pair, whose other side must not become a key of the meta; a run of tau-bench
    request = value.get("request")
    if isinstance(request, dict):
        turns = request.get("messages")
        if _is_turns(turns) and _openai(turns) and not anthropic_tools(request.get("tools")):
            return "request with messages" if _is_openai_response(value.get("response")) else ""
        return ""
    key = _list_key(value)
    if key is not None:
        turns = value[key]
        native = isinstance(turns, str) or _openai(turns)
        if not native or anthropic_tools(value.get("tools")) or _is_event(value):
            return ""
        if "trial_name" in value or "trajectory_format" in value:
            return ""  # runs of agents: their replies are text in the form of a harness
        if react.fits(value) or math_samples.fits(value) or codeact.fits(value):
            return ""  # replies that hold actions or programs as text, with their results
        bare = key == "messages" and isinstance(turns, list) and "tools" not in value
        if bare and agent_text.asked_for(turns):
            return ""
        return f"{key} with role"
    if _choices(value) and value["choices"]:
        return "choices with message"
    completion = value.get("completion", value.get("chosen"))
    if (
        _is_turns(completion)
        and _openai(completion)
        and (_is_turns(value.get("prompt")) or "prompt" not in value)
    ):
        return "prompt and completion as messages"
    return ""


def _openai(turns: Any) -> bool:
    return not has_anthropic_blocks(turns)


def _is_event(value: dict[str, Any]) -> bool:
    if "platform" in value and "session_start" in value:
        return True  # a session of the Hermes agent
    return "sessionId" in value and "uuid" in value


def _is_openai_response(value: Any) -> bool:
    if isinstance(value, str):
        return ("data:" in value or not value) and not value.startswith("event:")
    if not isinstance(value, dict):
        return value is None
    return value.get("type") not in ("message", "error")


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Traces of one record: one, or one for each choice of its response."""
    value = records[0].value
    if isinstance(value, list):
        return [_trace(value, None, ({}, {}), notes, options)]
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    request = value.get("request")
    if isinstance(request, dict) and "messages" in request:
        return _exchange(value, request, notes, options)
    key = _list_key(value)
    if key is not None:
        if isinstance(value.get("response"), dict) and _choices(value["response"]):
            return _exchange(value, value, notes, options)
        return [_plain(value, key, notes, options)]
    if _choices(value):
        return _exchange({"response": value}, {}, notes, options)
    for key in ("completion", "chosen"):
        completion = value.get(key)
        if isinstance(completion, list):
            prompt = value.get("prompt")
            turns = [*(prompt if isinstance(prompt, list) else ()), *completion]
            used = frozenset(("prompt", key, *_TOOLS))
            described = record_keys.describe(value, used, notes)
            return [_trace(turns, _tools(value), described, notes, options)]
    for key in _LISTS:
        if key in value:
            held = value[key]
            if isinstance(held, list) and held:
                raise conversation.refuse_message(held[0], 0)
            raise BadRecord("no_messages", f"{key} is {type(held).__name__}")
    raise BadRecord("no_messages", f"no key of messages among {', '.join(list(value)[:12])}")


def _tools(value: dict[str, Any]) -> list[dict[str, Any]] | None:
    for key in _TOOLS:
        if value.get(key) is not None:
            return declarations.read_tools(value[key])
    return None


def _plain(
    value: dict[str, Any], key: str, notes: Notes, options: Mapping[str, str]
) -> dict[str, Any]:
    turns = value[key]
    if isinstance(turns, str):
        try:
            turns = jsontext.parse(turns.encode("utf-8", "replace"))
        except BadRecord as error:
            raise BadRecord("no_messages", f"{key} is no JSON: {error.detail}") from None
        if not isinstance(turns, list):
            raise BadRecord("no_messages", f"{key} is JSON text of {type(turns).__name__}")
    used = frozenset((key, *_TOOLS))
    system = value.get("system")
    if isinstance(system, str) and not (turns and _role(turns[0]) in ("system", "developer")):
        turns = [{"role": "system", "content": system}, *turns] if system else turns
        used = used | {"system"}
    chosen = value.get("chosen")
    if _is_turn(chosen):
        turns = [*turns, chosen]
        used = used | {"chosen"}
    described = record_keys.describe(value, used, notes)
    return _trace(turns, _tools(value), described, notes, options)


def _role(message: Any) -> Any:
    return message.get("role") if isinstance(message, dict) else None


def _trace(
    turns: Sequence[Any],
    tools: list[dict[str, Any]] | None,
    described: tuple[dict[str, Any], dict[str, Any]],
    notes: Notes,
    options: Mapping[str, str],
) -> dict[str, Any]:
    """One trace; `described` are the fields and the meta that the record's other keys gave."""
    fields, meta = dict(described[0]), dict(described[1])
    messages = packed_results.split(read_turns(turns, tools, notes, options), notes)
    kimi_template.cut_rendered_tools(messages, tools, meta, notes)
    conversation.finish(messages, notes, meta)
    images = meta.get("images")
    if isinstance(images, list) and images and all(isinstance(i, str) for i in images):
        first = next((m for m in messages if m["role"] == "user"), messages[0])
        first["attachments"] = [*first.get("attachments", ()), *meta.pop("images")]
    return record_keys.trace(messages, tools, fields, meta, notes)


def read_turns(
    turns: Sequence[Any],
    tools: list[dict[str, Any]] | None,
    notes: Notes,
    options: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Unfinished canonical messages of a list of OpenAI messages."""
    messages: list[dict[str, Any]] = []
    types = None
    for k, turn in enumerate(turns):
        if types is None and tools and _mentions_xml_call(turn):
            types = declarations.parameter_types(tools)
        message = openai_message.read_message(turn, k, notes, options, types)
        role = message["role"]
        if role == "assistant" and messages and messages[-1] == {"role": "assistant"}:
            messages.pop()
            notes.repair("empty_reply_merged")
        if role == "assistant" and turn["role"] in ("tool_call", "function_call"):
            # One reply written as text and call, or as several calls, is one message.
            last = messages[-1] if messages else None
            if last is not None and last["role"] == "assistant":
                last.setdefault("tool_calls", []).extend(message["tool_calls"])
                continue
        if role in ("user", "tool") and options.get("calls") != "as_text":
            content = message.get("content")
            if content is not None and "<tool_response>" in content:
                messages.extend(openai_message.lifted_results(message, notes))
                continue
        messages.append(message)
    return messages


def _mentions_xml_call(turn: Any) -> bool:
    content = turn.get("content") if isinstance(turn, dict) else None
    return isinstance(content, str) and "<function=" in content


def _exchange(
    value: dict[str, Any], request: dict[str, Any], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Traces of a recorded request with its response: one for each choice."""
    response = value.get("response")
    if isinstance(response, str):
        response = streams.openai_reply(response)
        notes.repair("stream_joined")
    if not isinstance(response, dict):
        raise BadRecord("error_response", "the exchange has no response")
    if response.get("error"):
        raise BadRecord("error_response", jsontext.dump(response["error"])[:300])
    choices = response.get("choices")
    if choices is None and "content" in response:
        reply = {key: response[key] for key in _REPLY if response.get(key) is not None}
        choices = [{"message": {"role": "assistant", **reply}}]
    if not isinstance(choices, list) or not choices:
        raise BadRecord("error_response", "the response has no choices")
    turns = request.get("messages") or []
    if not isinstance(turns, list):
        raise BadRecord("no_messages", f"messages is {type(turns).__name__}")
    tools = _tools(request)
    used = frozenset(("response",)) | (_USED_IN_REQUEST if request is value else {"request"})
    fields, meta = record_keys.describe(value, used, notes)
    beside = record_keys.exchange_meta(
        {} if request is value else request,
        _USED_IN_REQUEST,
        response,
        {"choices"} if "choices" in response else {"choices", *_REPLY},
    )
    model = beside.pop("model", request.get("model"))
    if isinstance(model, str):
        fields["model"] = model
    meta.update(beside)
    traces = []
    for choice in choices:
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(message, dict):
            raise BadRecord("error_response", "a choice has no message")
        reply = {"role": "assistant", **message}
        if reply.get("finish_reason") is None and choice.get("finish_reason") is not None:
            reply["finish_reason"] = choice["finish_reason"]
        rest = {k: v for k, v in choice.items() if k not in _CHOICE and v is not None}
        if rest:
            reply["choice"] = rest
        traces.append(_trace([*turns, reply], tools, (fields, meta), notes, options))
    return traces


_CHOICE = frozenset(("index", "message", "finish_reason", "logprobs"))
_REPLY = ("content", "reasoning", "reasoning_content", "reasoning_details", "finish_reason")


CODES = (
    *conversation.CODES,
    *openai_message.CODES,
    *kimi_template.CODES,
    packed_results.UNPACKED,
    *declarations.CODES,
    *record_keys.CODES,
    *streams.CODES,
)

CALLS = Option(
    name="calls",
    choices=("lift", "as_text"),
    what="Calls written as text (`<tool_call>`): made calls, or left in the content.",
)

IGNORES = {
    "*.reasoning_details[].id": "a name in the provider's log",
    "*.reasoning_details[].data": "encrypted reasoning of the provider, readable by nobody",
    "*.reasoning_details[].signature": "signature of the provider",
    "*.reasoning_details[].text": "the same text as `reasoning`; kept where it differs",
    "*.reasoning_details[].summary": "the same text as `reasoning`; kept where it differs",
    "*.choices[].logprobs": "measurements of the sampler, not said by anybody",
}

dialect = Dialect(
    name="openai",
    version=2,
    unit="record",
    fits=fits,
    read=read,
    codes=CODES,
    ignores=IGNORES,
    options=(CALLS, masks.OPTION),
)
