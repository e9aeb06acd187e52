"""Public cases R01, R02, R05, R06, R24: arguments and tool schemas come out as they went in."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from road import Road, call, fresh, result, says, tool, travel, user
from strategies import filled, names, texts
from tracekit.render import render_text

scalars: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(-1e9, 1e9),
    texts(12),
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts(8), inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(texts(8), values, max_size=4)
empties: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(({}, [], "")),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2),
    max_leaves=4,
)
ONE_EACH = {"dedupe": False, "shard": {"tokens_per_shard": 1}}
"""Nothing merged, a shard for each row."""


@st.composite
def records(draw: st.DrawFn, arguments: st.SearchStrategy[Any] = objects) -> list[dict[str, Any]]:
    """Records that all call tools of their own, with arguments and schemas of their own."""
    found = []
    for k in range(draw(st.integers(1, 4))):
        own = [f"tool_{k}_{j}" for j in range(draw(st.integers(1, 2)))]
        calls = [call(name, draw(arguments), f"c{j}") for j, name in enumerate(own)]
        found.append(
            {
                "messages": [user(f"question {k}"), says(None, tool_calls=calls)],
                "tools": [tool(name, draw(arguments)) for name in own],
            }
        )
    return found


def exact(value: Any) -> str:
    """Equal texts mean equal values, types and order of keys: 1 is not 1.0 and not true."""
    return json.dumps(value)


def changed(value: Any, number: Callable[[float], float]) -> Any:
    """A JSON value with each of its floats changed."""
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list):
        return [changed(v, number) for v in value]
    if isinstance(value, dict):
        return {k: changed(v, number) for k, v in value.items()}
    return value


def few_digits(number: float) -> float:
    return float(f"{round(number, 3):.6g}")


def rounded(number: float) -> float:
    """What is left when the last digits, in which the JSON reader of `datasets` errs, are cut."""
    return float(f"{number:.12g}")


def said(rows: list[dict[str, Any]]) -> dict[str, str]:
    """User text -> arguments and properties, exactly."""
    out = {}
    for row in rows:
        calls = [c for m in row["messages"] for c in m.get("tool_calls") or ()]
        out[row["messages"][0]["content"]] = exact(
            [
                [[c["function"]["name"], c["function"]["arguments"]] for c in calls],
                [t["function"]["parameters"]["properties"] for t in row["tools"]],
            ]
        )
    return out


def run(found: list[dict[str, Any]], **recipe: Any) -> Road:
    return travel(fresh(), {"a.jsonl": found}, **recipe)


@given(records())
@settings(max_examples=8)
@example(
    [{"messages": [user("q"), says("", tool_calls=[call("now", {})])], "tools": [tool("now")]}]
)
def test_r01_any_arguments_and_schemas_reload_exactly_in_one_shard_and_in_many(
    found: list[dict[str, Any]],
) -> None:
    whole = run(found, dedupe=False)
    swapped = run(found[::-1], **ONE_EACH)
    assert said(whole.rows()) == said(swapped.rows()) == said(found)
    assert len(whole.shards) == 1
    assert len(swapped.shards) == len(found)
    schemas = {pq.read_schema(p).to_string() for p in whole.shards + swapped.shards}
    assert len(schemas) == 1


@given(st.lists(records(), min_size=4, max_size=6))
@settings(max_examples=3, phases=(Phase.explicit, Phase.reuse, Phase.generate))
def test_r01_datasets_gives_the_input_dicts_back_from_files_and_from_the_folder(
    many: list[list[dict[str, Any]]],
) -> None:
    datasets = pytest.importorskip("datasets")
    found = changed([r for one in many for r in one], few_digits)
    for k, record in enumerate(found):
        record["messages"][0] = user(f"question {k}")
    road = run(found, **ONE_EACH)
    with tempfile.TemporaryDirectory() as cache:
        files = [str(p) for p in road.shards]
        one = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=cache)
        two = datasets.load_dataset(str(road.out), split="train", cache_dir=cache)
        from_files, from_folder = (said(changed(list(rows), rounded)) for rows in (one, two))
        assert from_files == from_folder == said(found)


def test_r01_no_key_of_another_tool_reaches_the_rendered_text(tmp_path: Path) -> None:
    tilt = {"pitch": {"type": "integer"}, "yaw": {"type": "integer"}}
    turned = says("", tool_calls=[call("tilt", {"pitch": 4, "yaw": 9})])
    asked = says("", tool_calls=[call("rain", {"town": "Graz"})])
    road = travel(
        tmp_path,
        {
            "a.jsonl": [
                {"messages": [user("lean over"), turned], "tools": [tool("tilt", tilt)]},
                {"messages": [user("wet?"), asked], "tools": [tool("rain", {"town": {}})]},
            ]
        },
    )
    for row in road.traces():
        text = render_text(row)
        assert "null" not in text
        assert "None" not in text
        assert ("pitch" in text) != ("town" in text)


@given(records(st.just({}) | st.dictionaries(names, empties, max_size=2)))
@settings(max_examples=8)
def test_r02_objects_and_lists_that_are_empty_at_any_depth_come_back_empty(
    found: list[dict[str, Any]],
) -> None:
    road = run(found, **ONE_EACH)
    assert said(road.rows()) == said(found)


@given(objects, st.sampled_from((None, 0, 2)))
@settings(max_examples=8)
def test_r05_arguments_as_object_and_as_text_are_one_record(
    arguments: dict[str, Any], indent: int | None
) -> None:
    spelled = json.dumps(arguments, indent=indent, ensure_ascii=bool(indent))
    found = [
        {"messages": [user("find it"), says(None, tool_calls=[call("atlas", given)])]}
        for given in (spelled, arguments)
    ]
    for record in found:
        record["tools"] = [tool("atlas")]
    road = run(found)
    (row,) = road.rows()
    (made,) = row["messages"][1]["tool_calls"]
    assert exact(made["function"]["arguments"]) == exact(arguments)
    assert len(road.said("exact_duplicate")) == 1


BROKEN = ('{"place": "Lyon", "k": ', "{place: 1}", "Lyon", "", "[1,2]", '"{}"', "7", "null", "{}{}")


@pytest.mark.parametrize("template", ["qwen3.5", "qwen3"])
def test_r05_arguments_that_are_no_object_are_kept_out_with_their_text(
    tmp_path: Path, template: str
) -> None:
    good = {"messages": [user("fine"), says(None, tool_calls=[call("atlas", '{"k": "\\"q\\""}')])]}
    bad = [
        {"messages": [user(f"bad {k}"), says(None, tool_calls=[call("atlas", text)])]}
        for k, text in enumerate(BROKEN)
    ]
    road = travel(tmp_path, {"a.jsonl": [good, *bad]}, render={"template": template})
    assert [r["messages"][0]["content"] for r in road.rows()] == ["fine"]
    assert road.said("arguments_not_object") == {f"made:a.jsonl#{k}" for k in range(1, 10)}
    stored = [r["messages"][1]["tool_calls"][0]["arguments"] for r in road.traces()]
    assert stored[1:] == list(BROKEN)
    rendered = render_text(road.traces()[0], template)
    # Twice encoded, the value would be "\"q\"" with the quotes of the object escaped as well.
    assert '{\\"k' not in rendered


@given(st.data())
@settings(max_examples=8)
def test_r06_markup_of_calls_inside_of_arguments_ends_no_call(data: st.DataObject) -> None:
    marks = st.sampled_from(("</tool_call>", "<tool_call>", "\n</tool_call>\n", "}}", '"}\n', "\\"))
    piece = st.lists(marks | filled(6), min_size=1, max_size=4).map("".join)
    wanted = data.draw(st.lists(st.dictionaries(names, piece, max_size=2), min_size=1, max_size=3))
    text = "\n".join(
        f"<tool_call>\n{json.dumps({'name': f'save_{k}', 'arguments': a})}\n</tool_call>"
        for k, a in enumerate(wanted)
    )
    road = run([{"messages": [user("save"), says(text)]}])
    (row,) = road.rows()
    reply = row["messages"][1]
    made = [(c["function"]["name"], c["function"]["arguments"]) for c in reply["tool_calls"]]
    assert made == [(f"save_{k}", a) for k, a in enumerate(wanted)]
    assert reply["content"] == ""


@pytest.mark.parametrize(
    "text",
    [
        'Like this:\n{"name": "save", "arguments": {"path": "n.md"}}',
        'Like this:\n```json\n{"name": "save", "arguments": {}}\n```',
        "Write <tool_call> and then the JSON.",
    ],
)
def test_r06_an_answer_that_shows_a_call_is_none(tmp_path: Path, text: str) -> None:
    road = travel(tmp_path, {"a.jsonl": [{"messages": [user("show me"), says(text)]}]})
    (reply,) = [r["messages"][1] for r in road.rows()]
    assert reply == {"role": "assistant", "content": text}


def test_r24_null_and_empty_content_beside_a_call_are_one_form_and_render_as_nothing(
    tmp_path: Path,
) -> None:
    def talk(**content: Any) -> dict[str, Any]:
        asks = {"role": "assistant", **content, "tool_calls": [call("clock", {})]}
        return {"messages": [user("what time?"), asks, result("09:30"), says("Half past nine.")]}

    road = travel(tmp_path, {"a.jsonl": [talk(content=None), talk(content=""), talk()]})
    (row,) = road.rows()
    assert len(road.said("exact_duplicate")) == 2
    assert row["messages"][1]["content"] == ""
    assert [r["messages"][1]["content"] for r in road.traces()] == [None] * 3
    for template in ("qwen3.5", "qwen3"):
        text = render_text(road.traces()[0], template)
        assert "None" not in text
        assert "null" not in text


@pytest.mark.parametrize("word", ["None", "null", "nan", "0", " "])
def test_r24_words_that_look_like_nothing_stay(tmp_path: Path, word: str) -> None:
    road = travel(tmp_path, {"a.jsonl": [{"messages": [user("say it"), says(word)]}]})
    assert [r["messages"][1]["content"] for r in road.rows()] == [word]


@given(st.lists(st.booleans(), min_size=1, max_size=5))
@settings(max_examples=8)
def test_r24_an_assistant_message_of_nothing_is_found_wherever_it_stands(full: list[bool]) -> None:
    turns: list[dict[str, Any]] = []
    for k, one in enumerate(full):
        turns += [user(f"turn {k}"), says(f"answer {k}" if one else None)]
    road = run([{"messages": turns}])
    empty = [2 * k + 1 for k, one in enumerate(full) if not one]
    found = {(f["code"], f["message"]) for f in road.evidence("findings")}
    if not any(full):
        assert road.rows() == []
        assert ("empty_target", None) in found
    else:
        assert len(road.rows()) == 1
        assert {m for code, m in found if code == "empty_message"} == set(empty)
