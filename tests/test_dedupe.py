"""Who stays: one of each group, by rank, never over a chain, whatever came first."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracekit.columns import columns_of
from tracekit.dedupe import Losers, exact, greedy, keep_rank
from tracekit.errors import LawError
from tracekit.pairs import PAIR_SCHEMA, candidates, verify_spill
from tracekit.schema import trace_table
from tracekit.sketch import measure, shingle_sets, signature_matrix
from tracekit.types import Message, Origin, Tool, ToolCall, Trace


def trace_of(question: str, answer: str, *, system: str = "", tools=None, call=None) -> Trace:
    messages = [Message(role="user", content=question)]
    if system:
        messages.insert(0, Message(role="system", content=system))
    calls = (ToolCall(id="0", name="look_up", arguments=call),) if call else ()
    messages.append(Message(role="assistant", content=answer or None, tool_calls=calls))
    return Trace(
        id="s:f#0",
        source="s",
        provenance=(Origin(file="f", first=0, last=0),),
        messages=tuple(messages),
        tools=tools,
    )


def rank_of(traces: list[Trace]) -> np.ndarray:
    """The longest answer first, then content."""
    lengths = [sum(len(m.content or "") for m in t.messages) for t in traces]
    return keep_rank([(lengths, "descending")], [repr(t.messages) for t in traces])


def near(traces: list[Trace], threshold: float = 0.8) -> Losers:
    """The whole road from traces to losers."""
    flat = columns_of(trace_table(traces))
    measured = measure(flat)
    rows = np.flatnonzero(measured["signature"].is_valid().to_numpy(zero_copy_only=False))
    rank = rank_of(traces)
    signature = signature_matrix(measured["signature"].take(rows))
    found = candidates(signature, rank[rows])
    n_shingles = measured["n_task_shingles"].to_numpy().astype(np.int64)
    n_shingles = n_shingles + measured["n_target_shingles"].to_numpy()
    pairs = verify_spill(
        rows[found.a_G], rows[found.b_G], lambda r: shingle_sets(flat, r), n_shingles_T=n_shingles
    )
    return greedy(rank, np.ones(len(traces), bool), pairs, threshold)


def pair_table(rows: list[tuple[int, int, float, float]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [[], [], [], []]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, PAIR_SCHEMA, strict=True)],
                    schema=PAIR_SCHEMA)  # fmt: skip


def greedy_by_hand(rank, survivors, rows, threshold) -> dict[int, tuple[int, float]]:
    """{loser: (winner, similarity)}, straight from the definition."""
    near_to: dict[int, dict[int, float]] = {}
    for a, b, task, target in rows:
        if min(task, target) >= threshold and survivors[a] and survivors[b]:
            near_to.setdefault(a, {})[b] = min(task, target)
            near_to.setdefault(b, {})[a] = min(task, target)
    kept: list[int] = []
    lost = {}
    for row in sorted(np.flatnonzero(survivors).tolist(), key=lambda r: rank[r]):
        winners = [k for k in kept if k in near_to.get(row, {})]
        if winners:
            lost[row] = (winners[0], near_to[row][winners[0]])
        else:
            kept.append(row)
    return lost


@settings(max_examples=80)
@given(st.integers(0, 2**32), st.integers(1, 30), st.sampled_from([0.7, 0.8, 0.95]))
def test_greedy_decides_like_the_definition_in_any_order(seed, n, threshold):
    draw = np.random.default_rng(seed)
    rank = draw.permutation(n)
    survivors = draw.random(n) < 0.8
    a_G, b_G = np.triu_indices(n, 1)
    rows = [
        (int(a), int(b), float(draw.choice([0.7, 0.8, 0.9, 1])), float(draw.choice([0.7, 0.85, 1])))
        for a, b in zip(a_G, b_G, strict=True)
        if draw.random() < 0.15
    ]
    losers = greedy(rank, survivors, pair_table(rows), threshold)
    expected = greedy_by_hand(rank, survivors, rows, threshold)
    got = {
        int(r): (int(losers.winner_T[r]), float(losers.similarity_T[r]))
        for r in np.flatnonzero(losers.winner_T >= 0)
    }
    assert got == expected
    assert losers.n_dropped == len(expected)
    assert np.all(losers.winner_T[list({w for w, _ in got.values()})] == -1)
    assert np.all(np.isnan(losers.similarity_T[losers.winner_T < 0]))

    # The same traces in another order, pairs shuffled and turned round: the same decisions.
    order = draw.permutation(n)
    place = np.argsort(order)
    turned = [(int(place[b]), int(place[a]), s, t) for a, b, s, t in rows]
    draw.shuffle(turned)
    again = greedy(rank[order], survivors[order], pair_table(turned), threshold)
    expected_winner = np.where(losers.winner_T >= 0, place[losers.winner_T], -1)[order]
    assert again.winner_T.tolist() == expected_winner.tolist()


def test_equal_ranks_in_a_pair_are_a_bug_of_ours():
    with pytest.raises(LawError, match="same rank"):
        greedy(np.array([3, 3]), np.ones(2, bool), pair_table([(0, 1, 1.0, 1.0)]), 0.8)


@pytest.mark.parametrize("as_array", [pa.array, lambda x: pa.chunked_array([x[:2], x[2:]])])
def test_exact_keeps_the_best_rank_of_each_hash(as_array):
    hashes = [b"x", b"y", b"x", b"y", b"z", b"x", None, None]
    rank = np.array([5, 1, 0, 4, 2, 3, 6, 7])
    everyone = np.ones(8, bool)
    losers = exact(as_array(hashes), rank, everyone)
    assert losers.winner_T.tolist() == [2, -1, -1, 1, -1, 2, -1, -1]
    assert losers.largest_cluster() == (2, 3)
    without = everyone.copy()
    without[2] = False
    assert exact(as_array(hashes), rank, without).winner_T.tolist() == [
        5,
        -1,
        -1,
        1,
        -1,
        -1,
        -1,
        -1,
    ]


def test_exact_takes_hashes_of_fixed_size():
    hashes = pa.array([b"ab", b"cd", b"ab"], pa.binary(2))
    assert exact(hashes, np.arange(3), np.ones(3, bool)).winner_T.tolist() == [-1, -1, 0]


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(0, 25))
def test_ranks_are_distinct_and_follow_the_traces_not_their_order(seed, n):
    draw = np.random.default_rng(seed)
    first = [None if draw.random() < 0.2 else int(draw.integers(3)) for _ in range(n)]
    second = draw.integers(0, 3, n)
    hashes = draw.integers(0, 4, n).astype(str).tolist()
    ids = [f"id-{i}" for i in range(n)]
    keys = [(pa.array(first, pa.int64()), "descending"), (second, "ascending")]
    rank = keep_rank(keys, hashes, ids)
    assert sorted(rank.tolist()) == list(range(n))
    by_hand = sorted(
        range(n),
        key=lambda i: (first[i] is None, -(first[i] or 0), second[i], hashes[i], ids[i]),
    )
    assert np.argsort(rank).tolist() == by_hand
    order = draw.permutation(n)
    again = keep_rank(
        [(pa.array([first[i] for i in order], pa.int64()), "descending"),
         (second[order], "ascending")],
        [hashes[i] for i in order],
        [ids[i] for i in order],
    )  # fmt: skip
    assert again.tolist() == rank[order].tolist()


def test_texts_shorter_than_a_shingle_do_not_collapse_into_one():
    texts = ["fig", "elm", "fig", "a four word text", "", "", "茶", "雪"]
    losers = near([trace_of("say it", text) for text in texts])
    kept = [text for text, w in zip(texts, losers.winner_T, strict=True) if w < 0]
    assert sorted(kept) == sorted(["fig", "elm", "a four word text", "", "", "茶", "雪"])


def test_rows_under_one_long_system_prompt_and_the_same_tools_all_stay():
    draw = np.random.default_rng(14)
    system = " ".join(f"rule{w}" for w in draw.integers(0, 200, 400))
    tools = tuple(Tool(name=f"tool_{i}", description="does a thing " * 20) for i in range(10))
    names = ["Oslo", "Lima", "Cairo", "Quito", "Perth"]
    rows = [
        trace_of(
            f"How warm is it in {names[i % 5]} in district {i}?",
            "",
            system=system,
            tools=tools,
            call=f'{{"city": "{names[i % 5]}", "district": {i}, "unit": "C"}}',
        )
        for i in range(50)
    ]
    answer = " ".join(f"w{k}" for k in draw.integers(0, 5000, 60))
    changed = answer.rsplit(" ", 1)[0] + " another"
    twins = [trace_of("Explain it all.", a, system=system, tools=tools) for a in (answer, changed)]
    losers = near([*rows, *twins])
    assert np.all(losers.winner_T[:50] == -1)
    assert losers.n_dropped == 1
    assert set(np.flatnonzero(losers.winner_T >= 0)) <= {50, 51}


def test_similarity_does_not_travel_along_a_chain():
    draw = np.random.default_rng(15)
    words = [f"w{k}" for k in draw.permutation(5000)]
    size, step = 200, 16  # neighbours share about 85 of 100 shingles
    chain = [trace_of("go on", " ".join(words[i * step : i * step + size])) for i in range(30)]
    losers = near(chain)
    dropped = np.flatnonzero(losers.winner_T >= 0)
    assert 0 < dropped.size < 29
    flat = columns_of(trace_table(chain))
    sets = shingle_sets(flat, range(30))
    targets = [
        set(sets.target_hashes[a:b].tolist())
        for a, b in zip(sets.target_offsets[:-1], sets.target_offsets[1:], strict=True)
    ]
    for row in dropped:
        winner = losers.winner_T[row]
        assert losers.winner_T[winner] == -1
        share = len(targets[row] & targets[winner]) / len(targets[row] | targets[winner])
        assert losers.similarity_T[row] == share
        assert share >= 0.8


def test_one_of_each_cluster_survives_and_every_row_names_a_kept_one():
    traces = [trace_of("q", text) for text in ["text x"] * 3 + ["text y"] * 2 + ["text z"]]
    hashes = [repr(t.messages) for t in traces]
    ids = [f"doc-{i}" for i in (9, 10, 11, 7, 8, 3)]
    rank = keep_rank([], hashes, ids)
    everyone = np.ones(6, bool)
    pairs = pair_table([(0, 1, 1, 1), (0, 2, 1, 1), (1, 2, 1, 1), (3, 4, 1, 1)])
    for losers in (exact(hashes, rank, everyone), greedy(rank, everyone, pairs, 0.8)):
        kept = np.flatnonzero(losers.winner_T < 0)
        assert kept.size + losers.n_dropped == 6
        assert sorted(hashes[k] for k in kept) == sorted(set(hashes))
        assert set(losers.winner_T[losers.winner_T >= 0]) <= set(kept)


def test_the_survivor_does_not_depend_on_what_came_first():
    draw = np.random.default_rng(16)
    texts = [
        (f"task {cluster}", " ".join(f"c{cluster}w{k}" for k in range(150 - 4 * cut)))
        for cluster in range(40)
        for cut in range(5)
    ]
    traces = [trace_of(*text) for text in texts]
    losers = near(traces)
    kept = {repr(traces[i].messages) for i in np.flatnonzero(losers.winner_T < 0)}
    # The longest of each five stays: the rule of `rank_of`.
    assert kept == {repr(traces[5 * c].messages) for c in range(40)}
    for _ in range(3):
        shuffled = [traces[i] for i in draw.permutation(200)]
        again = near(shuffled)
        assert {repr(shuffled[i].messages) for i in np.flatnonzero(again.winner_T < 0)} == kept


def test_decisions_on_random_traces_are_those_of_brute_force():
    draw = np.random.default_rng(17)
    traces = []
    for group in range(60):
        words = [f"g{group}w{k}" for k in range(300)]
        for k in range(5):
            text = [w if draw.random() > 0.004 * k else "x" for w in words]
            traces.append(trace_of(f"a question of {group % 55} here and now", " ".join(text)))
    flat = columns_of(trace_table(traces))
    sets = shingle_sets(flat, range(300))
    scopes = [
        [
            set(hashes[offsets[i] : offsets[i + 1]].tolist())
            for hashes, offsets in (
                (sets.task_hashes, sets.task_offsets),
                (sets.target_hashes, sets.target_offsets),
            )
        ]
        for i in range(300)
    ]
    rows = []
    for a in range(300):
        for b in range(a + 1, 300):
            similar = [len(x & y) / len(x | y) for x, y in zip(scopes[a], scopes[b], strict=True)]
            rows.append((a, b, *similar))
    # From 0.85 on a pair is missed once in 10**6 times: brute force must agree to the row.
    losers = near(traces, threshold=0.85)
    expected = greedy_by_hand(rank_of(traces), np.ones(300, bool), rows, 0.85)
    got = {
        int(r): (int(losers.winner_T[r]), float(losers.similarity_T[r]))
        for r in np.flatnonzero(losers.winner_T >= 0)
    }
    assert got == expected
    assert 50 < len(got) < 250
