"""A field mapping in a recipe instead of a dialect: strict paths, true rejects, nothing lost."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracekit
from test_dialects import outcome
from tracekit import dialects
from tracekit.dialects import Notes, Record, mapping
from tracekit.errors import BadRecord
from tracekit.leaves import lost_leaves, texts_of
from tracekit.recipe import Recipe, RecipeError

GIVEN: dict[str, Any] = {
    "messages": "log.turns",
    "role_key": "who",
    "role": {"human": "user", "bot": "assistant", "device": "tool"},
    "content": "said.text",
    "reasoning": "thought",
    "tools": "log.offered",
    "answer": "gold",
    "id": "log.n",
    "session": "chat",
    "task": "task",
    "model": "by",
    "system": "log.rules",
    "outcomes": {"checks.0": "tests"},
}
RECORD: dict[str, Any] = {
    "log": {
        "rules": "Answer in one sentence.",
        "offered": [{"name": "times", "parameters": {"type": "object"}}],
        "turns": [
            {
                "who": "human",
                "said": {"text": "What is nine times four?", "tone": "curious, as ever"},
            },
            {
                "who": "bot",
                "thought": "I could count, or ask the tool.",
                "said": {"text": '<tool_call>{"name": "times", "arguments": {"a": 9}}</tool_call>'},
            },
            {"who": "device", "said": {"text": "thirty-six and no more"}},
            {"who": "bot", "said": {"text": "It is 36."}, "at": "2026-01-02T03:04:05.678Z"},
        ],
        "n": 7,
    },
    "chat": "c-1",
    "task": "times-9-4",
    "by": "a-model",
    "gold": 36,
    "checks": [True, "a note that nobody maps to anything"],
    "extra": {"deep": ["a text that has to be kept somewhere"]},
}


def read(value: Any, given: dict[str, Any] = GIVEN, **options: str) -> dict[str, Any]:
    (trace,) = mapping.dialect_of(given).read([Record("f", 0, value)], Notes(), options)
    return trace


def refusal(value: Any, given: dict[str, Any] = GIVEN) -> str:
    with pytest.raises(BadRecord) as caught:
        read(value, given)
    return f"{caught.value.code}: {caught.value.detail}"


def test_every_path_goes_to_its_field() -> None:
    trace = read(copy.deepcopy(RECORD))
    assert [m["role"] for m in trace["messages"]] == [
        "system", "user", "assistant", "tool", "assistant",
    ]  # fmt: skip
    call = trace["messages"][2]["tool_calls"][0]
    assert (call["name"], call["arguments"]) == ("times", '{"a":9}')
    assert trace["messages"][2]["reasoning"] == "I could count, or ask the tool."
    assert trace["messages"][3]["tool_call_id"] == call["id"]
    assert [t["name"] for t in trace["tools"]] == ["times"]
    fields = ("answer", "source_id", "session_id", "task_key", "model")
    assert [trace[f] for f in fields] == ["36", "7", "c-1", "times-9-4", "a-model"]
    assert trace["outcomes"] == [{"value": "true", "kind": "tests", "name": "0"}]


def test_nothing_of_a_record_is_lost_and_what_is_not_mapped_is_counted() -> None:
    dialect = mapping.dialect_of(GIVEN)
    notes = Notes()
    traces = dialect.read([Record("f", 0, copy.deepcopy(RECORD))], notes, {})
    assert not lost_leaves(dialect.ignores, RECORD, texts_of(traces))
    assert notes.unknown_keys == {"said": 1, "at": 1, "checks": 1, "extra": 1}


def test_a_record_that_is_the_list_of_messages() -> None:
    given = {"messages": ".", "role_key": "role", "content": "content"}
    turns = [{"role": "user", "content": "9*4?"}, {"role": "assistant", "content": "36"}]
    assert [m["content"] for m in read(turns, given)["messages"]] == ["9*4?", "36"]


def test_prompt_and_response_with_reasoning_beside_them() -> None:
    given = {"prompt": "q", "response": "r.text", "reasoning": "r.why", "system": "s"}
    value = {"q": "9*4?", "r": {"text": "36", "why": "four nines"}, "s": "", "left": 1}
    trace = read(value, given)
    assert [m["role"] for m in trace["messages"]] == ["user", "assistant"]
    assert trace["messages"][1]["reasoning"] == "four nines"
    assert json.loads(trace["meta"]) == {"left": 1}


def test_a_dot_in_a_key_is_escaped_and_a_number_is_a_place_in_a_list() -> None:
    given = {"prompt": r"a\.b", "response": "c.1"}
    messages = read({"a.b": "9*4?", "c": ["no", "36"]}, given)["messages"]
    assert [m["content"] for m in messages] == ["9*4?", "36"]


def test_rejects_name_the_path_and_what_is_there() -> None:
    value = copy.deepcopy(RECORD)
    del value["log"]["turns"]
    assert refusal(value).startswith(
        "mapped_path_missing: messages: nothing at log.turns; here: lo"
    )
    value = copy.deepcopy(RECORD)
    value["log"]["turns"][1]["who"] = "gpt"
    assert refusal(value) == (
        "unknown_role: messages[1].who is 'gpt'; the mapping knows human, bot, device"
    )
    del value["log"]["turns"][1]["who"]
    assert refusal(value) == "message_not_object: messages[1] has nothing at who"
    value = copy.deepcopy(RECORD)
    value["gold"] = {"value": 36}
    assert refusal(value) == "mapped_value_not_text: answer: gold is an object"
    assert refusal([1, 2]).startswith("mapped_path_missing")


def test_without_a_table_of_roles_only_the_canonical_names_are_known() -> None:
    given = {"messages": "m", "role_key": "role", "content": "content"}
    turn = {"role": "assistant", "content": "36"}
    assert read({"m": [turn]}, given)["messages"][0]["role"] == "assistant"
    assert refusal({"m": [{**turn, "role": "gpt"}]}, given).startswith("unknown_role")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["log", "turns", "who", "said", "text", "x"]), inner)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(VALUES, st.sampled_from([GIVEN, {"messages": ".", "role_key": "who", "content": "said"}]))
def test_no_value_raises_anything_but_a_declared_reject(value: Any, given: dict[str, Any]) -> None:
    dialect = mapping.dialect_of(given)
    assert isinstance(dialect.fits(value), str)
    outcome(dialect, [Record("f", 0, value)])


def test_another_process_gets_the_same_dialect_by_its_name() -> None:
    there = dialects.get(mapping.name_of(GIVEN))
    record = Record("f", 0, RECORD)
    assert there.read([record], Notes(), {}) == [read(RECORD)]


# In a recipe.


def recipe(folder: Path, text: str) -> Recipe:
    (folder / "r.yaml").write_text(text, "utf-8")
    return Recipe.load(folder / "r.yaml")


SOURCE = "sources:\n  bot:\n    path: a.jsonl\n    mapping:\n      messages: log.turns\n"


def test_ingest_reads_records_by_the_mapping_of_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(RECORD) + '\n{"log": {}}\n', "utf-8")
    text = json.dumps({"sources": {"bot": {"path": "a.jsonl", "mapping": GIVEN}}})
    report = tracekit.ingest(recipe(tmp_path, text), tmp_path / "work")
    assert report.data["rejects"] == {"mapped_path_missing": 1}
    trace = tracekit.open(tmp_path / "work").trace("bot:a.jsonl#0")
    assert trace.messages[-1].content == "It is 36."
    # The workspace's own recipe holds the mapping too: reading again with it changes nothing.
    again = tracekit.open(tmp_path / "work").recipe
    changes = tracekit.ingest(again, tmp_path / "work", replace=True).data["changes"]
    assert {row["traces"]: row["n"] for row in changes}["the same"] == 1


def test_another_mapping_reads_again_and_says_what_changed(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(RECORD), "utf-8")
    for paths in (GIVEN, {**GIVEN, "reasoning": None}):
        text = json.dumps({"sources": {"bot": {"path": "a.jsonl", "mapping": paths}}})
        made = recipe(tmp_path, text)
        report = tracekit.ingest(made, tmp_path / "work", replace=paths is not GIVEN)
    assert {row["traces"]: row["n"] for row in report.data["changes"]}["changed"] == 1


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("      rolekey: who\n", ":6:7", "did you mean 'role_key'"),
        ("      id: log..n\n", ":6:11", "keys with dots between them"),
        ("      prompt: q\n", ":5:7", "both `prompt` and `response`"),
        ("      role: {bot: robot}\n", ":6:19", "one of system, user, assistant, tool"),
        ("    dialect: openai\n", ":3:5", "a dialect or a mapping, not both"),
    ],
)
def test_a_slip_in_a_mapping_is_told_with_its_place(
    tmp_path: Path, text: str, place: str, says: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe(tmp_path, SOURCE + text)
    assert str(caught.value.where).endswith("r.yaml" + place)
    told = f"{caught.value.what} {caught.value.excerpt} {caught.value.expected}"
    assert says.lower() in told.lower()


def test_the_mapping_of_contributing_md_reads_its_own_record(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text("utf-8")
    (line,) = [line for line in page.splitlines() if "mapping: {" in line]
    talk = {"dialog": [{"who": "human", "said": "9*4?"}, {"who": "bot", "said": "36"}]}
    (tmp_path / "a.jsonl").write_text(json.dumps(talk), "utf-8")
    text = line.strip("`.").replace("path: ...", "path: a.jsonl")
    tracekit.ingest(recipe(tmp_path, text), tmp_path / "work")
    assert tracekit.open(tmp_path / "work").trace("mine:a.jsonl#0").messages[1].content == "36"
