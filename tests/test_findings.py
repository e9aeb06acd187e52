"""Findings and edits: right places, silence on good data, one text for everybody."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import traces
from tracekit import edits, evidence, findings, text
from tracekit.edits import REPAIRS, Edit
from tracekit.schema import trace_of_row, trace_table
from tracekit.types import Message, Origin, Tool, ToolCall, Trace


def trace(*messages: Message, tools: tuple[Tool, ...] | None = None) -> Trace:
    return Trace(
        id="s:f#0", source="s", provenance=(Origin(file="f", first=0, last=0),),
        messages=messages, tools=tools,
    )  # fmt: skip


def row(*messages: Message, tools: tuple[Tool, ...] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = trace_table([trace(*messages, tools=tools)]).to_pylist()[0]
    return found


def codes(*messages: Message, tools: tuple[Tool, ...] | None = None) -> list[str]:
    return sorted({f.code for f in findings.find(0, row(*messages, tools=tools))})


USER = Message(role="user", content="q")
ANSWER = Message(role="assistant", content="a")


def calls(*ids: str, name: str = "f") -> Message:
    return Message(
        role="assistant",
        tool_calls=tuple(ToolCall(id=i, name=name, arguments="{}") for i in ids),
    )


def result(id: str) -> Message:
    return Message(role="tool", tool_call_id=id, content="r")


@pytest.mark.parametrize(
    "messages",
    [
        (USER, ANSWER),
        (USER, calls("a")),  # a last message of calls is a legal end
        (USER, calls("a", "b"), result("a"), result("b"), ANSWER),
        (USER, calls("a"), result("a"), calls("a"), result("a"), ANSWER),  # ids repeat over turns
        (USER, calls("a"), calls("b"), result("a"), result("b"), ANSWER),  # one turn in two
        (USER, Message(role="assistant", reasoning="", content="a")),
        (USER, Message(role="assistant", content="x < y", finish_reason="stop")),
    ],
)
def test_good_traces_have_no_finding(messages: tuple[Message, ...]) -> None:
    assert codes(*messages) == []


def test_a_mention_of_a_tag_in_reasoning_is_a_mention_and_no_call() -> None:
    thinks = Message(role="assistant", content="a", reasoning="I could use <tool_call> here")
    assert codes(USER, thinks) == ["tags_in_text"]


def test_results_in_another_order_than_their_calls_are_found_at_the_late_one() -> None:
    messages = (USER, calls("a", "b", "c"), result("c"), result("a"), result("b"), ANSWER)
    assert codes(*messages) == ["results_out_of_order"]
    assert codes(USER, calls("a", "b"), result("b"), ANSWER) == ["call_without_result"]


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ((ANSWER,), "no_user_message"),
        ((USER, Message(role="system", content="s"), ANSWER), "system_not_first"),
        ((USER, Message(role="assistant")), "empty_target"),
        ((USER, Message(role="assistant", reasoning="hm")), "empty_answer"),
        ((USER, ANSWER, USER), "dangling_user"),
        ((USER, calls("a"), ANSWER), None),
        ((USER, calls("a"), USER, ANSWER), None),
        ((USER, calls("a", "b"), result("a"), ANSWER), "call_without_result"),
        ((USER, calls("a"), result("a"), result("z"), ANSWER), "result_without_call"),
        ((USER, Message(role="assistant", content="x <think> y")), "unclosed_think"),
        ((USER, Message(role="assistant", content="x </think> y")), "stray_think"),
        ((USER, Message(role="assistant", content="a <|im_end|>")), "control_tokens"),
        ((USER, Message(role="assistant", content="<tool_call>{}")), "call_text_in_content"),
        ((USER, Message(role="assistant", content="a", finish_reason="length")), "truncated"),
        (
            (USER, Message(role="assistant", reasoning="r", meta='{"think_tags":"unclosed"}')),
            "unclosed_think",
        ),
    ],
)
def test_what_is_wrong_is_found(messages: tuple[Message, ...], code: str | None) -> None:
    found = codes(*messages)
    assert (code in found) if code else not {"result_without_call"} & set(found)


def test_an_unknown_tool_is_unknown_only_where_tools_are_recorded() -> None:
    assert codes(USER, calls("a"), tools=None) == []
    assert codes(USER, calls("a"), tools=()) == ["unknown_tool"]
    assert codes(USER, calls("a"), tools=(Tool(name="f"),)) == []


def test_a_span_is_where_the_text_is() -> None:
    said = "so é <|endoftext|> here"
    (found,) = findings.find(0, row(USER, Message(role="assistant", content=said)))
    assert said[found.start : found.end] == "<|endoftext|>"
    assert (found.message, found.field) == (1, "content")


@settings(deadline=None)
@given(traces())
def test_findings_give_declared_codes_and_spans_within_the_text(value: Trace) -> None:
    stored = trace_table([value]).to_pylist()[0]
    for found in findings.find(3, stored):
        assert found.trace == 3
        assert found.code in findings.KNOWN
        if found.start is not None and found.field in ("content", "reasoning"):
            assert found.message is not None
            said = stored["messages"][found.message][found.field]
            assert 0 <= found.start < (found.end or 0) <= len(said) + 11


@settings(deadline=None)
@given(traces(), st.lists(st.sampled_from(sorted(REPAIRS)), unique=True))
def test_an_edited_trace_is_a_trace_and_the_stored_one_is_untouched(
    value: Trace, names: list[str]
) -> None:
    (stored,) = trace_table([value]).to_pylist()
    made = edits.make([stored], names)
    edited = edits.apply(stored, made)
    (again,) = trace_table([value]).to_pylist()
    assert stored == again
    assert edits.edits_of(edits.table_of(made)).get(0, []) == made
    copy = {**edited, "messages": [dict(m) for m in edited["messages"]]}
    assert trace_of_row(copy).id == value.id
    assert {e.code for e in made} <= {c.name for c in edits.CODES}
    if not made:
        assert edited is stored


@settings(deadline=None)
@given(traces())
def test_a_repair_made_twice_finds_nothing_the_second_time(value: Trace) -> None:
    (stored,) = trace_table([value]).to_pylist()
    for name in REPAIRS:
        once = edits.apply(stored, edits.make([stored], [name]))
        if name != "move_system_first":  # a third system message is left where it is
            assert edits.make([once], [name]) == [], name


def test_several_spans_of_one_text_are_replaced_from_behind() -> None:
    said = "a <|im_end|> b <|im_start|> c"
    stored = row(USER, Message(role="assistant", content=said))
    edited = edits.apply(stored, edits.make([stored], ["remove_control_tokens"]))
    assert edited["messages"][1]["content"] == "a  b  c"


def test_repairs_leave_a_finding_of_their_own_and_all_families_see_the_edited_text() -> None:
    table = trace_table([trace(USER, ANSWER, USER)])
    plain = evidence.measure_table(table, evidence.Settings())
    trimmed = evidence.measure_table(table, evidence.Settings(repairs=("trim_tail",)))
    assert "dangling_user" in plain["findings"]["code"].to_pylist()
    assert trimmed["findings"]["code"].to_pylist() == ["tail_trimmed"]
    alone = evidence.measure_table(trace_table([trace(USER, ANSWER)]), evidence.Settings())
    for family in ("tokens", "sketch"):
        assert trimmed[family].equals(alone[family])
    hashes = [t["text"]["content_hash"].to_pylist() for t in (trimmed, alone)]
    assert hashes[0] == hashes[1]


@settings(max_examples=25, deadline=None)
@given(st.lists(traces(), min_size=2, max_size=6), st.data())
def test_evidence_of_a_table_is_that_of_its_pieces(
    values: list[Trace], data: st.DataObject
) -> None:
    table = trace_table(values)
    cut = data.draw(st.integers(1, len(values) - 1))
    settings_ = evidence.Settings(repairs=("trim_tail", "escape_control_tokens"))
    whole = evidence.measure_table(table, settings_)
    first = evidence.measure_table(table.slice(0, cut), settings_)
    second = evidence.measure_table(table.slice(cut), settings_, first=cut)
    for family, made in whole.items():
        joined = first[family].to_pylist() + second[family].to_pylist()
        assert made.to_pylist() == joined, family


def test_identity_is_what_was_said_and_nothing_else() -> None:
    def hash_of(*messages: Message, **more: Any) -> str:
        (stored,) = trace_table([trace(*messages, **more)]).to_pylist()
        found: str = text.measure([stored])["content_hash"][0].as_py()
        return found

    first = hash_of(USER, calls("a"), result("a"), ANSWER)
    assert hash_of(USER, calls("other"), result("other"), ANSWER) == first
    named = Message(role="assistant", content="a", meta='{"x":1}', finish_reason="stop")
    assert hash_of(USER, calls("a"), result("a"), named) == first
    assert hash_of(USER, calls("a", name="g"), result("a"), ANSWER) != first
    assert hash_of(USER, calls("a"), result("a"), ANSWER, tools=()) != first


def test_an_edit_of_arguments_changes_that_call_only() -> None:
    stored = row(USER, calls("a", "b"))
    edit = Edit(
        trace=0, message=1, call=1, field="arguments", start=0, end=2, op="replace",
        replacement='{"x":1}', code="control_tokens_removed",
    )  # fmt: skip
    edited = edits.apply(stored, [edit])
    assert [c["arguments"] for c in edited["messages"][1]["tool_calls"]] == ["{}", '{"x":1}']
