"""The laws of docs/contracts.md on random inputs and recipes, through the whole road.

What holds for one function alone (split invariance, repairs made twice, round trips of a value)
is tested beside that function; here stands what must hold between what went in and what came out.
"""

import json
import random
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from road import Road, fresh, go, lines, says, travel, user, write_files
from strategies import ODD, texts, traces
from tracekit import (
    edits,
    evidence,
    findings,
    frames,
    manifest,
    registry,
    rules,
    structure_codes,
    template_lint,
    tokenizers,
)
from tracekit.decide import Evidence, decide
from tracekit.encoded import batches
from tracekit.evidence import Settings, measure_table
from tracekit.recipe import Recipe
from tracekit.render import TEMPLATES
from tracekit.schema import trace_table
from tracekit.types import Message, Trace
from tracekit.verifying import verify
from tracekit.workspace import Workspace

# --- inputs and recipes --------------------------------------------------------------------------

said = st.sampled_from(("yes", "seven", "The door opens.", *ODD)) | texts(20)
filled = said.filter(lambda t: bool(t.strip()))


@st.composite
def openai_lines(draw: st.DrawFn) -> Any:
    if draw(st.integers(0, 5)) == 0:
        return draw(st.sampled_from((b"", b"{", b'{"messages": []}', b"[]", b"\xff", b"null")))
    turns = [{"role": "system", "content": draw(said)}] if draw(st.booleans()) else []
    for k in range(draw(st.integers(0, 2))):
        turns.append(user(draw(said)))
        calls = [
            {"id": f"c{k}{j}", "function": {"name": draw(st.sampled_from("fg")), "arguments": a}}
            for j, a in enumerate(draw(st.lists(st.sampled_from(ARGUMENTS), max_size=2)))
        ]
        turns.append(
            says(draw(said | st.none()), reasoning=draw(said | st.none()), tool_calls=calls)
        )
        for call in calls:
            if draw(st.integers(0, 4)):
                turns.append({"role": "tool", "tool_call_id": call["id"], "content": draw(said)})
    turns += [user(draw(said))] if draw(st.integers(0, 5)) == 0 else []
    turns += [{"role": "narrator", "content": "x"}] if draw(st.integers(0, 9)) == 0 else []
    more: Any = draw(st.dictionaries(st.sampled_from(("model", "id", "judge")), said, max_size=2))
    if draw(st.booleans()):
        more["tools"] = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    return {"messages": turns, **more}


ARGUMENTS: tuple[Any, ...] = ({}, {"a": 1.5}, '{"a": [1, null]}', '{"a"', "[]", {"b": {"c": {}}})
sharegpt_lines = st.lists(
    st.builds(
        lambda who, text: {"from": who, "value": text},
        st.sampled_from(("human", "gpt", "human", "gpt", "system", "critic")),
        said,
    ),
    max_size=4,
).map(lambda turns: {"conversations": turns})
alpaca_lines = st.fixed_dictionaries({"instruction": said, "input": said, "output": said})

DIALECTS: dict[str, st.SearchStrategy[Any]] = {
    "openai": openai_lines(),
    "sharegpt": sharegpt_lines,
    "alpaca": alpaca_lines,
}


@st.composite
def inputs(draw: st.DrawFn) -> dict[str, bytes]:
    """Files of several formats: lines and documents, with broken records and copies among them."""
    files: dict[str, bytes] = {}
    for source in draw(st.lists(st.sampled_from(list(DIALECTS)), min_size=1, unique=True)):
        for f in range(draw(st.integers(1, 2))):
            found = draw(st.lists(DIALECTS[source], min_size=1, max_size=5))
            found += draw(st.lists(st.sampled_from(found), max_size=2))
            whole = [r for r in found if not isinstance(r, bytes)]
            if isinstance(found[0], bytes):
                # What a file of lines is, its first record says; noise alone is refused whole.
                found.insert(0, {"messages": []})
            if whole and draw(st.integers(0, 3)) == 0:
                files[f"{source}/{f}.json"] = json.dumps(whole).encode()
            else:
                files[f"{source}/{f}.jsonl"] = lines(found)
    return files


CODES = st.lists(st.sampled_from(rules.finding_codes()), max_size=3, unique=True)


