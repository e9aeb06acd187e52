"""Rows of the token profiles: what was encoded comes back, and what is wrong with a row is seen."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import trace_lists
from tracekit import token_rows, tokenizers
from tracekit.encoded import batches
from tracekit.render import named
from tracekit.schema import trace_table
from tracekit.shard_rows import row_digest

token_ids = st.integers(0, 248_319)
encoded = st.lists(
    st.lists(st.tuples(token_ids, st.booleans()), min_size=1, max_size=12), min_size=1, max_size=8
)
"""Samples as (id, is it trained on) of each token."""


def spilled(samples, row_S):
    lengths = [len(s) for s in samples]
    flat = [token for s in samples for token in s]
    return token_rows.spill_table(
        np.array([i for i, _ in flat], np.uint32),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.array([t for _, t in flat], np.bool_),
        id_S=[f"trace{k // 2}" for k in range(len(samples))],
        sample_S=np.arange(len(samples)) % 2,
        source="made",
        position_S=np.arange(len(samples)),
        row_S=np.array(row_S, np.int64),
    )


def labels_of(sample):
    return [i if trained else -100 for i, trained in sample]


@given(encoded)
def test_tokenized_rows_are_the_samples(samples):
    table = token_rows.tokenized(spilled(samples, range(len(samples))))
    assert table.schema.equals(token_rows.TOKENIZED_SCHEMA)
    for sample, row in zip(samples, table.to_pylist(), strict=True):
        assert row["input_ids"] == [i for i, _ in sample]
        assert row["labels"] == labels_of(sample)
        assert row["n_tokens"] == len(sample)
        assert row["n_target_tokens"] == sum(trained for _, trained in sample)
    assert all(holds for _, _, holds in token_rows.checks(table, None))


@given(encoded, st.data())
def test_packed_rows_are_whole_samples_one_after_the_other(samples, data):
    breaks = [data.draw(st.booleans()) for _ in samples]
    row_S = np.cumsum([False, *breaks[1:]])
    table = token_rows.packed(spilled(samples, row_S))
    assert table.schema.equals(token_rows.PACKED_SCHEMA)
    seen = []
    for row in table.to_pylist():
        start = 0
        for trace, number, length in zip(
            row["ids"], row["samples"], row["seq_lengths"], strict=True
        ):
            at = slice(start, start + length)
            assert row["position_ids"][at] == list(range(length))
            seen.append((trace, number, row["input_ids"][at], row["labels"][at]))
            start += length
        assert start == row["n_tokens"] == len(row["input_ids"])
        assert row["n_target_tokens"] == sum(label != -100 for label in row["labels"])
    assert seen == [
        (f"trace{k // 2}", k % 2, [i for i, _ in s], labels_of(s)) for k, s in enumerate(samples)
    ]
    assert all(holds for _, _, holds in token_rows.checks(table, 12 * 8))


@given(trace_lists(max_size=4), st.sampled_from(["keep", "strip", "as_is"]), st.integers(1, 5))
def test_samples_laid_out_in_pieces_are_those_laid_out_at_once(traces, history, step):
    rows = trace_table(traces).to_pylist()
    for batch in batches(rows, tokenizers.load(), named(), history):
        ids_N, offsets_K1, target_N = batch.samples()
        assert np.array_equal(np.diff(offsets_K1), batch.sample_tokens())
        n = len(offsets_K1) - 1
        pieces = [batch.samples(k, min(k + step, n)) for k in range(0, n, step)]
        if pieces:
            assert np.array_equal(np.concatenate([p[0] for p in pieces]), ids_N)
            assert np.array_equal(np.concatenate([p[2] for p in pieces]), target_N)
            assert np.array_equal(
                np.concatenate([np.diff(p[1]) for p in pieces]), np.diff(offsets_K1)
            )


SAMPLES = [[(5, True), (6, False)], [(7, True)], [(8, False), (9, True), (10, True)]]


def edited(table, name, change):
    """The table with one column changed in its first row."""
    values = table.column(name).to_pylist()
    values[0] = change(values[0])
    column = pa.array(values, table.schema.field(name).type)
    return table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)


@pytest.mark.parametrize(
    ("name", "change", "check"),
    [
        ("labels", lambda v: [v[0] + 1, *v[1:]], "labels"),
        ("labels", lambda v: v[:-1], "labels"),
        ("labels", lambda v: [-100, *v[1:]], "counts of rows"),
        ("n_tokens", lambda v: v + 1, "counts of rows"),
        ("n_target_tokens", lambda v: v - 1, "counts of rows"),
        ("input_ids", lambda v: [*v, *[4] * 90], "context"),
        ("seq_lengths", lambda v: [v[0] + 1, *v[1:]], "seq_lengths"),
        ("ids", lambda v: v[:-1], "seq_lengths"),
        ("samples", lambda v: [*v, 0], "seq_lengths"),
        ("seq_lengths", lambda v: [v[1], v[0]], "position_ids"),
        ("position_ids", lambda v: list(range(len(v))), "position_ids"),
        ("position_ids", lambda v: v[:-1], "position_ids"),
    ],
)
def test_what_is_wrong_with_a_packed_row_is_seen(name, change, check):
    table = token_rows.packed(spilled(SAMPLES, [0, 0, 1]))
    assert all(holds for _, _, holds in token_rows.checks(table, 64))
    failed = [
        what for what, _, holds in token_rows.checks(edited(table, name, change), 64) if not holds
    ]
    assert check in failed


@given(encoded, st.integers(1, 4))
def test_the_row_digest_is_of_the_tokens_whatever_holds_them(samples, step):
    table = token_rows.tokenized(spilled(samples, range(len(samples))))
    chunked = pa.concat_tables([table.slice(k, step) for k in range(0, len(table), step)])
    longer = pa.concat_tables([table, table]).slice(len(table))
    assert row_digest(chunked) == row_digest(longer) == row_digest(table)
    for name in ("input_ids", "labels"):
        other = edited(table, name, lambda v: [v[0] + 1, *v[1:]])
        assert row_digest(other) != row_digest(table)


def test_tokens_that_move_to_the_row_before_change_the_digest():
    one = token_rows.tokenized(spilled([[(1, True), (2, True)], [(3, True)]], [0, 1]))
    other = token_rows.tokenized(spilled([[(1, True)], [(2, True), (3, True)]], [0, 1]))
    keep = ["input_ids", "labels"]
    assert row_digest(one.select(keep)) != row_digest(other.select(keep))


def test_no_sample_gives_an_empty_table():
    none = token_rows.TOKEN_SPILL_SCHEMA.empty_table()
    assert token_rows.packed(none).equals(token_rows.PACKED_SCHEMA.empty_table())
    assert token_rows.tokenized(none).equals(token_rows.TOKENIZED_SCHEMA.empty_table())
