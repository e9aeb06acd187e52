"""Public cases R19, R20, R23: counts are of the text, whatever it holds; shards stay readable."""

import itertools
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from road import Road, call, fresh, result, says, tool, travel, user
from tracekit import evidence, tokenizers, vocabulary
from tracekit.encoded import batches
from tracekit.pieces import CONTROLS
from tracekit.render import TEMPLATES, render_text


def talk(asked: str, told: str | None, **more: Any) -> dict[str, Any]:
    return {"messages": [user(asked), says(told)], **more}


def agent(asked: str, found: str) -> dict[str, Any]:
    looks = says(None, tool_calls=[call("look", {})])
    return {"messages": [user(asked), looks, result(found), says("Done.")]}


def letters(n: int, seed: int = 0) -> str:
    return "".join(random.Random(seed).choices("abcdefghijklmnopqrstuvwxyz", k=n))


RUNS = {
    "a": "a" * 1_000_000,
    "caret": "^" * 1_000_000,
    "letters": letters(300_000),
    "spaces": "x" + " " * 1_000_000 + "x",
    "line feeds": "x" + "\n" * 1_000_000 + "x",
    "han": "字" * 300_000,
    "emoji": "👩‍👩‍👧" * 60_000,
}


def test_r19_a_run_of_a_million_of_one_character_is_counted_like_any_text(tmp_path: Path) -> None:
    found = []
    for name, text in RUNS.items():
        found += [talk(f"before {name}", "fine"), agent(name, text), talk(f"after {name}", "fine")]
    road = travel(tmp_path, {"a.jsonl": found}, dedupe=False)
    rows = road.by_task()
    assert len(rows) == 3 * len(RUNS)
    alone = dict(zip(RUNS, tokenizers.load("qwen3.5").count(list(RUNS.values())), strict=True))
    by_id = {t["id"]: t["messages"][0]["content"] for t in road.traces()}
    for text, tokens in zip(road.evidence("text"), road.evidence("tokens"), strict=True):
        asked = by_id[text["id"]]
        assert tokens["exact"] is True
        if asked in RUNS and not RUNS[asked].startswith("x"):
            # the line feeds around a result may join its ends, by a token or two
            assert abs(tokens["n_result_tokens"] - alone[asked]) <= 4
    neighbours = {rows[f"{side} a"]["n_tokens"] for side in ("before", "after")}
    assert neighbours == {rows["before caret"]["n_tokens"]}
    assert road.manifest()["reproducible"] == "yes"


class Panic(BaseException):
    """A panic of a Rust library: no Exception, so that ordinary handlers let it through."""


@pytest.mark.parametrize("error", [Panic, MemoryError, RecursionError, OverflowError])
def test_r19_a_row_that_breaks_the_tokenizer_is_dropped_by_name_and_its_neighbours_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    monkeypatch.setenv("TRACEKIT_WORKERS", "0")
    measure = evidence.tokens.measure

    def fragile(rows: Any, *rest: Any) -> Any:
        if any("POISON" in (m["content"] or "") for row in rows for m in row["messages"]):
            raise error("the regex ran out of stack")
        return measure(rows, *rest)

    monkeypatch.setattr(evidence.tokens, "measure", fragile)
    found = [
        talk(f"question {k}", "POISON" if k in (3, 4, 11) else f"answer {k}") for k in range(12)
    ]
    road = travel(tmp_path, {"a.jsonl": found})
    wanted = {f"made:a.jsonl#{k}" for k in (3, 4, 11)}
    assert road.said("unmeasurable") == wanted
    assert {i for i, code in road.dropped_by().items() if code == "unmeasurable"} == wanted
    assert len(road.rows()) == 9
    assert road.manifest()["reproducible"] == "not reproducible: 3 rows"


SPECIAL = [t for t in vocabulary.ADDED if t not in CONTROLS[2:]]
odd = st.lists(
    st.sampled_from((*vocabulary.ADDED, "<|im_", "end|>", "a", " ", "\n", "is")),
    min_size=1,
    max_size=6,
).map("".join)


@st.composite
def talks(draw: st.DrawFn) -> dict[str, Any]:
    """A conversation with calls whose texts mention control tokens anywhere."""
    messages = [{"role": "system", "content": draw(odd)}] if draw(st.booleans()) else []
    for k in range(draw(st.integers(1, 3))):
        messages.append(user(f"q{k} {draw(odd)}"))
        n_calls = draw(st.integers(0, 2))
        calls = [call("look", {draw(odd): draw(odd)}, f"c{k}{j}") for j in range(n_calls)]
        messages.append(says(f"a{k} {draw(odd)}", reasoning_content=draw(odd), tool_calls=calls))
        messages += [result(draw(odd), f"c{k}{j}") for j in range(n_calls)]
    tools = draw(st.sampled_from((None, [tool("look")])))
    return {"messages": messages} | ({"tools": tools} if tools else {})


def n_turns(row: dict[str, Any]) -> int:
    """Turns of a rendering: results in a row share one, declared tools need one of the system."""
    roles = [m["role"] for m in row["messages"]]
    joined = sum(a == b == "tool" for a, b in itertools.pairwise(roles))
    return len(roles) - joined + bool(row["tools"] and roles[0] != "system")