@st.composite
def settings_of_runs(draw: st.DrawFn) -> dict[str, Any]:
    drop, flag = draw(CODES), draw(CODES)
    return {
        "repairs": draw(st.lists(st.sampled_from(list(edits.REPAIRS)), unique=True)),
        "render": {"template": draw(st.sampled_from(("qwen3.5", "qwen3")))},
        "validate": {"drop": drop, "flag": [c for c in flag if c not in drop]},
        "dedupe": draw(st.sampled_from((False, {"threshold": 0.8}, {"threshold": 0.5}))),
        "filter": {
            "min_tokens": draw(st.none() | st.integers(0, 30)),
            "max_loop_share": draw(st.none() | st.just(0.3)),
            "rules": [{"code": "own", "keep": "n_target_tokens >= 8", "action": "flag"}],
        },
        "shard": {"tokens_per_shard": draw(st.sampled_from((1, 50, 10**6)))},
        "ingest": {"part_bytes": draw(st.sampled_from((200, 10**6)))},
        "seed": draw(st.integers(0, 9)),
    }


def run(files: dict[str, bytes], recipe: dict[str, Any]) -> Road:
    # A file of nothing but broken records fits no dialect, so dialects are named.
    named = {name.split("/")[0]: {} for name in files}
    return travel(fresh(), files, sources={n: {"dialect": n} for n in named}, **recipe)


# --- the laws ------------------------------------------------------------------------------------


def places_in(files: dict[str, bytes]) -> set[tuple[str, str, int]]:
    """(source, file, row) of every record, by a reader of this test's own."""
    places = set()
    for name, raw in files.items():
        source, _, file = name.partition("/")
        if name.endswith(".json"):
            rows: Any = range(len(json.loads(raw)))
        else:
            rows = [k for k, line in enumerate(raw.split(b"\n")) if line.strip()]
        places |= {(source, file, row) for row in rows}
    return places


def check_conservation(files: dict[str, bytes], road: Road) -> None:
    merged = [
        (t["source"], o["file"], row)
        for t in road.traces()
        for o in t["provenance"]
        for row in range(o["first"], o["last"] + 1)
    ]
    told = [
        (path.parent.name, r["file"], r["row"])
        for table in ("rejects", "events")
        for path in (road.work / table).rglob("*.parquet")
        for r in pl.read_parquet(path).iter_rows(named=True)
    ]
    assert sorted(set(merged)) == sorted(merged)
    assert sorted([*merged, *told]) == sorted(places_in(files))
    dropped_by = road.dropped_by()
    assert set(dropped_by) == {t["id"] for t in road.traces()}
    kept = {name for name, code in dropped_by.items() if code is None}
    hashes = {t["id"]: t["content_hash"] for t in road.evidence("text")}
    rows = road.rows()
    assert sorted(hashes[name] for name in kept) == sorted(r["id"].split("-")[0] for r in rows)
    assert len({r["id"] for r in rows}) == len(rows)
    drops = road.ledger().filter(pl.col("action") == "drop")
    assert set(drops["id"]) == set(dropped_by) - kept
    first = drops.sort("rule", "code").unique("id", keep="first", maintain_order=True)
    assert {r["id"]: r["code"] for r in first.to_dicts()} == {
        name: code for name, code in dropped_by.items() if code is not None
    }
    winners = road.ledger().filter(pl.col("winner").is_not_null())["winner"].to_list()
    assert set(winners) <= kept


def trace_row(row: dict[str, Any]) -> dict[str, Any]:
    """A shard row in the form that is rendered: what a trainer has, and nothing else."""

    def message(m: dict[str, Any]) -> dict[str, Any]:
        calls = [
            {**c["function"], "id": c["id"], "arguments": json.dumps(c["function"]["arguments"])}
            for c in m.get("tool_calls", ())
        ]
        keys = ("role", "content", "tool_call_id", "name", "weight", "train")
        return {
            **{k: m.get(k) for k in keys},
            "reasoning": m.get("reasoning_content"),
            "tool_calls": calls,
        }

    def declared(t: dict[str, Any]) -> dict[str, Any]:
        inner = dict(t["function"])
        known = {k: inner.pop(k, None) for k in ("name", "description", "parameters")}
        shown = None if known["parameters"] is None else json.dumps(known["parameters"])
        return {**known, "parameters": shown, "extra": json.dumps({**inner, "type": t["type"]})}

    tools = row["tools"]
    return {
        "messages": [message(m) for m in row["messages"]],
        "tools": None if tools is None else [declared(t) for t in tools],
    }


