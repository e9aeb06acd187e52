"""Traces that begin alike: contained ones go, shared messages are trained once."""

import itertools
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from road import Road, fresh, says, travel, user
from tracekit.lineage import prefixes
from tracekit.render import render_samples

A, B, C, D, E = (
    user("Where do I find the long report of the year?"),
    says("It is in the drawer below the window.", reasoning_content="Drawers hold reports."),
    user("And the short one about the garden?"),
    says("On the shelf beside the door.", reasoning_content="Short ones stand."),
    says("Nobody keeps it any more, ask the office.", reasoning_content="It is gone."),
)


def bare(message: dict[str, Any]) -> dict[str, Any]:
    """A reply as clients send it again: without its reasoning."""
    return {k: v for k, v in message.items() if k != "reasoning_content"}


def talk(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": list(messages), **more}


def trained(road: Road) -> list[str]:
    """Texts of all replies that the shards train, sorted."""
    return sorted(
        m["content"]
        for row in road.rows()
        for m in row["messages"]
        if m["role"] == "assistant" and m.get("weight") != 0
    )


def test_r26_a_fork_and_its_parent_train_each_turn_once_and_the_parent_stays(
    tmp_path: Path,
) -> None:
    parent = talk(A, B, session_id="p")
    child = talk(A, B, C, D, session_id="k", parent_id="p")
    other = talk(A, E, session_id="o")
    road = travel(tmp_path, {"a.jsonl": [child, other, parent]})
    assert len(road.rows()) == 3
    assert trained(road) == sorted(m["content"] for m in (B, D, E))
    (of_child,) = [r for r in road.rows() if len(r["messages"]) == 4]
    assert [m.get("weight") for m in of_child["messages"]] == [None, 0.0, None, None]
    said = road.ledger().filter(pl.col("code") == "shared_prefix")
    assert said.select("action", "message", "value", "winner").rows() == [
        ("mask", 1, 1.0, "made:a.jsonl#2")
    ]


def test_r26_without_its_parent_a_child_is_trained_whole(tmp_path: Path) -> None:
    road = travel(
        tmp_path, {"a.jsonl": [talk(A, B, C, D, session_id="k", parent_id="p"), talk(A, E)]}
    )
    assert trained(road) == sorted(m["content"] for m in (B, D, E))


def test_of_growing_snapshots_the_longest_stays_and_trains_all(tmp_path: Path) -> None:
    more = [user("Thank you, and the key?"), says("Under the mat.", reasoning_content="Mats.")]
    road = travel(tmp_path, {"a.jsonl": [talk(A, B), talk(A, B, C, D, *more), talk(A, B, C, D)]})
    (row,) = road.rows()
    assert len(row["messages"]) == 6
    assert [m.get("weight") for m in row["messages"]] == [None] * 6
    assert set(road.dropped_by().values()) == {None, "contained"}
    winners = road.ledger().filter(pl.col("code") == "contained")["winner"].unique().to_list()
    assert winners == ["made:a.jsonl#1"]


def test_a_history_without_its_reasoning_gives_way_to_the_snapshot_that_has_it(
    tmp_path: Path,
) -> None:
    road = travel(tmp_path, {"a.jsonl": [talk(A, bare(B), C, D), talk(A, B)]})
    assert len(road.rows()) == 2
    assert trained(road) == sorted(m["content"] for m in (B, D))
    for row in road.rows():
        for m in row["messages"]:
            if m["role"] == "assistant" and m.get("weight") != 0:
                assert m["reasoning_content"]


def test_other_reasoning_to_the_same_answer_is_an_alternative_and_stays(tmp_path: Path) -> None:
    other = says(B["content"], reasoning_content="A different road to it, by far the longer one.")
    road = travel(tmp_path, {"a.jsonl": [talk(A, B), talk(A, other)]}, dedupe={"threshold": 0.99})
    assert trained(road) == [B["content"]] * 2


def test_each_keeps_and_trains_every_copy(tmp_path: Path) -> None:
    road = travel(
        tmp_path, {"a.jsonl": [talk(A, B), talk(A, B, C, D)]}, dedupe={"shared_prefixes": "each"}
    )
    assert len(trained(road)) == 3


@pytest.mark.parametrize("profile", ["messages", "tokenized", "packed"])
def test_counts_labels_and_manifest_are_without_what_another_trace_trains(
    tmp_path: Path, profile: str
) -> None:
    records = [talk(A, B, session_id="p"), talk(A, B, C, D, session_id="k", parent_id="p")]
    shard = {"profile": profile, "context": 4096}
    road = travel(tmp_path, {"a.jsonl": records}, shard=shard)
    each = travel(
        tmp_path / "each", {"a.jsonl": records}, dedupe={"shared_prefixes": "each"}, shard=shard
    )
    alone = {
        t["id"]: sum(len(p.text) for p in render_samples(t)[0] if p.target) for t in road.traces()
    }
    assert len(alone) == 2
    fewer = each.manifest()["n_target_tokens"] - road.manifest()["n_target_tokens"]
    (of_b,) = [
        t["message_target_tokens"][1]
        for t in road.evidence("tokens")
        if len(t["message_target_tokens"]) == 2
    ]
    assert fewer == of_b > 0
    assert road.manifest()["n_tokens"] == each.manifest()["n_tokens"]
    assert road.manifest()["fingerprint"] != each.manifest()["fingerprint"]
    decided = road.decisions()
    assert int(decided["n_target_tokens"].sum()) == road.manifest()["n_target_tokens"]
    if profile != "messages":
        n = sum(label != -100 for row in road.table().to_pylist() for label in row["labels"])
        assert n == road.manifest()["n_target_tokens"]


WORDS = st.sampled_from(["alpha beta", "gamma delta", "epsilon zeta"])


@st.composite
def sessions(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Paths of a small tree of turns, some of them cut, in any order."""
    paths = draw(
        st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=4), min_size=1, max_size=5)
    )
    found = []
    for k, path in enumerate(paths):
        messages = []
        for depth, _ in enumerate(path):
            name = "".join(map(str, path[: depth + 1]))
            messages += [
                user(f"question {name} of many words in a row {name}"),
                says(f"answer {name} with some words of its own", reasoning_content=f"why {name}"),
            ]
        found.append(talk(*messages, id=f"r{k}"))
    return found


@given(found=sessions())
@settings(max_examples=25)
def test_every_reply_of_a_surviving_lineage_is_trained_exactly_once(
    found: list[dict[str, Any]],
) -> None:
    road = travel(fresh(), {"a.jsonl": found}, dedupe={"threshold": 1.0})
    kept = [json.dumps([m["content"] for m in row["messages"]]) for row in road.rows()]
    assert len(kept) == len(set(kept))
    replies = {
        m["content"] for row in road.rows() for m in row["messages"] if m["role"] == "assistant"
    }
    assert trained(road) == sorted(replies)
    said = {m["content"] for one in found for m in one["messages"] if m["role"] == "assistant"}
    assert replies == said


@given(found=sessions(), seed=st.randoms())
@settings(max_examples=10)
def test_what_is_trained_does_not_depend_on_the_order_of_records(
    found: list[dict[str, Any]], seed: Any
) -> None:
    road = travel(fresh(), {"a.jsonl": found})
    shuffled = list(found)
    seed.shuffle(shuffled)
    again = travel(fresh(), {"a.jsonl": shuffled})
    assert road.rows() == again.rows()


@given(cut=st.integers(1, 4), spaced=st.booleans())
def test_prefixes_are_of_what_was_said_and_not_of_ids_or_spelling(cut: int, spaced: bool) -> None:
    messages: list[dict[str, Any]] = []
    for k in range(4):
        calls = [{"id": f"c{k}", "name": "f", "arguments": f'{{"k":{k}}}'}]
        messages += [
            {"role": "user", "content": f"ask {k}" + " " * spaced},
            {"role": "assistant", "content": None, "reasoning": "so", "tool_calls": calls},
        ]
    renamed = [
        {**m, "tool_calls": [{**c, "id": "x"} for c in m.get("tool_calls", ())]} for m in messages
    ]
    whole = prefixes(messages)
    assert prefixes(renamed[: 2 * cut]) == whole[:cut]
    assert len({p.told for p in whole}) == len({p.thought for p in whole}) == 4
    silent = prefixes([{**m, "reasoning": None} for m in messages])
    assert [p.told for p in silent] == [p.told for p in whole]
    assert all(p.thought is None for p in silent)


def test_a_thousand_snapshots_are_decided_in_proportion(tmp_path: Path) -> None:
    turns = list(itertools.chain.from_iterable(
        (user(f"step {k} please"), says(f"done with {k}")) for k in range(60)
    ))  # fmt: skip
    road = travel(tmp_path, {"a.jsonl": [talk(*turns[: 2 * k]) for k in range(1, 61)]})
    assert len(road.rows()) == 1
    assert trained(road) == sorted(f"done with {k}" for k in range(60))
