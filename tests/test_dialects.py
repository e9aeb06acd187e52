"""Dialects: fixtures to expected traces, finding a dialect, the known cases of the field."""

from __future__ import annotations

import copy
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit import dialects, jsontext
from tracekit.dialects import Dialect, Notes, Record, thinking, toolcall_text
from tracekit.dialects.declarations import read_tools
from tracekit.errors import BadRecord, UsageError
from tracekit.schema import trace_door

DATA = Path(__file__).parent / "data" / "dialects"
NAMES = sorted(dialects.DIALECTS)


@cache
def fixture(name: str) -> tuple[str, ...]:
    return tuple((DATA / f"{name}.jsonl").read_text("utf-8").splitlines())


def records_of(name: str) -> list[Record]:
    return [Record("f.jsonl", k, json.loads(line)) for k, line in enumerate(fixture(name))]


def units_of(dialect: Dialect, records: list[Record]) -> list[list[Record]]:
    return [[record] for record in records] if dialect.unit == "record" else [records]


def check_door(trace: dict[str, Any]) -> None:
    value = {key: v for key, v in trace.items() if key != "rows"}
    place = {"file": "f.jsonl", "first": 0, "last": 0}
    trace_door().validate_python({**value, "id": "s:f#0", "source": "s", "provenance": [place]})


def outcome(dialect: Dialect, unit: list[Record], **options: str) -> dict[str, Any]:
    """What became of a unit, as plain JSON, after the checks that hold for every unit."""
    notes = Notes()
    declared = {code.name for code in dialect.codes}
    found: dict[str, Any] = {}
    try:
        found["traces"] = dialect.read(unit, notes, options)
    except BadRecord as error:
        found["reject"] = error.code
    for trace in found.get("traces", ()):
        check_door(trace)
    assert {found.get("reject")} <= {None, *declared}
    assert set(notes.repairs) <= declared
    assert {kind for _, kind in notes.events} <= {code.name for code in dialect.events}
    assert {code for _, code, _ in notes.rejects} <= declared
    if "traces" in found:
        check_conservation(unit, found["traces"], notes)
    for key, counts in (("repairs", notes.repairs), ("unknown", notes.unknown_keys)):
        if counts:
            found[key] = dict(sorted(counts.items()))
    if notes.events:
        found["events"] = [[record.row, kind] for record, kind in notes.events]
    if notes.rejects:
        found["rejects"] = [[record.row, code] for record, code, _ in notes.rejects]
    return json.loads(json.dumps(found))


def check_conservation(unit: list[Record], traces: list[dict[str, Any]], notes: Notes) -> None:
    first = (unit[0].file, unit[0].row)
    merged = {tuple(row) for trace in traces for row in trace.get("rows", [first])}
    told = [(r.file, r.row) for r, _ in notes.events] + [(r.file, r.row) for r, *_ in notes.rejects]
    assert len(told) == len(set(told))
    assert merged.isdisjoint(told)
    assert merged | set(told) == {(r.file, r.row) for r in unit}


def read_one(name: str, value: Any, **options: str) -> dict[str, Any]:
    (trace,) = dialects.get(name).read([Record("f.jsonl", 0, value)], Notes(), options)
    return trace


def refusal(name: str, value: Any) -> str:
    with pytest.raises(BadRecord) as caught:
        dialects.get(name).read([Record("f.jsonl", 0, value)], Notes(), {})
    return f"{caught.value.code} {caught.value.detail}"


def by_id(record_id: str) -> dict[str, Any]:
    value = next(
        r.value
        for r in records_of("openai")
        if isinstance(r.value, dict) and r.value.get("id") == record_id
    )
    return read_one("openai", value)


def without_id(trace: dict[str, Any]) -> dict[str, Any]:
    return {key: v for key, v in trace.items() if key != "source_id"}


# Fixtures.


@pytest.mark.parametrize("name", NAMES)
def test_fixture_becomes_what_is_expected(name: str) -> None:
    dialect = dialects.get(name)
    units = units_of(dialect, records_of(name))
    expected = json.loads((DATA / f"{name}.expected.json").read_text("utf-8"))
    assert [outcome(dialect, unit) for unit in units] == expected


@pytest.mark.parametrize("name", NAMES)
def test_a_fixture_is_recognised_by_its_own_dialect_alone(name: str) -> None:
    candidates = dialects.recognise(record.value for record in records_of(name))
    assert [candidate[0] for candidate in candidates] == [name]
    assert dialects.choose(candidates) == name


@pytest.mark.parametrize("name", NAMES)
def test_reading_changes_no_record(name: str) -> None:
    records = records_of(name)
    before = copy.deepcopy(records)
    for unit in units_of(dialects.get(name), records):
        outcome(dialects.get(name), unit)
    assert records == before


