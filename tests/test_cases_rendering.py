"""Public cases R10 to R12: what a template does to history, results and tools is known and said."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from road import Road, call, fresh, go, result, says, tool, travel, user, write_files
from tracekit.render import TEMPLATES, render_samples
from tracekit.samples import HISTORIES
from tracekit.tokenizers import load

WORDS = st.text("abc deé\n", min_size=1, max_size=12).map(lambda t: f"w{t}w")


def talk(*turns: tuple[str, str | None, str]) -> dict[str, Any]:
    """Turns (asked, thought, told)."""
    messages = []
    for asked, thought, told in turns:
        messages.append(user(asked))
        messages.append(says(told, **({} if thought is None else {"reasoning_content": thought})))
    return {"messages": messages}


R10 = talk(
    ("3*3?", "Three threes make nine, an odd square.", "9"),
    ("plus one?", "Nine and one make ten.", "10"),
)


def stretches(row: dict[str, Any], history: str) -> list[list[str]]:
    """Trained stretches of each sample."""
    found = []
    for pieces in render_samples(row, history=history):
        groups = itertools.groupby(pieces, key=lambda p: p.target)
        found.append(["".join(p.text for p in group) for target, group in groups if target])
    return found


@pytest.mark.parametrize("history", HISTORIES)
def test_r10_both_reasonings_are_stored_and_the_mode_is_in_the_manifest(
    tmp_path: Path, history: str
) -> None:
    road = travel(tmp_path, {"a.jsonl": [R10]}, render={"history_thinking": history})
    (row,) = road.rows()
    assert [m.get("reasoning_content") for m in row["messages"]] == [
        None, "Three threes make nine, an odd square.", None, "Nine and one make ten.",
    ]  # fmt: skip
    manifest = road.manifest()
    assert manifest["template"]["history_thinking"] == history
    (counted,) = road.evidence("tokens")
    texts = [
        "".join(p.text for p in sample)
        for sample in render_samples(road.traces()[0], history=history)
    ]
    assert len(texts) == len(counted["sample_tokens"]) == (2 if history == "strip" else 1)
    assert manifest["n_tokens"] == counted["n_tokens"] == sum(counted["sample_tokens"])


def test_r10_deleted_reasoning_is_found_and_counted_and_nowhere_else(tmp_path: Path) -> None:
    said = {}
    for history in HISTORIES:
        road = travel(
            tmp_path / history, {"a.jsonl": [R10, talk(("2+2?", "Two twos.", "4"))]},
            render={"history_thinking": history},
        )  # fmt: skip
        said[history] = {
            code: len(road.said(code)) for code in ("thinking_deleted", "prefix_unstable")
        }
    nothing = {"thinking_deleted": 0, "prefix_unstable": 0}
    one = {"thinking_deleted": 1, "prefix_unstable": 1}
    assert said == {"keep": nothing, "strip": nothing, "as_is": one}


@given(
    turns=st.lists(st.tuples(WORDS, st.none() | WORDS, WORDS), min_size=1, max_size=4),
    history=st.sampled_from(HISTORIES),
)
def test_r10_each_trained_stretch_is_of_one_assistant_message_alone(
    turns: list[tuple[str, str | None, str]], history: str
) -> None:
    messages = []
    for k, (asked, thought, told) in enumerate(turns):
        messages.append({"role": "user", "content": f"ask{k} {asked}"})
        messages.append(
            {"role": "assistant", "content": f"tell{k} {told}", "reasoning": thought,
             "tool_calls": [], "train": None, "weight": None}
        )  # fmt: skip
    found = stretches({"messages": messages, "tools": None}, history)
    assert [len(s) for s in found] == ([1] * len(turns) if history == "strip" else [len(turns)])
    for k, stretch in enumerate(itertools.chain.from_iterable(found)):
        assert f"tell{k}" in stretch
        assert "ask" not in stretch
        assert stretch.endswith("<|im_end|>")


PARALLEL = {
    "messages": [
        user("temps in Oslo and Rome"),
        says("", tool_calls=[call("temp", {"q": "Oslo"}, "a"), call("temp", {"q": "Rome"}, "b")]),
        result("21", "b"),
        result("4", "a"),
        says("Oslo 4, Rome 21."),
    ]
}


def test_r11_results_of_parallel_calls_share_a_turn_in_the_order_of_the_calls(
    tmp_path: Path,
) -> None:
    road = travel(tmp_path, {"a.jsonl": [PARALLEL]})
    (trace,) = road.traces()
    assert [m["content"] for m in trace["messages"] if m["role"] == "tool"] == ["4", "21"]
    (pieces,) = render_samples(trace)
    text = "".join(p.text for p in pieces)
    assert (
        "<|im_start|>user\n<tool_response>\n4\n</tool_response>\n<tool_response>\n21\n"
        "</tool_response><|im_end|>\n<|im_start|>assistant" in text
    )
    assert road.report.law[-1] == "1 traces = 1 in shards + 0 dropped"
    assert road.said("results_out_of_order") == set()


@given(n=st.integers(2, 5), data=st.data(), name=st.sampled_from(sorted({*TEMPLATES} - {"chatml"})))
@settings(max_examples=15)
def test_r11_counts_are_of_the_whole_conversation_and_the_order_that_came_is_no_matter(
    n: int, data: st.DataObject, name: str
) -> None:
    order = data.draw(st.permutations(range(n)))
    record = {
        "messages": [
            user("all of them"),
            says("", tool_calls=[call("temp", {"q": str(k)}, f"c{k}") for k in range(n)]),
            *[result(f"result {k}", f"c{k}") for k in order],
            says("Done."),
        ]
    }
    road = travel(fresh(), {"a.jsonl": [record]}, render={"template": name})
    (trace,), (counted,) = road.traces(), road.evidence("tokens")
    results = [m["content"] for m in trace["messages"] if m["role"] == "tool"]
    assert results == [f"result {k}" for k in range(n)]
    (pieces,) = render_samples(trace, name)
    special = sum(p.control for p in pieces)
    runs = itertools.groupby(pieces, key=lambda p: p.control)
    plain = ["".join(p.text for p in group) for control, group in runs if not control]
    assert counted["n_tokens"] == special + int(load().count(plain).sum())


def test_r11_a_dialect_that_leaves_them_out_of_order_is_told(tmp_path: Path) -> None:
    (tmp_path / "raw.py").write_text(
        "from tracekit.dialects import Dialect\n"
        "def read(records, notes, options):\n"
        "    return [records[0].value]\n"
        "dialect = Dialect(name='raw', version=1, unit='record', fits=bool, read=read)\n",
        "utf-8",
    )
    calls = [{"id": i, "name": "temp", "arguments": "{}"} for i in ("a", "b")]
    trace = {
        "messages": [
            {"role": "user", "content": "both"},
            {"role": "assistant", "tool_calls": calls},
            {"role": "tool", "tool_call_id": "b", "content": "21"},
            {"role": "tool", "tool_call_id": "a", "content": "4"},
            {"role": "assistant", "content": "Done."},
        ]
    }
    write_files(tmp_path, {"a.jsonl": [trace]})
    source = {"path": "a.jsonl", "dialect": "raw.py"}
    road = go(tmp_path, {"sources": {"made": source}})
    assert len(road.said("results_out_of_order")) == 1
    assert len(road.rows()) == 1


DECLARED = [tool("temp")]
FORMS: dict[str, tuple[Any, str]] = {
    "list": (DECLARED, "declared"),
    "text of a list": (json.dumps(DECLARED), "declared"),
    "text of an empty list": ("[]", "none offered"),
    "empty list": ([], "none offered"),
    "null": (None, "not recorded"),
    "object": ({"temp": {}}, "reject"),
    "no JSON": ("[not json", "reject"),
}


def test_r12_every_form_of_tools_is_one_of_three_things_or_a_reject_with_its_reason(
    tmp_path: Path,
) -> None:
    calls = says("", tool_calls=[call("temp", {"q": "Oslo"}, "a")])
    records = [
        {"messages": [user(f"temp, {name}"), calls], "tools": value}
        for name, (value, _) in FORMS.items()
    ]
    absent = {"messages": [user("temp, absent"), calls]}
    road = travel(tmp_path, {"a.jsonl": [*records, absent]}, dedupe=False)
    got = {
        name: (None if row["tools"] is None else len(row["tools"]))
        for name, row in road.by_task().items()
    }
    want = {"declared": 1, "none offered": 0, "not recorded": None}
    expected = {f"temp, {n}": want[kind] for n, (_, kind) in FORMS.items() if kind != "reject"}
    assert got == {**expected, "temp, absent": None}
    assert len(road.rejects()) == sum(kind == "reject" for _, kind in FORMS.values())
    assert all(r["code"] and r["detail"] for r in road.rejects())
    _same_form(road)


def test_r12_a_call_of_a_tool_that_was_not_offered_is_found_where_tools_were_recorded(
    tmp_path: Path,
) -> None:
    calls = says("", tool_calls=[call("other", {}, "a")])
    records = [
        {"messages": [user(f"{k}"), calls], **tools}
        for k, tools in enumerate([{"tools": DECLARED}, {"tools": []}, {"tools": None}, {}])
    ]
    road = travel(tmp_path, {"a.jsonl": records}, dedupe=False)
    assert road.said("unknown_tool") == {f"made:a.jsonl#{k}" for k in (0, 1)}


def _same_form(road: Road) -> None:
    declared = [row["tools"] for row in road.rows() if row["tools"]]
    assert all(tools == declared[0] for tools in declared)


def test_a_trace_of_which_nothing_is_trained_is_dropped_by_name(tmp_path: Path) -> None:
    untrained = {"messages": [user("9*4?"), says("36", weight=0)]}
    silent = {"messages": [user("9*5?"), says("")]}
    road = travel(tmp_path, {"a.jsonl": [untrained, silent, talk(("1+1?", None, "2"))]})
    assert road.dropped_by() == {
        "made:a.jsonl#0": "nothing_trained",
        "made:a.jsonl#1": "empty_target",
        "made:a.jsonl#2": None,
    }
