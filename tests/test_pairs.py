"""Pairs: what banding finds follows the formula, and what is reported is exact."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracekit.errors import UsageError
from tracekit.kernels import minhash
from tracekit.pairs import (
    ALL_PAIRS,
    N_FIRST,
    PAIR_SCHEMA,
    bands_for,
    candidates,
    found_rate,
    min_agreeing,
    verify_spill,
)
from tracekit.sketch import ShingleSets, picked_sets


def sets_of(tasks: list[set[int]], targets: list[set[int]]) -> ShingleSets:
    packed = []
    for scope in (tasks, targets):
        offsets = np.cumsum([0, *map(len, scope)]).astype(np.int64)
        packed += [np.array([h for s in scope for h in sorted(s)], np.uint64), offsets]
    return ShingleSets(*packed)


def signatures_of(sets: list[np.ndarray]) -> np.ndarray:
    out = np.empty((len(sets), 128), np.uint32)
    ends = np.cumsum([s.size for s in sets]).astype(np.int64)
    minhash.signatures(np.concatenate(sets), ends, *minhash.permutations(), out)
    return out


def n_shingles(sets: ShingleSets) -> np.ndarray:
    return np.diff(sets.task_offsets) + np.diff(sets.target_offsets)


def planted(draw: np.random.Generator, similarity: float, size: int) -> tuple[np.ndarray, ...]:
    """Two sets of fresh hashes whose Jaccard similarity is the nearest that `size` allows."""
    n_shared = round(2 * size * similarity / (1 + similarity))
    hashes = draw.integers(0, 2**64, 2 * size - n_shared, dtype=np.uint64)
    return hashes[:size], hashes[size - n_shared :]


def test_bands_find_at_the_floor_what_the_formula_says():
    assert bands_for(0.7) == (25, 5)
    assert found_rate(0.7, 25, 5) == pytest.approx(0.98995, abs=5e-6)
    for percent in range(10, 101, 5):
        floor = percent / 100
        n_bands, n_rows = bands_for(floor)
        assert n_bands * n_rows <= 128
        assert found_rate(floor, n_bands, n_rows) >= 0.98
        if n_rows < 128:
            longer = n_rows + 1
            assert found_rate(floor, 128 // longer, longer) < 0.98


@pytest.mark.parametrize("floor", [0.0, -1.0, 0.001, 1.5, math.nan])
def test_a_floor_that_cannot_be_found_is_refused(floor):
    with pytest.raises(UsageError):
        bands_for(floor)


@pytest.mark.parametrize("similarity", [0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 1.0])
def test_planted_pairs_are_found_at_the_rate_of_their_bin(similarity):
    draw = np.random.default_rng(round(similarity * 100))
    n_pairs, size = 600, 400
    pairs = [planted(draw, similarity, size) for _ in range(n_pairs)]
    shared = round(2 * size * similarity / (1 + similarity))
    exact = shared / (2 * size - shared)
    found = candidates(signatures_of([s for pair in pairs for s in pair]), np.arange(2 * n_pairs))
    assert np.array_equal(found.b_G, found.a_G + 1)
    assert np.all(found.a_G % 2 == 0)

    # A pair is a candidate when it shares a band and agrees in enough permutations. The first
    # follows the formula; the second takes away only what lies far below the floor, so its share
    # is bounded by the binomial tail on either side.
    n_bands, n_rows = found.bands
    by_band = found_rate(exact, n_bands, n_rows)
    enough = sum(
        math.comb(128, k) * exact**k * (1 - exact) ** (128 - k)
        for k in range(min_agreeing(0.7), 129)
    )
    high = min(by_band, enough)
    low = max(0.0, by_band + enough - 1)
    sigma = 5 * math.sqrt(max(high * (1 - high), 1 / n_pairs) / n_pairs)
    assert low - sigma <= found.a_G.size / n_pairs <= high + sigma
    if similarity >= 0.7:
        assert found.a_G.size / n_pairs >= by_band - sigma


def test_bands_alone_follow_the_formula_in_every_bin():
    draw = np.random.default_rng(11)
    n_pairs, size = 600, 400
    n_bands, n_rows = bands_for(0.7)
    for similarity in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
        pairs = [planted(draw, similarity, size) for _ in range(n_pairs)]
        shared = round(2 * size * similarity / (1 + similarity))
        p = found_rate(shared / (2 * size - shared), n_bands, n_rows)
        signature = signatures_of([s for pair in pairs for s in pair])[:, : n_bands * n_rows]
        equal = signature[0::2] == signature[1::2]
        rate = equal.reshape(n_pairs, n_bands, n_rows).all(axis=2).any(axis=1).mean()
        assert abs(rate - p) <= 4.5 * math.sqrt(p * (1 - p) / n_pairs) + 1 / n_pairs


def crowd(draw: np.random.Generator, n: int, n_groups: int) -> ShingleSets:
    """Traces in groups of which some pairs are near, some are not, and some share one scope."""
    tasks, targets = [], []
    bases = [
        (draw.integers(0, 2**63, 40).tolist(), draw.integers(0, 2**63, 60).tolist())
        for _ in range(n_groups)
    ]
    for _ in range(n):
        task, target = bases[draw.integers(n_groups)]
        scopes = []
        for base in (task, target):
            kept = draw.random(len(base)) > draw.choice([0, 0.05, 0.15, 0.4])
            extra = draw.integers(0, 2**63, draw.integers(0, 4)).tolist()
            scopes.append({h for h, k in zip(base, kept, strict=True) if k} | set(extra))
        tasks.append(scopes[0] if draw.random() > 0.1 else set())
        targets.append(scopes[1] | {int(draw.integers(2**63))})
    return sets_of(tasks, targets)


def jaccard(one: set, other: set) -> float:
    return len(one & other) / len(one | other) if one | other else 1.0


def scope_sets(sets: ShingleSets, i: int) -> tuple[set[int], set[int]]:
    return (
        set(sets.task_hashes[sets.task_offsets[i] : sets.task_offsets[i + 1]].tolist()),
        set(sets.target_hashes[sets.target_offsets[i] : sets.target_offsets[i + 1]].tolist()),
    )


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.sampled_from([1, 500, 3000, 10_000, 1 << 30]))
def test_verified_pairs_are_those_of_brute_force_in_any_memory(seed, max_bytes):
    draw = np.random.default_rng(seed)
    n = 40
    sets = crowd(draw, n, 6)
    a_G, b_G = np.triu_indices(n, 1)
    keep = draw.random(a_G.size) < 0.5
    flip = draw.random(a_G.size) < 0.5
    a_G, b_G = np.where(flip, b_G, a_G)[keep], np.where(flip, a_G, b_G)[keep]
    largest = int(8 * n_shingles(sets).max())
    held: list[int] = []

    def load(rows):
        assert np.all(np.diff(rows) > 0)
        some = picked_sets(sets, rows)
        held.append(8 * (some.task_hashes.size + some.target_hashes.size))
        return some

    found = verify_spill(a_G, b_G, load, n_shingles_T=n_shingles(sets), max_bytes=max_bytes)
    assert found.schema == PAIR_SCHEMA
    expected = []
    for a, b in zip(a_G.tolist(), b_G.tolist(), strict=True):
        (task_a, target_a), (task_b, target_b) = scope_sets(sets, a), scope_sets(sets, b)
        row = (a, b, jaccard(task_a, task_b), jaccard(target_a, target_b))
        if min(row[2:]) >= 0.7:
            expected.append(row)
    assert list(zip(*(c.to_pylist() for c in found.columns), strict=True)) == expected
    # Two blocks are held at a time; a trace larger than half of the memory is a block itself.
    assert max(held) <= max(max_bytes, largest)
    if 2 * largest <= max_bytes < 8 * n_shingles(sets).sum():
        assert max(held) <= max_bytes // 2


def test_a_task_or_a_target_alone_makes_no_pair():
    words, others = set(range(100)), set(range(1000, 1100))
    tasks = [words, words, others, words]
    targets = [words, others, words, words]
    sets = sets_of(tasks, targets)
    a_G, b_G = np.triu_indices(4, 1)
    found = verify_spill(a_G, b_G, lambda r: picked_sets(sets, r), n_shingles_T=n_shingles(sets))
    assert found.to_pylist() == [{"a": 0, "b": 3, "task_jaccard": 1.0, "target_jaccard": 1.0}]


def test_traces_without_a_task_have_the_same_task():
    sets = sets_of([set(), set(), {1, 2}], [{5, 6}, {5, 6}, {5, 6}])
    a_G, b_G = np.triu_indices(3, 1)
    found = verify_spill(a_G, b_G, lambda r: picked_sets(sets, r), n_shingles_T=n_shingles(sets))
    assert found.column("b").to_pylist() == [1]
    assert found.column("task_jaccard").to_pylist() == [1.0]


def test_a_similarity_of_exactly_the_floor_is_a_pair():
    sets = sets_of([{1}, {1}], [set(range(10)), set(range(7))])
    one = np.array([0]), np.array([1])
    for floor, n in ((0.7, 1), (0.7000001, 0)):
        found = verify_spill(
            *one, lambda r: picked_sets(sets, r), n_shingles_T=n_shingles(sets), floor=floor
        )
        assert found.num_rows == n


def test_no_candidates_load_nothing():
    none = np.zeros(0, np.int64)

    def load(rows):
        raise AssertionError("nothing to load")

    assert verify_spill(none, none, load, n_shingles_T=np.ones(3, np.int64)).num_rows == 0
    assert candidates(np.zeros((0, 128), np.uint32), none).a_G.size == 0


def test_candidates_do_not_depend_on_the_order_of_rows():
    draw = np.random.default_rng(5)
    sets = crowd(draw, 200, 20)
    whole = [np.array(sorted(set.union(*scope_sets(sets, i))), np.uint64) for i in range(200)]
    signature = signatures_of(whole)
    rank = draw.permutation(200)
    first = candidates(signature, rank)
    shuffled = draw.permutation(200)
    again = candidates(np.ascontiguousarray(signature[shuffled]), rank[shuffled])
    assert first.a_G.size > 50
    assert np.all(rank[first.a_G] < rank[first.b_G])
    assert first.a_G.tolist() == shuffled[again.a_G].tolist()
    assert first.b_G.tolist() == shuffled[again.b_G].tolist()
    assert len(set(zip(first.a_G.tolist(), first.b_G.tolist(), strict=True))) == first.a_G.size


@pytest.mark.parametrize("size", [ALL_PAIRS, ALL_PAIRS + 1, 500])
def test_a_large_bucket_meets_only_its_first_and_is_counted(size):
    draw = np.random.default_rng(size)
    hashes = draw.integers(0, 2**63, 100, dtype=np.uint64)
    signature = signatures_of([hashes] * size)
    rank = draw.permutation(size)
    found = candidates(signature, rank)
    bounded = size > ALL_PAIRS
    n_pairs = N_FIRST * (N_FIRST - 1) // 2 + (size - N_FIRST) * N_FIRST
    assert found.a_G.size == (n_pairs if bounded else size * (size - 1) // 2)
    assert found.largest_bucket == size
    assert found.n_bounded_buckets == (25 if bounded else 0)
    assert found.n_bounded_members == (25 * size if bounded else 0)
    if bounded:
        assert np.all(rank[found.a_G] < N_FIRST)


@given(
    texts=st.lists(st.integers(0, 6), min_size=2, max_size=30),
    data=st.data(),
)
def test_pairs_of_copies_are_those_that_comparing_all_would_give(texts, data):
    """Traces of equal text are compared once; the table is that of comparing each pair."""
    from tracekit import pairs

    first = np.array([texts.index(t) for t in texts], np.int64)
    every = [(a, b) for a in range(len(texts)) for b in range(a + 1, len(texts))]
    chosen = data.draw(st.lists(st.sampled_from(every), unique=True, min_size=1))
    a, b = (np.array(side, np.int64) for side in zip(*chosen, strict=True))

    def alike(one, two):  # any function of the texts that is 1 for equal ones
        return 1.0 if one == two else ((one * 7 + two * 7) % 10) / 10

    def table_of(one, two):
        rows = [(x, y, alike(texts[x], texts[y])) for x, y in zip(one, two, strict=True)]
        rows = [r for r in rows if r[2] >= 0.5]
        return pa.table(
            {
                "a": pa.array([r[0] for r in rows], pa.int64()),
                "b": pa.array([r[1] for r in rows], pa.int64()),
                "task_jaccard": pa.array([r[2] for r in rows], pa.float64()),
                "target_jaccard": pa.array([r[2] for r in rows], pa.float64()),
            },
            schema=pairs.PAIR_SCHEMA,
        )

    met = []

    def once(one, two):
        met.extend(zip(one.tolist(), two.tolist(), strict=True))
        return table_of(one, two)

    assert pairs.through_equals(a, b, first, once).equals(table_of(a, b))
    assert len(met) == len(set(met))
    assert all(texts[x] != texts[y] for x, y in met)