def test_one_code_has_one_meaning_in_all_dialects() -> None:
    meanings: dict[str, Any] = {}
    for name in NAMES:
        dialect = dialects.get(name)
        for code in (*dialect.codes, *dialect.events):
            assert meanings.setdefault(code.name, code) == code
            assert re.fullmatch("[a-z0-9_]+", code.name)


# Finding a dialect.


def test_an_unknown_dialect_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="Did you mean 'sharegpt'"):
        dialects.get("share_gpt")


def test_a_dialect_may_stand_in_a_file_of_the_user(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from tracekit.dialects import Dialect\n"
        "def fits(value): return 'mine' if 'turns' in value else ''\n"
        "def read(records, notes, options):\n"
        "    q, a = records[0].value['turns']\n"
        "    return [{'messages': [{'role': 'user', 'content': q},"
        " {'role': 'assistant', 'content': a}]}]\n"
        "dialect = Dialect(name='mine', version=1, unit='record', fits=fits, read=read)\n"
    )
    mine = dialects.get(str(path))
    found = outcome(mine, [Record("f", 0, {"turns": ["hello", "hi"]})])
    assert [m["content"] for m in found["traces"][0]["messages"]] == ["hello", "hi"]


@pytest.mark.parametrize(
    ("text", "says"),
    [("x = 1\n", "gives no dialect"), ("1 / 0\n", "ZeroDivisionError"), (None, "does not exist")],
)
def test_a_bad_dialect_file_is_an_error_of_usage(
    tmp_path: Path, text: str | None, says: str
) -> None:
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=says):
        dialects.get(str(path))


def test_options_are_checked_by_name_and_value() -> None:
    openai = dialects.get("openai")
    dialects.check_options(openai, {"calls": "as_text"})
    with pytest.raises(UsageError, match="Did you mean 'calls'"):
        dialects.check_options(openai, {"call": "lift"})
    with pytest.raises(UsageError, match="no value of the option calls"):
        dialects.check_options(openai, {"calls": "drop"})


def test_two_dialects_or_few_samples_are_not_chosen() -> None:
    chat = {"messages": [{"role": "user", "content": "a"}]}
    alpaca = {"instruction": "a", "output": "b"}
    assert dialects.choose(dialects.recognise([chat, alpaca])) is None
    assert dialects.choose(dialects.recognise([chat, {"k": 1}, {"k": 2}])) is None
    assert dialects.recognise([]) == []


# Cases of the field.


def test_r05_arguments_as_text_and_as_object_are_one_trace() -> None:
    text, thing = by_id("string-arguments"), by_id("object-arguments")
    assert without_id(text) == without_id(thing)
    assert by_id("broken-arguments")["messages"][1]["tool_calls"][0]["arguments"].endswith('"k": ')


def test_r06_a_tag_inside_of_a_json_string_ends_no_call() -> None:
    message = by_id("call-as-text")["messages"][1]
    first, second = message["tool_calls"]
    assert json.loads(first["arguments"])["text"] == "end it with </tool_call> please"
    assert json.loads(second["arguments"]) == {"path": "m.md", "k": 3}
    assert "content" not in message
    assert "tool_calls" not in by_id("json-answer")["messages"][1]


def test_r06_an_unreadable_call_leaves_the_whole_text() -> None:
    text = '<tool_call>{"name": "a", "arguments": {}}</tool_call><tool_call>{"na</tool_call>'
    assert toolcall_text.lift(text) is None
    value = {"messages": [{"role": "assistant", "content": text}]}
    assert read_one("openai", value)["messages"][0] == {"role": "assistant", "content": text}


def test_r07_all_names_of_the_reasoning_give_one_trace_and_a_conflict_is_kept() -> None:
    once, twice = by_id("reasoning"), by_id("reasoning-twice")
    assert once["messages"] == twice["messages"]
    conflict = by_id("reasoning-conflict")["messages"][1]
    kept = json.loads(conflict["meta"])["reasoning_conflict"]
    assert {conflict["reasoning"], *kept.values()} == {
        "Nine fours are thirty-six.",
        "Four nines: forty less four.",
    }


def test_r08_both_tags_and_only_the_closing_one_give_one_trace() -> None:
    assert by_id("closing-only")["messages"] == by_id("both-tags")["messages"]
    assert by_id("no-tags")["messages"][1] == {"role": "assistant", "content": "12"}


def test_r09_an_unclosed_block_is_no_answer() -> None:
    message = by_id("unclosed")["messages"][1]
    assert message["reasoning"] == "Seven plus five is tw"
    assert message.get("content") is None


