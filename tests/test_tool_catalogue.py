"""Tools where a source declares none: from a catalogue, or inferred from the calls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import tracekit
from road import go, travel, write_files
from tracekit import cli, manifest, tool_catalogue
from tracekit.dialects.dialect import Notes
from tracekit.errors import EXIT_INPUT, EXIT_OK, EXIT_USAGE, InputError
from tracekit.recipe import Recipe, RecipeError
from tracekit.recipe_sections import INFERRED
from tracekit.tool_catalogue import ToolSource, schema_of, with_tools
from tracekit.types import Message, Origin, Tool, ToolCall, Trace
from tracekit.workspace import Workspace

RAIN = {
    "type": "function",
    "function": {
        "name": "rain",
        "description": "Says whether it rains.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
SNOW = {"name": "snow", "description": "Says whether it snows.", "parameters": {"type": "object"}}


def record(n: int, *calls: tuple[str, str], tools: list[Any] | None = None) -> dict[str, Any]:
    """A conversation in which the assistant makes these calls, each of them answered."""
    made = [
        {"id": f"c{k}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for k, (name, arguments) in enumerate(calls)
    ]
    messages: list[dict[str, Any]] = [{"role": "user", "content": f"How is the weather, {n}?"}]
    if made:
        messages.append({"role": "assistant", "content": None, "tool_calls": made})
        messages += [{"role": "tool", "tool_call_id": c["id"], "content": "no"} for c in made]
    messages.append({"role": "assistant", "content": f"Dry, answer {n}."})
    return {"messages": messages} | ({} if tools is None else {"tools": tools})


RECORDS = [
    record(0, ("rain", '{"city":"Pfullingen"}'), ("rain", '{"city":"Ulm","day":2}')),
    record(1, ("hail", '{"city":"Ulm"}')),
    record(2),
    record(3, ("rain", '{"city":"Ulm"}'), tools=[SNOW]),
    record(4, tools=[]),
]


def trace_of(*calls: tuple[str, str], meta: str | None = None, **more: Any) -> Trace:
    made = tuple(ToolCall(id=f"c{k}", name=n, arguments=a) for k, (n, a) in enumerate(calls))
    return Trace(
        id="s:f#0", source="s", provenance=(Origin(file="f", first=0, last=0),), meta=meta,
        messages=(Message(role="user", content="?"), Message(role="assistant", tool_calls=made)),
        **more,
    )  # fmt: skip


def named(trace: dict[str, Any]) -> list[str] | None:
    return None if trace["tools"] is None else [tool["name"] for tool in trace["tools"]]


def test_inferred_tools_go_the_whole_road_and_are_told(tmp_path: Path) -> None:
    road = travel(tmp_path, {"made/a.jsonl": RECORDS}, sources={"made": {"tools_from": "inferred"}})
    traces = road.traces()
    assert [named(t) for t in traces] == [["rain"], ["hail"], None, ["snow"], []]
    assert traces[0]["tools"][0] == {
        "name": "rain",
        "description": None,
        "parameters": '{"type":"object","properties":{"city":{"type":"string"},'
        '"day":{"type":"integer"}},"required":["city"]}',
        "extra": None,
    }
    said = [json.loads(t["meta"] or "{}").get("tools_from") for t in traces]
    assert said == ["inferred", "inferred", None, None, None]
    assert [p.repairs for _, p in manifest.load(Workspace(road.work)).parts()] == [
        {"tools_inferred": 2}
    ]
    assert road.said("unknown_tool") == {traces[3]["id"]}
    (shown,) = road.by_task()["How is the weather, 1?"]["tools"]
    assert shown["function"]["name"] == "hail"
    assert not tracekit.verify(road.work).failed


def test_a_catalogue_declares_all_or_what_is_called_and_finds_unknown_tools(tmp_path: Path) -> None:
    write_files(tmp_path, {"catalogue.json": json.dumps([RAIN, SNOW]).encode()})
    stated: Any
    for name, stated, expected in (
        ("all", "catalogue.json", [["rain", "snow"]] * 3),
        ("called", {"catalogue": "catalogue.json", "offer": "called"}, [["rain"], [], None]),
    ):
        road = travel(
            tmp_path, {"made/a.jsonl": RECORDS}, name=name,
            sources={"made": {"tools_from": stated}},
        )  # fmt: skip
        traces = road.traces()
        assert [named(t) for t in traces] == [*expected, ["snow"], []]
        assert traces[0]["tools"][0]["description"] == "Says whether it rains."
        assert json.loads(traces[0]["meta"])["tools_from"] == "catalogue"
        assert road.said("unknown_tool") == {traces[1]["id"], traces[3]["id"]}
        n_given = sum(tools is not None for tools in expected)
        (part,) = [p for _, p in manifest.load(Workspace(road.work)).parts()]
        assert part.repairs == {"tools_from_catalogue": n_given}


def test_without_the_key_unknown_tools_stay_unknown(tmp_path: Path) -> None:
    road = travel(tmp_path, {"made/a.jsonl": RECORDS})
    assert [named(t) for t in road.traces()] == [None, None, None, ["snow"], []]
    assert road.said("unknown_tool") == {road.traces()[3]["id"]}


def test_another_catalogue_is_another_fingerprint_another_spelling_is_not(tmp_path: Path) -> None:
    write_files(tmp_path, {"in/a.jsonl": RECORDS, "c.json": json.dumps([RAIN]).encode()})
    work = tmp_path / "work"

    def read(tools_from: Any) -> tuple[str, dict[str, int]]:
        recipe = Recipe.from_dict(
            {"sources": {"made": {"path": "in/a.jsonl", "tools_from": tools_from}}}, folder=tmp_path
        )
        report = tracekit.ingest(recipe, work, replace=True)
        ((_, part),) = manifest.load(Workspace(work)).parts()
        return part.fingerprint, {c["traces"]: c["n"] for c in report.data.get("changes", ())}

    without, _ = read(None)
    first, found = read("c.json")
    # records 0 to 2 get tools; the others have their own
    assert first != without
    assert (found["changed"], found["the same"]) == (3, 2)
    (tmp_path / "c.json").write_text(json.dumps([RAIN], indent=2), "utf-8")
    assert read("c.json") == (first, found | {"changed": 0, "the same": 5})
    (tmp_path / "c.json").write_text(json.dumps([RAIN, SNOW]), "utf-8")
    second, found = read("c.json")
    assert second != first
    assert found["changed"] == 3
    called, found = read({"catalogue": "c.json", "offer": "called"})
    assert called != second
    assert found["changed"] == 3
    inferred, _ = read("inferred")
    assert len({without, first, second, called, inferred}) == 5
    assert read(None)[0] == without


@pytest.mark.parametrize(
    ("harness", "expected"),
    [
        ("codex 0.45.0", "new"),
        ("codex 0.9.1", "plain"),
        ("codex", "plain"),
        ("codex (flat)", "plain"),
        ("codexes 1", "other"),
        ("kimi", "kimi"),
        (None, "other"),
    ],
)
def test_the_longest_key_that_matches_the_harness_counts(
    tmp_path: Path, harness: str | None, expected: str
) -> None:
    keys = {"*": "other", "codex": "plain", "codex 0.4*": "new", "kimi": "kimi"}
    catalogue = {key: [{"name": name}] for key, name in keys.items()}
    (tmp_path / "c.json").write_text(json.dumps(catalogue), "utf-8")
    source = tool_catalogue.load(str(tmp_path / "c.json"))
    meta = None if harness is None else json.dumps({"harness": harness})
    found = with_tools(trace_of(("any", "{}"), meta=meta), source, Notes())
    assert found.tools == (Tool(name=expected),)


def test_a_harness_that_the_catalogue_does_not_name_stays_without_tools(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps({"kimi": [RAIN]}), "utf-8")
    notes = Notes()
    trace = trace_of(("rain", "{}"), meta='{"harness":"codex 1"}')
    assert with_tools(trace, tool_catalogue.load(str(tmp_path / "c.json")), notes) == trace
    assert notes == Notes()


@pytest.mark.parametrize(
    ("text", "what", "place"),
    [
        (None, "cannot be read: No such file", "c.json"),
        ("[{", "is no JSON", "c.json"),
        ("3", "no list of declarations", "c.json"),
        ("{}", "no list of declarations", "c.json"),
        ('{"type": "function", "function": {"name": "f"}}', "no list", "c.json: type"),
        ('{"codex": {"name": "f"}}', "no list of declarations", "c.json: codex"),
        ('[{"name": "f"}, {"description": "g"}]', "has no name", "c.json[1]"),
        ('{"codex": [{"name": "f"}, "{"]}', "is not JSON", "c.json: codex[1]"),
        ('[{"name": "f"}, {"name": "f"}]', "declares 'f' twice", "c.json[1]"),
    ],
)
def test_a_catalogue_that_is_none_is_told_at_its_place_and_nothing_is_written(
    tmp_path: Path, text: str | None, what: str, place: str
) -> None:
    write_files(tmp_path, {"in/a.jsonl": RECORDS})
    if text is not None:
        (tmp_path / "c.json").write_text(text, "utf-8")
    source = {"path": "in/a.jsonl", "tools_from": "c.json"}
    with pytest.raises(InputError) as caught:
        go(tmp_path, {"sources": {"made": source}})
    assert what in caught.value.what
    assert str(caught.value.where) == str(tmp_path / place)
    assert caught.value.wrote == "nothing was written"
    assert not (tmp_path / "run" / "work" / "manifest.json").exists()


def test_a_recipe_says_it_in_three_ways_and_a_slip_is_told_at_its_place() -> None:
    def text_of(stated: str) -> str:
        return f"sources: {{a: {{path: x, tools_from: {stated}}}}}"

    def recipe(stated: str) -> Recipe:
        return Recipe.from_yaml(text_of(stated), name="r.yaml", folder=Path("in"))

    for stated, path, offer in (
        ("c.json", "in/c.json", "all"),
        ("{catalogue: c.json}", "in/c.json", "all"),
        ("{catalogue: c.json, offer: called}", "in/c.json", "called"),
        (INFERRED, INFERRED, "all"),
    ):
        made = recipe(stated)
        found = made.tools_from("a")
        assert found is not None
        assert (found.catalogue, found.offer) == (path, offer)
        assert Recipe.from_yaml(made.to_yaml(), folder=Path("in")) == made
        moved = made.moved(Path("out/work")).tools_from("a")
        assert moved == found
    assert Recipe.from_yaml("sources: {a: {path: x}}").tools_from("a") is None
    for stated, what, at in (
        ("{catalogue: c.json, of: all}", "unknown key 'of'", "of:"),
        ("{catalogue: c.json, offer: some}", "sources.a.tools_from.offer is 'some'", "some"),
        ("{offer: all}", "the key 'catalogue' is missing in sources.a.tools_from", "tools_from"),
        ("7", "sources.a.tools_from is 7", "7"),
    ):
        with pytest.raises(RecipeError) as caught:
            recipe(stated)
        place = f"r.yaml:1:{text_of(stated).index(at) + 1}"
        assert (caught.value.what, caught.value.where) == (what, place)


def test_the_command_line_says_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path, {"in/a.jsonl": RECORDS, "c.json": json.dumps([SNOW]).encode()})
    assert cli.run(["ingest", "in", "-w", "work", "--tools-from", "c.json"]) == EXIT_OK
    assert "tools_from_catalogue" in capsys.readouterr().out
    # The workspace keeps it, so that reading again needs no option.
    assert cli.run(["ingest", "in", "-w", "work", "--replace"]) == EXIT_OK
    assert "tools_from_catalogue" in capsys.readouterr().out
    assert cli.run(["ingest", "in", "-w", "other", "--tools-from", "none.json"]) == EXIT_INPUT
    (tmp_path / "r.yaml").write_text("sources: {a: {path: in}}", "utf-8")
    assert cli.run(["ingest", "r.yaml", "-w", "other", "--tools-from", INFERRED]) == EXIT_USAGE
    assert "tools_from: inferred" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, '{"tools_from":"inferred"}'),
        ("{}", '{"tools_from":"inferred"}'),
        ('{"n":1.50}', '{"n":1.50,"tools_from":"inferred"}'),
        ('{"tools_from":"x"}', '{"tools_from":"inferred","meta":{"tools_from":"x"}}'),
    ],
)
def test_the_meta_keeps_what_it_held(before: str | None, after: str) -> None:
    trace = trace_of(("f", "{}"), meta=before)
    assert with_tools(trace, ToolSource(None), Notes()).meta == after


def test_a_nameless_call_is_not_declared() -> None:
    found = with_tools(trace_of(("", "{}"), ("f", "ls -l")), ToolSource(None), Notes())
    assert found.tools == (Tool(name="f"),)
    trace = trace_of(("", "{}"))
    assert with_tools(trace, ToolSource(None), Notes()) == trace


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)  # fmt: skip
KEYS = st.sampled_from(["a", "b", "c", "é", ""])
ARGUMENTS = st.dictionaries(KEYS, VALUES).map(json.dumps)
TEXTS = ARGUMENTS | VALUES.map(json.dumps) | st.sampled_from(["", "ls -l", '{"a":', "NaN"])


def _is(value: Any, kind: str) -> bool:
    """Is this a value of a type of JSON Schema?"""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return {
        "null": value is None,
        "boolean": isinstance(value, bool),
        "integer": number and float(value).is_integer(),
        "number": number,
        "string": isinstance(value, str),
        "array": isinstance(value, list),
        "object": isinstance(value, dict),
    }[kind]


def accepts(schema: dict[str, Any], value: Any) -> bool:
    """`type`, `properties` and `required` of a schema, checked."""
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        return False
    inside = schema.get("properties", {})
    return all(key in value for key in schema.get("required", ())) and all(
        accepts(inside[key], value[key]) for key in inside if key in value
    )


def test_the_checker_refuses_what_a_schema_does_not_say() -> None:
    schema = json.loads(schema_of(['{"a":1,"b":null}', '{"a":2}']) or "")
    assert accepts(schema, {"a": 3})
    for wrong in ({}, {"a": "3"}, {"a": 2.5}, {"a": True}, {"a": 1, "b": 0}, [1]):
        assert not accepts(schema, wrong)


@given(st.lists(ARGUMENTS, min_size=1, max_size=6))
@example(['{"a":18446744073709551616}', '{"a":1}'])
@example(['{"a":"\\ud800"}', "{}"])
@example(['{"a":1e999}', '{"a":[]}'])
def test_an_inferred_schema_accepts_every_call_it_was_inferred_from(calls: list[str]) -> None:
    schema = json.loads(schema_of(calls) or "null")
    values = [json.loads(call) for call in calls]
    assert all(accepts(schema, value) for value in values)
    # It says no more than the calls: every name was seen, and every type is needed for one of them.
    for key, stated in schema["properties"].items():
        kinds = stated["type"] if isinstance(stated["type"], list) else [stated["type"]]
        seen = [value[key] for value in values if key in value]
        assert all(any(_is(value, kind) for value in seen) for kind in kinds)
    assert set(schema.get("required", ())) == set.intersection(*map(set, values))


@given(st.lists(st.tuples(st.sampled_from(["f", "g", ""]), TEXTS), max_size=6), st.text())
def test_any_calls_give_each_called_name_once_and_nothing_else_changes(
    calls: list[tuple[str, str]], meta: str
) -> None:
    trace = trace_of(*calls, meta=json.dumps({"k": meta}))
    notes = Notes()
    found = with_tools(trace, ToolSource(None), notes)
    names = list(dict.fromkeys(name for name, _ in calls if name))
    assert [tool.name for tool in found.tools or ()] == names
    assert (found.tools is None) == (not names)
    assert notes.repairs == ({"tools_inferred": 1} if names else {})
    assert found.messages == trace.messages
    kept = {k: v for k, v in json.loads(found.meta or "").items() if k != "tools_from"}
    assert kept == {"k": meta}
