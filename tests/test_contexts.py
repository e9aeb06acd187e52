"""`stats --contexts`: what fits, what would be cut, how full packs get, what comes again."""

import json
from typing import Any

import pytest

import tracekit
from road import Road, says, tool, travel, user
from tracekit import opened, views
from tracekit.cli import run as command
from tracekit.contexts import CONTEXTS, NATIVE_TOKENS, look


@pytest.fixture(autouse=True)
def _inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEKIT_WORKERS", "0")


PROMPT = "You answer in whole sentences. " * 40


def chat(k: int, n_words: int, *, prompt: str | None = PROMPT, n_turns: int = 1) -> dict[str, Any]:
    turns: list[Any] = [{"role": "system", "content": prompt}] if prompt is not None else []
    for turn in range(n_turns):
        turns += [user(f"Count {k} times, round {turn}."), says(f"{k} " * n_words)]
    return {"messages": turns, "tools": [tool("clock")] if k % 2 else []}


RECORDS = [chat(k, 20 + 900 * k) for k in range(8)] + [
    chat(11, 5_000, prompt=None), chat(12, 40, prompt="Short."), chat(13, 300_000, prompt=None),
    chat(14, 400, n_turns=3),
]  # fmt: skip


def mix(folder: Any, **recipe: Any) -> Road:
    return travel(folder, {"openai/a.jsonl": RECORDS}, dedupe=False, **recipe)


def tables(road: Road) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    data = views.stats(road.work, contexts=True).data
    (repeated,) = data["repeated_headers"]
    return data["contexts"], repeated


@pytest.mark.parametrize("history", ["keep", "strip"])
def test_what_fits_is_counted_over_the_samples_of_each_trace(tmp_path, history):
    road = mix(tmp_path, render={"history_thinking": history})
    samples = [t["sample_tokens"] for t in road.evidence("tokens")]
    assert any(len(s) > 1 for s in samples) == (history == "strip")
    assert max(max(s) for s in samples) > NATIVE_TOKENS
    contexts, _ = tables(road)
    assert [row["context"] for row in contexts] == list(CONTEXTS)
    total = sum(sum(s) for s in samples)
    for row in contexts:
        fits = [s for s in samples if max(s) <= row["context"]]
        flat = [n for s in fits for n in s]
        assert row["traces_that_fit"] == len(fits)
        assert row["too_long"] == len(samples) - len(fits)
        assert row["tokens_that_fit"] == sum(flat)
        assert row["share"] == sum(flat) / total
        assert row["cut_tokens"] == sum(max(0, n - row["context"]) for s in samples for n in s)
        assert row["packs"] >= sum(flat) / row["context"]
        assert row["fill_share"] == sum(flat) / (row["packs"] * row["context"])
        beyond = sum(max(0, n - NATIVE_TOKENS) for n in flat)
        assert row["beyond_native"] == beyond / sum(flat)
    assert {row["too_long"] > 0 for row in contexts} == {True, False}
    assert contexts[-1]["beyond_native"] > 0


def test_the_fill_that_is_foretold_is_the_fill_of_the_product(tmp_path):
    road = mix(tmp_path, shard={"profile": "packed", "context": 16_384})
    (row,) = [r for r in tables(road)[0] if r["context"] == 16_384]
    told = road.manifest()["profile"]
    assert (row["packs"], row["fill_share"]) == (told["n_packs"], told["fill_share"])
    assert row["traces_that_fit"] == road.manifest()["traces"]


def test_a_mix_that_was_packed_is_asked_as_if_it_was_not(tmp_path):
    """What the context of the last product dropped still counts: the question is which to take."""
    plain = tables(mix(tmp_path / "plain"))
    packed = mix(tmp_path / "packed", shard={"profile": "packed", "context": 4_000})
    assert packed.manifest()["dropped"]["longer_than_context"] > 0
    assert tables(packed) == plain


def test_a_header_counts_once_for_each_text_against_all_its_copies(tmp_path):
    road = mix(tmp_path)
    tokens, texts = road.evidence("tokens"), road.evidence("text")
    by_header: dict[str, set[int]] = {}
    n_all = 0
    for token, text in zip(tokens, texts, strict=True):
        n = token["n_system_tokens"] + token["n_tools_tokens"]
        assert (text["header_hash"] is None) == (n == 0)
        if n:
            by_header.setdefault(text["header_hash"], set()).add(n)
            n_all += n
    # Equal texts are equally long: the long prompt with and without a tool, the short one, a tool.
    assert all(len(sizes) == 1 for sizes in by_header.values())
    assert len(by_header) == 4
    _, repeated = tables(road)
    distinct = sum(n for sizes in by_header.values() for n in sizes)
    assert repeated["traces"] == len(RECORDS)
    assert repeated["distinct_texts"] == 4
    assert (repeated["tokens"], repeated["distinct_tokens"]) == (n_all, distinct)
    assert repeated["repeated_tokens"] == n_all - distinct > 0
    assert repeated["share_of_all"] == (n_all - distinct) / sum(t["n_tokens"] for t in tokens)


def test_a_header_that_each_sample_shows_again_is_one_text(tmp_path):
    """Under strip a trace shows its system prompt in each of its samples."""
    files = {"openai/a.jsonl": [chat(14, 10, n_turns=3)]}
    road = travel(tmp_path, files, render={"history_thinking": "strip"})
    (token,) = road.evidence("tokens")
    _, repeated = tables(road)
    assert len(token["sample_tokens"]) == 3
    assert repeated["tokens"] == 3 * repeated["distinct_tokens"] == token["n_system_tokens"]


def test_of_a_mix_that_keeps_nothing_every_sum_is_zero(tmp_path):
    road = mix(tmp_path, filter={"min_tokens": 10**9})
    here = opened.open(road.work)
    (fit, repeated), _ = look(here, here.known())
    for row in (*fit.records(), *repeated.records()):
        assert all(v == 0 for k, v in row.items() if k not in ("context", "header"))


def test_json_and_tsv_say_the_same_as_the_table(tmp_path, capsys):
    road = mix(tmp_path)
    words = ["stats", "-w", str(road.work), "--contexts"]
    assert command([*words, "--format", "json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert command([*words, "--format", "tsv"]) == 0
    text = capsys.readouterr().out
    for row in value["contexts"]:
        assert (
            "\t".join(str(row[k]) for k in ("context", "traces_that_fit", "tokens_that_fit"))
            in text
        )
    assert command(words) == 0
    shown = capsys.readouterr()
    assert "repeated headers" in shown.out
    assert "262,144" in shown.err


def test_what_if_moves_the_context_of_a_mix_that_is_not_packed(tmp_path):
    road = mix(tmp_path)
    here = tracekit.open(road.work)
    rows = here.what_if(context=[4_096, 262_144])
    fit = {row["context"]: row["traces_that_fit"] for row in tables(road)[0]}
    assert rows["kept"].to_list()[1] == fit[262_144]
    lengths = [t["max_sample_tokens"] for t in road.evidence("tokens")]
    assert rows["kept"].to_list()[0] == sum(n <= 4_096 for n in lengths)
