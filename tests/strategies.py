"""Hypothesis strategies for valid traces with odd text, and for recipes as plain dicts.

All text is free of lone surrogates: those are replaced before a trace exists.
"""

import json
from typing import Any

from hypothesis import strategies as st

from tracekit.types import Message, Origin, Outcome, Tool, ToolCall, Trace, TrainFlags

ODD = (
    "",
    " ",
    "\n\n",
    "\u2028",
    "\u0085",
    "\ufeff",
    "\x00",
    "e\u0301",
    "\u1112\u1161\u11ab",
    "加拿大",
    "👩‍👩‍👧",
    "<|im_end|>",
    "<|endoftext|>",
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<function=f>",
    "a\r\nb",
    "1.0",
    "null",
    "\\ud83d",
    "  indented",
    "word " * 40,
)
"""Texts that have broken parsers, tokenizers or templates."""


def texts(max_size: int = 40) -> st.SearchStrategy[str]:
    """Any text without lone surrogates; one in three is made of odd pieces."""
    plain = st.text(st.characters(exclude_categories=["Cs"]), max_size=max_size)
    odd = st.lists(st.sampled_from(ODD), min_size=1, max_size=4).map("".join)
    return st.one_of(plain, plain, odd)


def filled(max_size: int = 40) -> st.SearchStrategy[str]:
    """Text that is not empty: `content` is null rather than empty."""
    return texts(max_size).filter(bool)


names = st.from_regex(r"[a-z][a-z_]{0,11}", fullmatch=True)

scalars: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    texts(12),
)
json_values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(texts(8), inner, max_size=3)
    ),
    max_leaves=6,
)


def compact(value: object) -> str:
    """JSON text in the one spelling of white space that a trace keeps."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


json_objects = st.dictionaries(names, json_values, max_size=4).map(compact)
"""JSON objects as text: arguments, parameters, meta."""


@st.composite
def tool_lists(draw: st.DrawFn) -> tuple[Tool, ...] | None:
    """null (not recorded), empty (none offered), or some declarations with different names."""
    if draw(st.integers(0, 3)) == 0:
        return None
    different = draw(st.lists(names, max_size=4, unique=True))
    return tuple(
        Tool(
            name=name,
            description=draw(st.none() | texts()),
            parameters=draw(st.none() | json_objects),
            extra=draw(st.none() | json_objects),
        )
        for name in different
    )


@st.composite
def assistants(draw: st.DrawFn, tools: tuple[Tool, ...] | None = None) -> Message:
    """An assistant message; calls name declared tools where any are declared."""
    known = [t.name for t in tools or ()]
    n_calls = draw(st.integers(0, 3)) if tools is None or known else 0
    calls = tuple(
        ToolCall(
            id=f"call_{k}",
            name=draw(st.sampled_from(known) if known else names),
            arguments=draw(json_objects),
        )
        for k in range(n_calls)
    )
    reasoning = draw(st.none() | texts(80))
    flags = st.builds(
        TrainFlags,
        reasoning=st.booleans(),
        content=st.booleans(),
        calls=st.none() | st.tuples(*[st.booleans()] * n_calls),
    )
    return Message(
        role="assistant",
        content=draw(st.none() | filled(80)),
        reasoning=reasoning,
        reasoning_kind=None
        if reasoning is None
        else draw(st.sampled_from((None, "full", "summary", "rationale", "lifted"))),
        tool_calls=calls,
        weight=draw(st.sampled_from((None, None, 0.0, 1.0, 0.5))),
        train=draw(st.none() | flags),
        finish_reason=draw(st.sampled_from((None, "stop", "tool_calls", "length"))),
        meta=draw(st.none() | json_objects),
    )


@st.composite
def messages(draw: st.DrawFn, tools: tuple[Tool, ...] | None = None) -> tuple[Message, ...]:
    """A conversation in legal order: each call is answered, results stand in call order."""
    out: list[Message] = []
    if draw(st.booleans()):
        out.append(Message(role="system", content=draw(filled())))
    for _ in range(draw(st.integers(1, 3))):
        files = draw(st.lists(st.from_regex(r"[0-9a-f]{16}", fullmatch=True), max_size=2))
        out.append(Message(role="user", content=draw(filled()), attachments=tuple(files)))
        for _ in range(draw(st.integers(1, 3))):
            reply = draw(assistants(tools))
            out.append(reply)
            out.extend(
                Message(
                    role="tool",
                    content=draw(st.none() | filled()),
                    tool_call_id=call.id,
                    name=call.name,
                    error=draw(st.sampled_from((None, False, True))),
                )
                for call in reply.tool_calls
            )
            if not reply.tool_calls:
                break
    return tuple(out)


@st.composite
def traces(draw: st.DrawFn, source: str = "made") -> Trace:
    """One valid trace; ids of a list of traces may collide, see `trace_lists`."""
    tools = draw(tool_lists())
    row = draw(st.integers(0, 10**6))
    file = draw(st.sampled_from(("a.jsonl", "b/c.json", "ü.parquet")))
    verdicts = st.builds(
        Outcome,
        value=scalars.map(compact),
        kind=st.sampled_from(("tests", "environment", "exact_match", "claimed")),
        name=names,
    )
    return Trace(
        id=f"{source}:{file}#{row}",
        source=source,
        source_id=draw(st.none() | texts(12)),
        provenance=(Origin(file=file, first=row, last=row + draw(st.integers(0, 3))),),
        session_id=draw(st.none() | names),
        parent_id=draw(st.none() | names),
        task_key=draw(st.none() | names),
        messages=draw(messages(tools)),
        tools=tools,
        answer=draw(st.none() | texts()),
        outcomes=tuple(draw(st.lists(verdicts, max_size=2))),
        model=draw(st.none() | names),
        meta=draw(st.none() | json_objects),
    )


def trace_lists(max_size: int = 6) -> st.SearchStrategy[list[Trace]]:
    """Traces with different ids."""
    return st.lists(traces(), max_size=max_size, unique_by=lambda t: t.id)


@st.composite
def recipes(draw: st.DrawFn) -> dict[str, Any]:
    """A valid recipe as the plain dict that its YAML file would hold."""
    recipe: dict[str, Any] = {
        "version": 1,
        "sources": {
            name: {"path": f"{name}/*.jsonl"}
            for name in draw(st.lists(names, min_size=1, max_size=3, unique=True))
        },
        "seed": draw(st.integers(0, 2**31 - 1)),
    }
    if draw(st.booleans()):
        threshold = draw(st.integers(50, 95)) / 100
        recipe["dedupe"] = draw(st.sampled_from((False, {"threshold": threshold})))
    if draw(st.booleans()):
        least = draw(st.integers(0, 1000))
        recipe["filter"] = {"min_tokens": least, "max_tokens": least + draw(st.integers(1, 10**6))}
    if draw(st.booleans()):
        recipe["shard"] = {
            "tokens_per_shard": draw(st.sampled_from(("10M", "25_000_000", 500_000)))
        }
    return recipe