@given(talks(), st.sampled_from(("qwen3.5", "qwen3")))
@settings(max_examples=15)
def test_r20_a_sample_has_as_many_turn_ends_as_turns_whatever_its_texts_spell(
    found: dict[str, Any], template: str
) -> None:
    road = travel(fresh(), {"a.jsonl": [found]}, render={"template": template})
    (trace,) = road.traces()
    qwen = tokenizers.load("qwen3.5")
    (batch,) = batches([trace], qwen, TEMPLATES[template])
    ids, _, _ = batch.samples()
    assert (ids == qwen.special("<|im_end|>")).sum() == n_turns(trace)
    assert (ids == qwen.special("<|im_start|>")).sum() == n_turns(trace)
    (tokens,) = road.evidence("tokens")
    assert tokens["n_tokens"] == len(ids)
    spelled = any(t in str(trace["messages"]) for t in SPECIAL)
    assert road.said("control_tokens") == ({"made:a.jsonl#0"} if spelled else set())


@given(talks(), st.sampled_from(("escape_control_tokens", "remove_control_tokens")))
@settings(max_examples=10)
@example({"messages": [user("q0"), says("<|im_<|im_end|>end|>")]}, "remove_control_tokens")
@example(
    {"messages": [user("q0"), says("<|<|im_end|><|im_end|>im_end|>>")]}, "remove_control_tokens"
)
def test_r20_after_a_repair_no_text_spells_a_control_token_and_a_trainer_sees_the_same_turns(
    found: dict[str, Any], repair: str
) -> None:
    road = travel(fresh(), {"a.jsonl": [found]}, repairs=[repair], dedupe=False)
    assert road.said("control_tokens") == set()
    for row in road.rows():
        said = str(row["messages"])
        assert not any(t in said for t in SPECIAL)
        assert "q0" in said


def test_r20_every_control_token_is_found_in_every_field_and_counts_as_text(tmp_path: Path) -> None:
    found = []
    for token in SPECIAL:
        asks = says(None, reasoning_content="r", tool_calls=[call("look", {"x": 1})])
        whole = {"messages": [user("q"), asks, result("r"), says("a")], "tools": [tool("look")]}
        for place in ("user", "content", "reasoning", "arguments", "result", "tools"):
            one: Any = {**whole, "messages": [dict(m) for m in whole["messages"]]}
            if place == "tools":
                one["tools"] = [tool("look", {"x": {"description": token}})]
            elif place == "arguments":
                one["messages"][1]["tool_calls"] = [call("look", {"x": token})]
            else:
                m, field = {
                    "user": (0, "content"),
                    "content": (3, "content"),
                    "reasoning": (1, "reasoning_content"),
                    "result": (2, "content"),
                }[place]
                one["messages"][m][field] = f"what is {token} for"
            found.append(one)
    road = travel(tmp_path, {"a.jsonl": found}, dedupe=False)
    assert road.said("control_tokens") == {f"made:a.jsonl#{k}" for k in range(len(found))}
    counts = tokenizers.load("qwen3.5").count(SPECIAL)
    assert min(counts) > 1


def check_row_groups(road: Road, cap: int, large: str) -> None:
    """Groups hold at most `cap` plain bytes by their footers, or are the large row alone."""
    n_over = 0
    for path in road.shards:
        file = pq.ParquetFile(path)
        for g in range(file.num_row_groups):
            if file.metadata.row_group(g).total_byte_size > cap:
                asked = file.read_row_group(g).column("messages")
                assert len(asked) == 1
                assert large in str(asked[0][0])
                n_over += 1
    assert n_over == 1


def check_sums(road: Road, n_rows: int) -> None:
    """The manifest's rows, tokens and bytes are those of the files, and add up."""
    value = road.manifest()
    assert [s["file"] for s in value["shards"]] == [f"data/{p.name}" for p in road.shards]
    for entry, path in zip(value["shards"], road.shards, strict=True):
        table = pq.read_table(path)
        assert entry["rows"] == table.num_rows
        assert entry["n_bytes"] == path.stat().st_size
        for column in ("n_tokens", "n_target_tokens"):
            assert entry[column] == sum(table.column(column).to_pylist())
    assert sum(s["rows"] for s in value["shards"]) == value["traces"] == n_rows
    for column in ("n_tokens", "n_target_tokens"):
        assert sum(s[column] for s in value["shards"]) == value[column]


@pytest.mark.parametrize("scale", [100, pytest.param(1, marks=pytest.mark.slow)])
def test_r23_row_groups_and_shards_are_cut_by_bytes(tmp_path: Path, scale: int) -> None:
    n_bytes = 200_000 // scale
    found = [talk(f"row {k}", letters(n_bytes, k)) for k in range(200)]
    found.insert(77, talk("the large one", letters(100 * n_bytes, 1_000)))
    cap = (8 << 20) // scale
    road = travel(
        tmp_path, {"a.jsonl": found}, shard={"row_group_bytes": cap, "max_bytes": 2 * cap},
    )  # fmt: skip
    assert len(road.shards) > 2
    check_row_groups(road, cap, "the large one")
    check_sums(road, 201)
    rows = road.by_task()
    for record in found:
        asked, told = (m["content"] for m in record["messages"])
        assert rows[asked]["messages"][1]["content"] == told


def test_r23_what_trainers_render_from_shards_is_what_was_counted(tmp_path: Path) -> None:
    road = travel(tmp_path, {"a.jsonl": [talk(f"row {k}", letters(50, k)) for k in range(20)]})
    qwen = tokenizers.load("qwen3.5")
    by_hash = {t["content_hash"]: t for t in road.evidence("text")}
    stored = {t["id"]: t for t in road.traces()}
    for row in road.rows():
        text = render_text(stored[by_hash[row["id"]]["id"]])
        assert row["messages"][1]["content"] in text
        n_controls = sum(text.count(c) for c in CONTROLS)
        plain = text
        for c in CONTROLS:
            plain = plain.replace(c, "\0")
        pieces = [p for p in plain.split("\0") if p]
        assert row["n_tokens"] == n_controls + int(qwen.count(pieces).sum())
