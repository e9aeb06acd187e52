"""Decisions are a pure function of evidence and rules."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit import rules as rule_sets
from tracekit.decide import LEDGER_SCHEMA, Decisions, Evidence, decide
from tracekit.errors import UsageError
from tracekit.recipe import Recipe
from tracekit.rules import RuleSet

FINDING = {
    "trace": pl.Int32, "code": pl.String, "message": pl.Int32, "call": pl.Int32,
    "field": pl.String, "start": pl.Int64, "end": pl.Int64, "value": pl.Float64,
    "detail": pl.String,
}  # fmt: skip
PAIR = {"a": pl.Int64, "b": pl.Int64, "task_jaccard": pl.Float64, "target_jaccard": pl.Float64}


def evidence(
    rows: list[dict[str, Any]],
    findings: list[tuple[int, str]] = (),
    pairs: list[tuple[int, int, float, float]] = (),
) -> Evidence:
    defaults = {
        "source": "s", "n_tokens": 100, "max_sample_tokens": 100, "loop_share": 0.0,
        "loop_message": None, "n_reasoning_chars": 10, "verified": None, "complete": True,
        "full_reasoning": True, "n_calls": 0, "n_assistant_messages": 1, "n_messages": 2,
        "session_id": None, "parent_id": None, "n_target_tokens": 50,
    }  # fmt: skip
    full = [
        {"id": f"s:f#{i}", "content_hash": f"h{i}", "record_hash": f"r{i}", **defaults, **row}
        for i, row in enumerate(rows)
    ]
    schema = {
        "id": pl.String, "content_hash": pl.String, "record_hash": pl.String,
        "source": pl.String, "n_tokens": pl.Int64, "max_sample_tokens": pl.Int64,
        "loop_share": pl.Float64, "loop_message": pl.Int32, "n_reasoning_chars": pl.Int64,
        "verified": pl.Boolean, "complete": pl.Boolean, "full_reasoning": pl.Boolean,
        "n_calls": pl.Int32, "n_assistant_messages": pl.Int32, "n_messages": pl.Int32,
        "session_id": pl.String, "parent_id": pl.String, "n_target_tokens": pl.Int64,
    }  # fmt: skip
    found = [{"trace": t, "code": c} for t, c in findings]
    return Evidence(
        pl.DataFrame(full, schema=schema),
        pl.DataFrame(found, schema=FINDING),
        pl.DataFrame(list(pairs), schema=PAIR, orient="row"),
    )


def rules(**changes: Any) -> RuleSet:
    return rule_sets.of_recipe(Recipe.from_dict({"sources": {"s": {"path": "x"}}, **changes}))


def kept(decisions: Decisions) -> list[int]:
    return np.flatnonzero(decisions.kept).tolist()


def test_defaults_drop_only_what_cannot_be_rendered_or_trained() -> None:
    codes = rule_sets.finding_codes()
    decided = decide(evidence([{}] * len(codes), list(enumerate(codes))), rules())
    dropped = {r["code"] for r in decided.ledger.filter(action="drop").iter_rows(named=True)}
    assert dropped == {
        "no_user_message", "system_not_first", "empty_target", "arguments_not_object",
        "nothing_trained",
        "unrenderable",
    }  # fmt: skip


def test_every_rule_speaks_on_every_trace_and_the_first_drop_names_the_reason() -> None:
    found = [(0, "truncated"), (0, "empty_target"), (0, "unclosed_think")]
    decided = decide(evidence([{}], found), rules(filter={"drop": ["truncated"], "max_tokens": 10}))
    assert decided.ledger["code"].to_list() == [
        "empty_target", "unclosed_think", "truncated", "too_long",
    ]  # fmt: skip
    assert decided.traces["dropped_by"].to_list() == ["empty_target"]


def test_a_bound_is_inclusive_and_shows_value_and_threshold() -> None:
    tokens = [{"n_tokens": n, "max_sample_tokens": n} for n in (9, 10, 20, 21)]
    decided = decide(evidence(tokens), rules(filter={"min_tokens": 10, "max_tokens": 20}))
    assert kept(decided) == [1, 2]
    spoken = decided.ledger.select("code", "value", "threshold").rows()
    assert spoken == [("too_short", 9.0, 10.0), ("too_long", 21.0, 20.0)]


@given(st.lists(st.sampled_from(["n_tokens", "loop_share", None]), min_size=1, max_size=6))
def test_a_null_never_keeps_or_drops_by_accident(nulls: list[str | None]) -> None:
    rows = [{name: None, "max_sample_tokens": None} if name else {} for name in nulls]
    decided = decide(
        evidence(rows), rules(filter={"min_tokens": 1, "max_tokens": 999, "max_loop_share": 0.5})
    )
    for i, name in enumerate(nulls):
        said = decided.ledger.filter(pl.col("id") == f"s:f#{i}")
        assert (said["code"] == "unmeasured").sum() == (0 if name is None else 2)
        assert (i in kept(decided)) == (name is None)


def test_a_rule_of_the_user_may_let_nulls_pass() -> None:
    rule = {"code": "some_calls", "keep": "n_calls >= 1", "null": "keep"}
    rows = [{"n_calls": None}, {"n_calls": 0}, {"n_calls": 2}]
    decided = decide(evidence(rows), rules(filter={"rules": [rule]}))
    assert kept(decided) == [0, 2]
    assert decided.ledger["detail"].to_list() == ["n_calls >= 1"]


@pytest.mark.parametrize(
    ("keep", "told"),
    [
        ("n_cals >= 1", "Did you mean 'n_calls'"),
        ("n_calls >=", "cannot be used"),
        ("n_calls + 1", "not true or false"),
        ("source > 5", "cannot be used"),
    ],
)
def test_a_bad_expression_is_told_before_anything_is_decided(keep: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        decide(evidence([{}]), rules(filter={"rules": [{"code": "mine", "keep": keep}]}))
    assert caught.value.where == keep


def test_a_duplicate_loses_to_the_best_and_never_to_a_dropped_one() -> None:
    rows = [
        {"complete": False},
        {"n_reasoning_chars": 5},
        {"verified": True, "n_reasoning_chars": 900},
    ]
    near = [(0, 1, 0.9, 0.9), (1, 2, 0.9, 0.85), (0, 2, 0.9, 0.9)]
    decided = decide(evidence(rows, pairs=near), rules())
    assert kept(decided) == [2]
    assert set(decided.ledger["winner"]) == {"s:f#2"}
    assert decided.ledger["similarity"].to_list() == [0.9, 0.85]
    without = decide(evidence(rows, [(2, "empty_target")], near), rules())
    assert kept(without) == [1]
    assert without.ledger.filter(code="near_duplicate")["winner"].to_list() == ["s:f#1"]


def test_the_later_snapshot_of_a_growing_session_stays_whatever_its_source() -> None:
    rows = [
        {"n_assistant_messages": 2, "n_reasoning_chars": 5, "source": "a"},
        {"n_assistant_messages": 3, "n_reasoning_chars": 50, "source": "b"},
        {"n_assistant_messages": 1, "n_reasoning_chars": 1, "source": "a"},
    ]
    sources = {"a": {"path": "x"}, "b": {"path": "y"}}
    near = [(0, 1, 1.0, 0.85), (0, 2, 1.0, 0.82), (1, 2, 1.0, 0.8)]
    decided = decide(evidence(rows, pairs=near), rules(sources=sources))
    assert kept(decided) == [1]
    first = rules(sources=sources, dedupe={"keep": ["source", "longer"]})
    assert kept(decide(evidence(rows, pairs=near), first)) == [0]


def test_both_task_and_target_must_pass() -> None:
    near = [(0, 1, 0.99, 0.79), (0, 2, 0.79, 0.99), (0, 3, 0.8, 0.8)]
    decided = decide(evidence([{}] * 4, pairs=near), rules())
    assert kept(decided) == [0, 1, 2]


def test_copies_name_the_trace_that_is_in_the_shards() -> None:
    rows: list[dict[str, Any]] = [
        {"content_hash": "x", "n_reasoning_chars": 50},
        {"content_hash": "x", "n_reasoning_chars": 50},
        {"content_hash": "y", "n_reasoning_chars": 5},
    ]
    decided = decide(evidence(rows, pairs=[(0, 2, 0.9, 0.9), (1, 2, 0.9, 0.9)]), rules())
    assert kept(decided) == [2]
    assert set(decided.ledger["winner"]) == {"s:f#2"}
    assert sorted(decided.ledger["code"]) == ["exact_duplicate", "near_duplicate"]


@given(st.permutations(range(7)), st.data())
def test_decisions_do_not_depend_on_the_order_of_arrival(
    order: list[int], data: st.DataObject
) -> None:
    shares = st.sampled_from([0.75, 0.8, 0.85, 1.0])
    pairs = [
        (a, b, data.draw(shares), data.draw(shares)) for a in range(7) for b in range(a) if a % 2
    ]
    rows = [{"id": f"s:f#{i}", "content_hash": f"h{i % 5}", "record_hash": "r"} for i in range(7)]
    first = decide(evidence(rows, pairs=pairs), rules())
    place = {old: new for new, old in enumerate(order)}
    moved = [(place[a], place[b], x, y) for a, b, x, y in pairs]
    second = decide(evidence([rows[i] for i in order], pairs=moved), rules())
    assert first.ledger.equals(second.ledger)
    assert first.traces.sort("id").equals(second.traces.sort("id"))


def test_eval_only_sources_are_measured_and_never_kept() -> None:
    value = {"sources": {"s": {"path": "x", "use": "eval-only"}}}
    decided = decide(evidence([{}]), rule_sets.of_recipe(Recipe.from_dict(value)))
    assert decided.traces["dropped_by"].to_list() == ["eval_only"]


def test_moving_a_threshold_is_the_rule_with_that_threshold() -> None:
    rows = [{"loop_share": s} for s in (0.1, 0.25, 0.4)]
    for share in (0.2, 0.3):
        moved = decide(evidence(rows), rule_sets.moved(rules(), "loop_share", share))
        given_ = decide(evidence(rows), rules(filter={"max_loop_share": share}))
        assert moved.ledger.equals(given_.ledger)
    with pytest.raises(UsageError, match="loop_share"):
        rule_sets.moved(rules(), "lop_share", 0.1)


def test_the_ledger_has_the_declared_columns() -> None:
    decided = decide(evidence([{}], [(0, "truncated")]), rules())
    assert dict(decided.ledger.schema) == LEDGER_SCHEMA