def check_one_text(road: Road, template: str, flagged: list[str]) -> None:
    """Shards, rendered and counted again, have the counts that evidence and manifest state.

    What the template refuses counts nothing, and is there only where the recipe says flag.
    """
    rows = road.rows()
    qwen = tokenizers.load("qwen3.5")
    totals = np.zeros(2, np.int64)
    for batch in batches([trace_row(r) for r in rows], qwen, TEMPLATES[template]):
        for refused in batch.unrendered:
            assert (refused.code if refused.code in findings.KNOWN else "unrenderable") in flagged
        _, ends, target = batch.samples()
        for k, row in enumerate(rows[batch.first : batch.first + batch.n_traces]):
            lo, hi = ends[k], ends[k + 1]
            assert row["n_tokens"] == hi - lo
            assert row["n_target_tokens"] == target[lo:hi].sum()
            totals += hi - lo, target[lo:hi].sum()
    value = road.manifest()
    assert [value["n_tokens"], value["n_target_tokens"]] == totals.tolist()


def check_modesty(road: Road) -> None:
    declared = {code.name for code in registry.codes()}
    for table in ("rejects", "evidence/findings", "evidence/edits"):
        assert {r["code"] for r in road._all(table)} <= declared
    assert set(road.ledger()["code"]) <= declared | {"own"}
    assert {e["type"] for e in road._all("events")} <= declared


@given(inputs(), settings_of_runs())
@settings(max_examples=8)
def test_every_record_and_trace_is_accounted_for_and_counts_are_of_what_is_in_the_shards(
    files: dict[str, bytes], recipe: dict[str, Any]
) -> None:
    road = run(files, recipe)
    check_conservation(files, road)
    check_one_text(road, recipe["render"]["template"], recipe["validate"]["flag"])
    check_modesty(road)
    for folder in (road.out, road.work):
        assert not verify(folder).failed


@given(inputs(), settings_of_runs(), st.randoms(use_true_random=False))
@settings(max_examples=5)
def test_shards_do_not_depend_on_the_order_of_records_parts_or_batches(
    files: dict[str, bytes], recipe: dict[str, Any], order: random.Random
) -> None:
    road = run(files, recipe)
    folder = fresh()
    moved = {}
    for name, raw in files.items():
        if name.endswith(".jsonl"):
            found = raw.split(b"\n")[:-1]
            order.shuffle(found)
            raw = b"".join(one + b"\n" for one in found)
        moved[name] = raw
    write_files(folder / "in", moved)
    names = {name.split("/")[0] for name in files}
    base = {**recipe, "ingest": {"part_bytes": 10**6 if order.random() < 0.5 else 300}}
    # first some files alone, then all of them: two batches where a source has two files
    for chosen in (list(moved)[::2], list(moved)):
        paths = {n: [f"in/{f}" for f in chosen if f.startswith(f"{n}/")] for n in sorted(names)}
        sources = {n: {"path": paths[n], "dialect": n} for n in recipe_order(files) if paths[n]}
        other = go(folder, {"sources": sources, **base})
    assert [p.read_bytes() for p in other.shards] == [p.read_bytes() for p in road.shards]


def recipe_order(files: dict[str, bytes]) -> list[str]:
    """Sources in the order of the first run: the order is a priority."""
    return list(dict.fromkeys(name.split("/")[0] for name in files))


# --- repairs, families, nulls --------------------------------------------------------------------


@st.composite
def untidy(draw: st.DrawFn) -> Trace:
    """A trace that repairs have something to do on."""
    trace = draw(traces())
    messages = list(trace.messages)
    for _ in range(draw(st.integers(0, 2))):
        late = Message(role="system", content=draw(filled))
        messages.insert(draw(st.integers(0, len(messages))), late)
    if draw(st.booleans()):
        messages.append(Message(role="user", content=draw(filled)))
    return replace(trace, messages=tuple(messages))


@pytest.mark.parametrize("repair", [*edits.REPAIRS, "all"])
@given(st.lists(untidy(), min_size=1, max_size=4))
@settings(max_examples=6)
def test_every_family_is_of_the_edited_text(repair: str, found: list[Trace]) -> None:
    names = tuple(edits.REPAIRS) if repair == "all" else (repair,)
    table = trace_table(found)
    measured = measure_table(table, Settings(repairs=names))
    made = edits.edits_of(measured["edits"])
    rows = table.to_pylist()
    assert {e.code for one in made.values() for e in one} <= {c.name for c in edits.CODES}
    _, edited = evidence.edited(rows, [e for one in made.values() for e in one], 0)
    again = measure_table(edited, Settings())
    assert again["edits"].num_rows == 0
    for family in ("text", "tokens", "sketch"):
        assert measured[family].equals(again[family])
    # A repair leaves findings of its own, and no other finding may differ.
    own = {c.name for c in edits.CODES}
    rest = [f for f in measured["findings"].to_pylist() if f["code"] not in own]
    assert rest == again["findings"].to_pylist()
    told = {(f["trace"], f["code"]) for f in measured["findings"].to_pylist() if f["code"] in own}
    assert told == {(row, e.code) for row, one in made.items() for e in one}


