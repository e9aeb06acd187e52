"""Best-fit-decreasing: every sample once, no pack over its context, as good as the plain rule."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit import token_plan
from tracekit.kernels.packing import pack


def plain(lengths: list[int], context: int) -> tuple[list[int], list[int], int]:
    """The rule as it is written down, in quadratic time: (pack, slot, number of packs)."""
    packs, slots = [0] * len(lengths), [0] * len(lengths)
    room: list[int] = []
    touched: list[int] = []
    size: list[int] = []
    for clock, s in enumerate(sorted(range(len(lengths)), key=lambda s: -lengths[s])):
        fitting = [p for p in range(len(room)) if room[p] >= lengths[s]]
        if fitting:
            p = min(fitting, key=lambda p: (room[p], -touched[p]))
        else:
            p = len(room)
            room.append(context)
            touched.append(0)
            size.append(0)
        packs[s], slots[s] = p, size[p]
        room[p] -= lengths[s]
        touched[p], size[p] = clock, size[p] + 1
    return packs, slots, len(room)


contexts = st.sampled_from([1, 5, 63, 64, 65, 4_000, 4_096, 4_097, 262_144, 1_048_576])


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[int], int]:
    context = draw(contexts)
    lengths = st.integers(0, context) | st.integers(0, min(context, 3 + context // 6))
    return draw(st.lists(lengths, max_size=40)), context


@given(problems())
def test_packs_are_those_of_the_plain_rule(problem):
    lengths, context = problem
    got = pack(np.array(lengths, np.int64), context)
    assert (got.pack_S.tolist(), got.slot_S.tolist(), got.n_packs) == plain(lengths, context)
    assert got.fill_share == (sum(lengths) / (got.n_packs * context) if lengths else 0.0)


@given(problems(), st.randoms(use_true_random=False))
def test_how_many_packs_there_are_does_not_depend_on_the_order_of_arrival(problem, random):
    lengths, context = problem
    shuffled = random.sample(lengths, len(lengths))
    one, other = (pack(np.array(x, np.int64), context) for x in (lengths, shuffled))
    assert one.n_packs == other.n_packs

    def contents(lengths, packing):
        of_pack = [[] for _ in range(packing.n_packs)]
        for length, p in zip(lengths, packing.pack_S.tolist(), strict=True):
            of_pack[p].append(length)
        return sorted(sorted(p) for p in of_pack)

    assert contents(lengths, one) == contents(shuffled, other)


def test_many_samples_are_packed_within_the_bound_of_the_rule():
    """Best-fit-decreasing needs at most 11/9 of the best number of packs, and 6/9 of a pack."""
    lengths = np.random.default_rng(7).integers(1, 4_097, 50_000)
    got = pack(lengths, 4_096)
    filled = np.bincount(got.pack_S, weights=lengths)
    assert filled.max() <= 4_096
    assert np.bincount(got.pack_S).sum() == len(lengths)
    fewest = -(-int(lengths.sum()) // 4_096)
    halves = int((lengths > 2_048).sum())
    assert max(fewest, halves) <= got.n_packs <= max(fewest, halves) * 11 / 9 + 6 / 9


@pytest.mark.parametrize("length", [4_097, -1])
def test_a_sample_that_no_pack_can_hold_is_refused(length):
    with pytest.raises(ValueError, match="4096"):
        pack(np.array([1, length], np.int64), 4_096)


@st.composite
def mixes(draw: st.DrawFn) -> tuple[list[list[int]], int]:
    """(tokens of the samples of each trace, context)."""
    context = draw(st.sampled_from([10, 64, 4_096]))
    trace = st.lists(st.integers(1, context), min_size=1, max_size=4)
    return draw(st.lists(trace, max_size=12)), context


def planned(mix, places, context, tokens_per_shard=10**6, max_bytes=10**9):
    return token_plan.of(
        np.array(places, np.int64), np.array([len(t) for t in mix], np.int64),
        np.array([n for t in mix for n in t], np.int64),
        context=context, tokens_per_shard=tokens_per_shard, max_bytes=max_bytes,
    )  # fmt: skip


@given(mixes(), st.randoms(use_true_random=False), st.booleans(), st.integers(1, 200))
def test_a_plan_gives_every_sample_one_place_whatever_the_order_of_arrival(
    mix, random, packed, tokens_per_shard
):
    traces, context = mix
    places = random.sample(range(len(traces)), len(traces))
    limit = context if packed else None
    plan = planned(traces, places, limit, tokens_per_shard, max_bytes=2_000)
    n = sum(map(len, traces))
    assert sorted(plan.position_S.tolist()) == list(range(n))
    order = np.argsort(plan.position_S)
    assert (np.diff(plan.row_S[order]) >= 0).all()
    assert (np.diff(plan.shard_S[order]) >= 0).all()
    assert set(plan.row_S.tolist()) == set(range(plan.n_rows))
    for row in range(plan.n_rows):
        assert len(set(plan.shard_S[plan.row_S == row].tolist())) == 1
    if packed:
        assert (np.bincount(plan.row_S, weights=plan.tokens_S) <= context).all()
    else:
        assert plan.n_rows == n
    # The same traces, given in the order of the product: the same place for the same sample.
    by_place = np.argsort(places).astype(int).tolist()
    again = planned(
        [traces[k] for k in by_place], range(len(traces)), limit, tokens_per_shard, 2_000
    )
    names = [(places[k], j) for k, t in enumerate(traces) for j in range(len(t))]
    where = dict(
        zip(names, zip(plan.position_S, plan.row_S, plan.shard_S, strict=True), strict=True)
    )
    named = [(p, j) for p, k in enumerate(by_place) for j in range(len(traces[k]))]
    assert [where[name] for name in named] == list(
        zip(again.position_S, again.row_S, again.shard_S, strict=True)
    )


@given(mixes())
def test_without_a_context_samples_stand_where_their_trace_stands(mix):
    traces, _ = mix
    plan = planned(traces, range(len(traces)), None)
    assert plan.position_S.tolist() == plan.row_S.tolist() == list(range(sum(map(len, traces))))


@given(mixes())
def test_packs_stand_in_the_order_of_their_longest_sample(mix):
    traces, context = mix
    plan = planned(traces, range(len(traces)), context)
    order = np.argsort(plan.position_S)
    first = [order[np.flatnonzero(plan.row_S[order] == r)[0]] for r in range(plan.n_rows)]
    assert first == sorted(first)
    for row, s in enumerate(first):
        assert plan.tokens_S[s] == plan.tokens_S[plan.row_S == row].max()
