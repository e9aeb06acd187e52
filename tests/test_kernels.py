"""Kernels: JSON members chunk by chunk, loops in token ids, the cache of compiled code."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracekit import kernels
from tracekit.kernels import jsonscan
from tracekit.kernels.loops import MIN_PERIODS, MIN_TOKENS, loops, periodic_run

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def members(document: bytes, chunk_bytes: int, **options: bool) -> tuple[list, np.ndarray]:
    """(start, end, key start, key end) of all members, and the state behind the document."""
    state = jsonscan.start(**options)
    found = []
    for at in range(0, len(document), chunk_bytes):
        kept_from = jsonscan.pending(state)
        spans = jsonscan.scan(document[at : at + chunk_bytes], state)
        for row in zip(
            spans.start_E.tolist(),
            spans.end_E.tolist(),
            spans.key_start_E.tolist(),
            spans.key_end_E.tolist(),
            strict=True,
        ):
            assert row[0] >= kept_from
            assert row[2] == -1 or row[2] >= kept_from
            found.append(row)
    return found, state


@settings(max_examples=60)
@given(
    st.lists(VALUES, max_size=5),
    st.sampled_from([1, 2, 5, 10_000]),
    st.booleans(),
    st.sampled_from([None, 2]),
)
def test_the_elements_of_an_array_are_found_at_any_chunk_size(values, size, ascii_only, indent):
    document = json.dumps(values, ensure_ascii=ascii_only, indent=indent).encode()
    found, state = members(document, size)
    assert [json.loads(document[a:b]) for a, b, _, _ in found] == values
    assert jsonscan.done(state)
    assert not jsonscan.is_object(state)
    assert jsonscan.problem(state) == ""


@settings(max_examples=60)
@given(
    st.dictionaries(st.text(max_size=5), VALUES, max_size=5),
    st.sampled_from([1, 3, 10_000]),
    st.sampled_from([None, 2]),
)
def test_the_values_of_an_object_are_found_with_their_keys(values, size, indent):
    document = json.dumps(values, indent=indent).encode()
    found, state = members(document, size)
    read = {json.loads(document[c:d]): json.loads(document[a:b]) for a, b, c, d in found}
    assert read == values
    assert jsonscan.is_object(state)
    assert jsonscan.done(state)


@settings(max_examples=40)
@given(st.lists(VALUES, max_size=4), st.sampled_from([1, 4, 10_000]))
def test_values_one_after_the_other_are_found_as_a_stream(values, size):
    document = "\n".join(json.dumps(v, indent=1) for v in values).encode() + b"\n"
    found, state = members(document, size, values=True)
    assert [json.loads(document[a:b]) for a, b, _, _ in found] == values
    assert jsonscan.problem(state) == ""


@pytest.mark.parametrize(
    ("document", "place", "word"),
    [
        (b"", 0, "empty"),
        (b" 3", 1, "neither"),
        (b"[1,,2]", 3, "comma"),
        (b"[1 2]", 3, "comma"),
        (b"[1,]", 3, "comma"),
        (b'{"a" 1}', 5, "comma"),
        (b'{"a":1,}', 7, "comma"),
        (b"{1:2}", 1, "comma"),
        (b"[{]}", 2, "wrong kind"),
        (b"[1}", 2, "wrong kind"),
        (b"[1] x", 4, "after the end"),
        (b'[1, "a', 6, "before its closing"),
        (b"[" * 3000, jsonscan.MAX_DEPTH, "more than"),
    ],
)
def test_a_document_that_is_none_says_why_and_where(document, place, word):
    for size in (1, 1000):
        _, state = members(document, size)
        assert word in jsonscan.problem(state)
        assert jsonscan.position(state) == place
        assert not jsonscan.done(state)


def test_members_before_an_error_are_given():
    found, state = members(b'[{"a": "]"}, 7, oops"]', 4)
    assert [(a, b) for a, b, _, _ in found] == [(1, 11), (13, 14)]
    assert jsonscan.problem(state)


def test_a_byte_order_mark_and_escaped_quotes_are_no_trouble():
    document = b"\xef\xbb\xbf" + rb'["a\"]\\", "\\\""]'
    for size in (1, 2, 100):
        found, state = members(document, size)
        assert [json.loads(document[a:b]) for a, b, _, _ in found] == ['a"]\\', '\\"']
        assert jsonscan.done(state)


def test_ten_thousand_members_in_one_chunk_are_all_given():
    document = json.dumps(list(range(100_000))).encode()
    found, _ = members(document, len(document))
    assert [int(document[a:b]) for a, b, _, _ in found] == list(range(100_000))


def loops_by_definition(ids: np.ndarray) -> tuple[int, tuple[int, int, int]]:
    """Looped tokens and (start, end, period) of the longest loop, straight from the definition."""
    looped = np.zeros(ids.size, bool)
    longest, best = 0, (-1, -1, -1)
    for p in range(1, ids.size // MIN_PERIODS + 1):
        edges = np.flatnonzero(np.diff(np.r_[0, ids[p:] == ids[:-p], 0]))
        for start, end in edges.reshape(-1, 2).tolist():
            length = end - start + p
            if length >= max(MIN_PERIODS * p, MIN_TOKENS):
                looped[start + p : end + p] = True
                if length > longest:
                    longest, best = length, (start, end + p, p)
    return int(looped.sum()), best


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_loops_are_those_of_the_definition(seed, n_pieces):
    draw = np.random.default_rng(seed)
    pieces: list[np.ndarray] = []
    for _ in range(n_pieces):
        kind = draw.integers(4)
        if kind == 0:
            pieces.append(draw.integers(0, 1000, draw.integers(1, 200)))
        elif kind == 1:
            p = draw.choice([1, 2, 3, 15, 16, 17, 66, 67, 100])
            words = draw.integers(0, draw.choice([3, 50, 1000]), p)
            pieces.append(np.resize(words, draw.integers(1, 400)))
        elif kind == 2 and pieces:
            pieces.append(pieces[draw.integers(len(pieces))])
        else:
            pieces.append(np.full(draw.integers(1, 250), 7))
    ids = np.concatenate(pieces).astype(np.uint32)
    found = loops(ids, np.array([0]), np.array([ids.size]))
    assert (int(found.loop_tokens_R[0]), periodic_run(ids, 0, ids.size)) == loops_by_definition(ids)


@pytest.mark.parametrize("p", [1, 2, 15, 16, 17, 40, 66])
def test_a_loop_counts_from_200_tokens_and_three_periods(p):
    draw = np.random.default_rng(p)
    words = draw.permutation(1000)[:p] + 10_000
    head = draw.permutation(1000)[:37]
    long_enough = max(MIN_TOKENS, MIN_PERIODS * p)
    for length, counts in ((long_enough - 1, False), (long_enough, True)):
        ids = np.r_[head, np.resize(words, length)].astype(np.uint32)
        run = periodic_run(ids, 0, ids.size)
        assert run == ((37, ids.size, p) if counts else (-1, -1, -1))


def test_each_range_is_looked_at_alone():
    ids = np.r_[np.arange(300), np.tile(np.arange(5), 100)].astype(np.uint32)
    found = loops(ids, np.array([0, 300, 300, 0, 500]), np.array([300, 800, 450, 800, 500]))
    assert found.loop_tokens_R.tolist() == [0, 495, 0, 495, 0]
    assert found.period_R.tolist() == [-1, 5, -1, 5, -1]
    assert found.run_start_R.tolist() == [-1, 300, -1, 300, -1]


def fibonacci_word(n: int) -> np.ndarray:
    before, word = np.array([0]), np.array([0, 1])
    while word.size < n:
        before, word = word, np.r_[word, before]
    return word[:n]


def adversaries(n: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(1)
    text = draw.integers(0, 9, int((2 * n) ** 0.5))
    return {
        "fibonacci": fibonacci_word(n),
        "ones": np.ones(n),
        "coin": draw.integers(0, 2, n),
        "suffixes": np.concatenate([text[j:] for j in range(text.size)]),
        "prefixes": np.concatenate([text[:j] for j in range(text.size)]),
        "long period": np.resize(draw.integers(0, 2, n // 40), n),
        "thue morse": np.array([i.bit_count() & 1 for i in range(n)]),
        "almost": np.concatenate([np.r_[np.ones(64 + i % 7), 0] for i in range(n // 68)]),
    }


@pytest.mark.parametrize("name", sorted(adversaries(1000)))
def test_the_work_is_linear_on_hostile_tokens(name):
    for n in (20_000, 80_000):
        ids = adversaries(n)[name].astype(np.uint32)
        found = loops(ids, np.array([0]), np.array([ids.size]))
        # 8 periods are followed at most; 16 tokens of a window; a start is looked for over
        # a multiple of what was followed.
        assert found.steps_R[0] <= 40 * ids.size


def in_new_process(code: str, **environment: str) -> subprocess.CompletedProcess:
    source = str(Path(kernels.__file__).parents[2])
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": source, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_cache_that_cannot_be_written_costs_one_line_and_no_crash(tmp_path):
    (tmp_path / "file").write_text("")
    done = in_new_process(
        "from tracekit.kernels import minhash, CACHE; assert CACHE is None",
        NUMBA_CACHE_DIR=str(tmp_path / "file" / "below"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1
    assert "NUMBA_CACHE_DIR" in done.stderr


def test_a_cache_file_cut_short_is_made_anew(tmp_path):
    code = "from tracekit.kernels import minhash"
    assert in_new_process(code, NUMBA_CACHE_DIR=str(tmp_path)).returncode == 0
    files = [file for file in tmp_path.rglob("minhash.*") if file.suffix in {".nbi", ".nbc"}]
    assert files
    for file in files:
        file.write_bytes(file.read_bytes()[:20])
    again = in_new_process(code, NUMBA_CACHE_DIR=str(tmp_path))
    assert (again.returncode, again.stderr) == (0, "")
    assert any(file.stat().st_size > 20 for file in tmp_path.rglob("minhash.*.nbc"))