@given(st.lists(untidy(), min_size=1, max_size=4))
@settings(max_examples=15)
def test_families_have_their_declared_columns_codes_and_one_row_a_trace(found: list[Trace]) -> None:
    measured = measure_table(trace_table(found), Settings(repairs=tuple(edits.REPAIRS)))
    assert tuple(measured) == evidence.FAMILIES
    for family, table in measured.items():
        assert table.schema.equals(evidence.SCHEMAS[family])
        if family not in ("edits", "findings"):
            assert table.num_rows == len(found)
    known = {c.name for c in (*structure_codes.CODES, *template_lint.CODES, *edits.CODES)}
    assert set(measured["findings"].column("code").to_pylist()) <= known


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Evidence of a run over twenty talks, two of them copies."""
    found = [
        {"messages": [user(f"question {k % 18}"), says(" ".join(["so"] * (k % 18 + 1)))]}
        for k in range(20)
    ]
    road = travel(tmp_path_factory.mktemp("nulls"), {"a.jsonl": found})
    work = Workspace(road.work)
    return frames.load(work, manifest.load(work))


BOUNDS = {
    "n_tokens": ("too_short", {"min_tokens": 12}),
    "max_sample_tokens": ("too_long", {"max_tokens": 25}),
    "loop_share": ("loop", {"max_loop_share": 0.3}),
}


@given(
    st.dictionaries(
        st.sampled_from((*BOUNDS, "n_target_tokens", "n_calls")), st.sets(st.integers(0, 19))
    ),
    st.sampled_from(("drop", "flag")),
    st.sampled_from(("unmeasured", "keep")),
)
@settings(max_examples=40)
def test_a_null_is_told_as_unmeasured_and_never_decides(
    measured: Evidence, nulls: dict[str, set[int]], action: str, null: str
) -> None:
    bounds: dict[str, Any] = {}
    for _, limit in BOUNDS.values():
        bounds |= limit
    own = {"code": "own", "keep": "n_target_tokens >= 9", "action": action, "null": null}
    recipe = Recipe.from_dict(
        {"sources": {"made": {"path": "x"}}, "dedupe": False, "filter": {**bounds, "rules": [own]}}
    )
    holes = measured.traces.with_row_index("row").with_columns(
        pl.when(pl.col("row").is_in(sorted(at))).then(None).otherwise(pl.col(name)).alias(name)
        for name, at in nulls.items()
    )
    rule_set = rules.of_recipe(recipe)
    whole = decide(measured, rule_set)
    holed = decide(replace(measured, traces=holes.drop("row")), rule_set)
    ids = measured.traces["id"].to_list()

    def spoke(decisions: Any, code: str) -> set[str]:
        return set(decisions.ledger.filter(pl.col("code") == code)["id"])

    judged = {name: code for name, (code, _) in BOUNDS.items()} | {"n_target_tokens": "own"}
    unknown: set[str] = set()
    for name, code in judged.items():
        gone = {ids[k] for k in nulls.get(name, ())}
        # The rule says of all others what it said before, and nothing of what was not measured.
        assert spoke(holed, code) == spoke(whole, code) - gone
        if code != "own" or null == "unmeasured":
            unknown |= gone
    assert spoke(holed, "unmeasured") == unknown
    told = holed.ledger.filter(pl.col("code") == "unmeasured")
    assert all(row["detail"].partition(": ")[2] in judged for row in told.to_dicts())
    must_go = {ids[k] for name in BOUNDS for k in nulls.get(name, ())}
    assert must_go <= set(holed.traces.filter(~pl.col("kept"))["id"])
    if null == "keep" or action == "flag":
        only = {ids[k] for k in nulls.get("n_target_tokens", ())} - must_go
        kept = set(holed.traces.filter(pl.col("kept"))["id"])
        passes = {i for i in only if not any(i in spoke(whole, c) for _, (c, _) in BOUNDS.items())}
        assert passes <= kept