def test_r12_every_form_of_declared_tools() -> None:
    tools = [{"type": "function", "function": {"name": "save", "parameters": {"type": "object"}}}]
    chat = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    as_list = read_one("openai", {**chat, "tools": tools})
    assert as_list == read_one("openai", {**chat, "tools": json.dumps(tools)})
    assert as_list["tools"][0]["name"] == "save"
    assert read_one("openai", {**chat, "tools": []})["tools"] == []
    assert read_one("openai", {**chat, "tools": "[]"})["tools"] == []
    assert "tools" not in read_one("openai", {**chat, "tools": None})
    assert refusal("openai", {**chat, "tools": {"name": "x"}}).startswith("tools_not_list")
    assert refusal("openai", {**chat, "tools": "[not json"}).startswith("tools_not_json")
    assert refusal("openai", {**chat, "tools": [3]}).startswith("tool_without_name")


def test_r24_null_and_empty_content_are_one_and_the_word_none_stays() -> None:
    call = {"id": "c", "function": {"name": "now", "arguments": "{}"}}
    made = [
        read_one(
            "openai", {"messages": [{"role": "assistant", "content": c, "tool_calls": [call]}]}
        )
        for c in (None, "")
    ]
    assert made[0] == made[1]
    spoken = read_one("openai", {"messages": [{"role": "assistant", "content": "None"}]})
    assert spoken["messages"][0]["content"] == "None"


def test_r28_text_and_call_are_one_message_and_an_unknown_role_is_named() -> None:
    values = [record.value for record in records_of("sharegpt")]
    message = read_one("sharegpt", values[0])["messages"][2]
    assert message["content"] == "Let me look that up."
    assert message["tool_calls"][0]["name"] == "quote"
    assert read_one("sharegpt", values[1])["messages"][-1]["role"] == "user"
    assert "'narrator'" in refusal("sharegpt", values[2])


def test_r04_an_unknown_key_is_kept_and_counted() -> None:
    notes = Notes()
    value = {"messages": [{"role": "assistant", "content": "a"}], "judge_score": 0.7}
    (trace,) = dialects.get("openai").read([Record("f", 0, value)], notes, {})
    assert json.loads(trace["meta"]) == {"judge_score": 0.7}
    assert notes.unknown_keys == {"judge_score": 1}


def test_calls_stay_text_where_the_option_says_so() -> None:
    value = {"messages": [{"role": "assistant", "content": '<tool_call>{"name":"a"}</tool_call>'}]}
    assert "tool_calls" in read_one("openai", value)["messages"][0]
    kept = read_one("openai", value, calls="as_text")["messages"][0]
    assert kept["content"] == value["messages"][0]["content"]


def test_a_result_answers_the_nearest_open_call_of_its_id() -> None:
    call = {"id": "x", "function": {"name": "now", "arguments": '{"n":1}'}}
    other = {"id": "x", "function": {"name": "later", "arguments": "{}"}}
    turns = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "user", "content": "go on"},
        {"role": "assistant", "content": None, "tool_calls": [other]},
        {"role": "tool", "tool_call_id": "x", "content": "1"},
        {"role": "tool", "tool_call_id": "x", "content": "2"},
    ]
    messages = read_one("openai", {"messages": turns})["messages"]
    assert [(m["name"], m["content"]) for m in messages[3:]] == [("now", "2"), ("later", "1")]


@pytest.mark.parametrize(
    "text",
    [
        "Close it with `</think>` and go on.",
        "```\nx\n</think>\n```\nis how a block ends",
        "I said <think> a </think> before.",
        "plain thinking about thoughts",
    ],
)
def test_a_tag_that_is_only_mentioned_is_text(text: str) -> None:
    assert thinking.split(text) is None


@given(st.text(max_size=60), st.text(max_size=60))
def test_what_stands_in_tags_comes_back(reasoning: str, answer: str) -> None:
    split = thinking.split(f"<think>{reasoning}</think>{answer}")
    assert split is not None
    assert split.reasoning == reasoning.strip()
    assert split.content == answer.lstrip()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.text(min_size=1, max_size=9), st.dictionaries(st.text(max_size=9), JSON, max_size=3))
def test_a_call_written_as_text_comes_back(name: str, arguments: dict[str, Any]) -> None:
    call = json.dumps({"name": name, "arguments": arguments})
    lifted = toolcall_text.lift(f"Now.\n<tool_call>\n{call}\n</tool_call>")
    assert lifted is not None
    assert lifted.content == "Now."
    assert lifted.calls[0] == (name, jsontext.compact(json.dumps(arguments)))


def test_numbers_and_doubled_keys_of_a_call_stay_as_written() -> None:
    call = '{"name": "a", "arguments": {"x": 1.50, "y": 1E3, "x": 2}}'
    assert toolcall_text.call_of(call) == ("a", '{"x":1.50,"y":1E3,"x":2}')


def test_a_declaration_keeps_what_it_does_not_know() -> None:
    (tool,) = read_tools([{"name": "a", "input_schema": {"type": "dict"}, "strict": True}]) or ()
    assert tool["parameters"] == '{"type":"dict"}'
    assert tool["extra"] == '{"strict":true}'
