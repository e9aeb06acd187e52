"""Bytes to records: what a container gives for good, odd and hostile files."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tracekit.containers import CODES, RawRecord, read_slices
from tracekit.errors import InputError, StorageError
from tracekit.framing import Limits, detect
from tracekit.parts import plan_parts

DECLARED = {code.name for code in CODES if code.kind == "reject"}


def compress(kind: str, data: bytes) -> bytes:
    if kind == "none":
        return data
    if kind == "gzip":
        return gzip.compress(data, mtime=0)
    if kind == "zstd":
        return zstandard.compress(data)
    return lzma.compress(data) if kind == "xz" else bz2.compress(data)


def looks_like_a_record(value) -> bool:
    return isinstance(value, dict) and "messages" in value


def read(
    path: Path, *, limits: Limits | None = None, part_bytes: int = 64 << 20
) -> list[RawRecord]:
    plan = plan_parts(
        "s",
        path.parent,
        [path.name],
        spool_folder=path.parent / "spool",
        part_bytes=part_bytes,
        whole_object_is_record=looks_like_a_record,
        limits=limits,
    )
    return [record for part in plan.parts for _, record in read_slices(part.slices, limits)]


def written(folder: Path, data: bytes, name: str = "a.jsonl") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def summary(records: list[RawRecord]) -> list[tuple]:
    return [(r.row, r.value if r.error is None else r.error[0]) for r in records]


# --- lines ---

UNICODE_LINES = "before\u2028middle\u0085after\u2029end"


@pytest.mark.parametrize("form", ["newlines", "carriage returns", "mark and no last newline"])
def test_only_a_newline_ends_a_record(tmp_path, form):
    records = [{"id": 1}, {"content": UNICODE_LINES}, {"id": 3}]
    lines = [json.dumps(r, ensure_ascii=False).encode() for r in records]
    data = {
        "newlines": b"\n".join(lines) + b"\n",
        "carriage returns": b"\r\n".join(lines) + b"\r\n",
        "mark and no last newline": b"\xef\xbb\xbf" + b"\n".join(lines),
    }[form]
    found = read(written(tmp_path, data))
    assert [r.value for r in found] == records
    assert [r.row for r in found] == [0, 1, 2]
    assert [r.raw for r in found] == lines


def test_blank_lines_have_a_number_and_are_no_record(tmp_path):
    found = read(written(tmp_path, b'\n{"a":1}\n \t\r\n\n{"a":2}\n\n'))
    assert summary(found) == [(1, {"a": 1}), (4, {"a": 2})]


def test_an_empty_file_has_no_records(tmp_path):
    assert read(written(tmp_path, b"")) == []
    assert read(written(tmp_path, b"\xef\xbb\xbf \n\n", "blank.jsonl")) == []


@given(garbage=st.binary(max_size=60).filter(lambda b: b"\n" not in b))
@settings(max_examples=60, deadline=None)
def test_garbage_between_two_records_leaves_them_as_they_are(tmp_path_factory, garbage):
    folder = tmp_path_factory.mktemp("sandwich")
    first, last = b'{"messages":["\xc3\xa9"]}', b'{"messages":[2]}'
    found = read(written(folder, first + b"\n" + garbage + b"\n" + last + b"\n"))
    assert (found[0].row, found[0].raw, found[0].error) == (0, first, None)
    assert (found[-1].row, found[-1].raw, found[-1].error) == (2, last, None)
    between = found[1:-1]
    assert len(between) == (1 if garbage.strip() else 0)
    assert all(r.error is None or r.error[0] in DECLARED for r in between)


def test_a_broken_first_line_does_not_hide_the_others(tmp_path):
    found = read(written(tmp_path, b'{"messages": [1\n{"messages":[2]}\n{"messages":[3]}\n'))
    assert summary(found)[0] == (0, "truncated_json")
    assert [r.value for r in found[1:]] == [{"messages": [2]}, {"messages": [3]}]


def test_a_line_over_the_limit_is_one_reject_and_the_next_is_read(tmp_path):
    big = b'{"messages":"' + b"x" * 50_000 + b'"}'
    limits = Limits(record_bytes=len(big) - 1)
    data = b'{"messages":1}\n' + big + b"\r\n" + b'{"messages":2}\n'
    found = read(written(tmp_path, data), limits=limits)
    assert summary(found) == [(0, {"messages": 1}), (1, "record_too_large"), (2, {"messages": 2})]
    same = read(tmp_path / "a.jsonl", limits=Limits(record_bytes=len(big)))
    assert [r.error for r in same] == [None, None, None]


def test_a_record_of_fifty_megabytes_is_read(tmp_path):
    text = "x" * 50_000_000
    data = b'{"messages":1}\n' + json.dumps({"messages": text}).encode() + b'\n{"messages":2}'
    found = read(written(tmp_path, data))
    assert [r.row for r in found] == [0, 1, 2]
    assert found[1].value["messages"] == text


# --- documents ---


def test_the_elements_of_an_array_are_records(tmp_path):
    data = json.dumps([{"messages": [k, "a,b]}"]} for k in range(5)], indent=2).encode()
    found = read(written(tmp_path, data, "a.json"))
    assert summary(found) == [(k, {"messages": [k, "a,b]}"]}) for k in range(5)]
    assert [data[r.start : r.end] for r in found] == [r.raw for r in found]


def test_an_object_is_one_record_or_records_by_id_by_what_it_looks_like(tmp_path):
    record = {"messages": ["x"], "meta": {"a": 1}}
    for indent in (None, 2):
        one = read(written(tmp_path, json.dumps(record, indent=indent).encode(), "one.json"))
        assert [(r.value, r.key) for r in one] == [(record, None)]
        table = {"id-1": record, "id-2": record}
        data = json.dumps(table, indent=indent).encode()
        keyed = read(written(tmp_path, data, "keyed.json"))
        found = [(r.row, r.key, r.value) for r in keyed]
        assert found == [(0, "id-1", record), (1, "id-2", record)]
        other = {"info": {"x": 1}, "rows": [1, 2]}
        alone = read(written(tmp_path, json.dumps(other, indent=indent).encode(), "other.json"))
        assert [(r.value, r.key) for r in alone] == [(other, None)]


def test_pretty_printed_objects_one_after_the_other_are_records(tmp_path):
    data = b"\n".join(json.dumps({"messages": [k]}, indent=1).encode() for k in range(3))
    assert summary(read(written(tmp_path, data))) == [(k, {"messages": [k]}) for k in range(3)]


def test_two_objects_glued_on_one_line_are_records(tmp_path):
    found = read(written(tmp_path, b'{"messages":1}{"messages":2}\n'))
    assert summary(found) == [(0, {"messages": 1}), (1, {"messages": 2})]


def test_a_list_of_messages_is_one_record_where_the_caller_says_so(tmp_path):
    path = written(tmp_path, b'[{"role": "user"},\n {"role": "assistant"}]', "a.json")
    assert detect(path).framing == "json_array"
    decide = lambda v: isinstance(v, list) and "role" in v[0]  # noqa: E731
    assert detect(path, decide).framing == "json_document"


@pytest.mark.parametrize(
    ("data", "framing"),
    [
        (b'{"a":1}\n{"a":2}\n', "lines"),
        (b'{"a":1}', "lines"),
        (b"[1,2]\n[3]\n", "lines"),
        (b"[1,2]\n", "json_array"),
        (b"[\n[1,2],\n[3]\n]\n", "json_array"),
        (b'[{"a":1},\n{"a":2}]\n', "json_array"),
        (b'{\n"a":\n{}\n}\n', "json_document"),
        (b'{"messages": [\n{"a": 1}\n]}', "json_document"),
        (b'garbage\n{"a":1}\n', "lines"),
        (b'{"a": \n{"a":1}\n', "lines"),
        (b'{"a": "\\ud800"}\n{"a":1}\n', "lines"),
    ],
)
def test_framing_is_decided_by_structure(tmp_path, data, framing):
    assert detect(written(tmp_path, data)) == ("none", framing)
    assert detect(written(tmp_path, compress("gzip", data))) == ("gzip", framing)


def test_a_cut_document_keeps_its_whole_elements_and_gives_one_reject(tmp_path):
    whole = json.dumps([{"messages": [k]} for k in range(10)]).encode()
    for end in range(1, len(whole)):
        found = read(written(tmp_path, whole[:end], "cut.json"))
        good = [r for r in found if r.error is None]
        assert [r.value for r in good] == [{"messages": [k]} for k in range(len(good))]
        assert summary(found[len(good) :]) == [(len(good), "truncated_json")]


def test_broken_structure_in_a_document_is_one_reject_for_the_rest(tmp_path):
    found = read(written(tmp_path, b'[{"a":1}, {"a":2} x, {"a":3}]', "a.json"))
    assert summary(found) == [(0, {"a": 1}), (1, {"a": 2}), (2, "invalid_json")]
    after = read(written(tmp_path, b'[{"a":1}] more', "b.json"))
    assert summary(after) == [(0, {"a": 1}), (1, "invalid_json")]
    inside = read(written(tmp_path, b'[{"a":1}, {"a" 2}, {"a":3}]', "c.json"))
    assert summary(inside) == [(0, {"a": 1}), (1, "invalid_json"), (2, {"a": 3})]


def test_an_element_over_the_limit_is_one_reject(tmp_path):
    data = json.dumps([{"a": 1}, {"a": "x" * 4_000_000}, {"a": 3}, 4]).encode()
    found = read(written(tmp_path, data, "a.json"), limits=Limits(record_bytes=1000))
    assert summary(found) == [(0, {"a": 1}), (1, "record_too_large"), (2, {"a": 3}), (3, 4)]
    assert found[1].raw == data[found[1].start : found[1].end][: 1 << 20]


# --- compression ---

KINDS = ["gzip", "zstd", "xz", "bz2"]
LINES = b"".join(json.dumps({"messages": [k, "é" * (k % 7)]}).encode() + b"\n" for k in range(200))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("parts", [[LINES], [LINES[:1000], LINES[1000:]], [b"", LINES, b""]])
def test_compression_and_its_members_change_no_record(tmp_path, kind, parts):
    plain = read(written(tmp_path, LINES))
    data = b"".join(compress(kind, part) for part in parts)
    packed = read(written(tmp_path, data, "b.jsonl.x"))
    assert packed == plain
    assert detect(tmp_path / "b.jsonl.x") == (kind, "lines")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", ["document", "table"])
def test_a_compressed_document_or_table_is_read_like_a_plain_one(tmp_path, kind, suffix):
    if suffix == "document":
        data = json.dumps([{"messages": [k]} for k in range(40)]).encode()
    else:
        pq.write_table(pa.table({"a": [1, 2], "b": ["x", None]}), tmp_path / "t")
        data = (tmp_path / "t").read_bytes()
    plain = read(written(tmp_path, data, "plain"))
    assert read(written(tmp_path, compress(kind, data), "packed")) == plain
    assert len(plain) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_stream_keeps_the_records_before_the_cut_and_gives_one_reject(tmp_path, kind):
    lines = [json.dumps({"k": k, "x": os.urandom(40).hex()}).encode() for k in range(3000)]
    data = compress(kind, b"\n".join(lines) + b"\n")
    before = -1
    for share in (0.02, 0.4, 0.7, 0.99):
        found = read(written(tmp_path, data[: int(len(data) * share)]))
        assert [r.raw for r in found[:-1]] == lines[: len(found) - 1]
        assert summary(found[-1:]) == [(len(found) - 1, "truncated_stream")]
        assert len(found) >= before
        before = len(found)
    assert before > 1000 or kind == "bz2"


@pytest.mark.parametrize("kind", KINDS)
@given(place=st.floats(0.1, 0.9), flip=st.integers(1, 255))
@settings(max_examples=8, deadline=None)
def test_a_damaged_stream_gives_rejects_and_never_an_exception(tmp_path_factory, kind, place, flip):
    data = bytearray(compress(kind, LINES))
    data[int(len(data) * place)] ^= flip
    found = read(written(tmp_path_factory.mktemp("damage"), bytes(data)))
    assert all(r.error is None or r.error[0] in DECLARED for r in found)


def test_bytes_behind_a_stream_are_one_reject(tmp_path):
    found = read(written(tmp_path, gzip.compress(b'{"a":1}\n', mtime=0) + b"tail"))
    assert summary(found) == [(0, {"a": 1}), (1, "corrupt_stream")]
    padded = read(written(tmp_path, gzip.compress(b'{"a":1}\n', mtime=0) + bytes(512), "padded"))
    assert summary(padded) == [(0, {"a": 1})]


@pytest.mark.parametrize("kind", KINDS)
def test_a_bomb_stops_at_the_limit_with_the_records_before_it(tmp_path, kind):
    line = b'{"messages":' + b" " * 100_000 + b"1}\n"
    data = compress(kind, b'{"messages":0}\n' + line * 60)
    limits = Limits(expansion_free_bytes=1_000_000, expansion_ratio=20)
    found = read(written(tmp_path, data), limits=limits)
    assert found[0].value == {"messages": 0}
    assert found[-1].error is not None
    assert found[-1].error[0] == "expansion_limit"
    assert len(found) < 60


def test_a_giant_window_is_refused(tmp_path):
    shape = zstandard.ZstdCompressionParameters(window_log=29)
    packer = zstandard.ZstdCompressor(compression_params=shape).compressobj()
    data = packer.compress(b'{"a":1}\n' * 10) + packer.flush()
    found = read(written(tmp_path, data))
    assert summary(found) == [(0, "expansion_limit")]


# --- tables ---


def tables(folder: Path, table: pa.Table, **options) -> list[Path]:
    pq.write_table(table, folder / "a.parquet", **options)
    arrow = str(folder / "a.arrow")
    with pa.OSFile(arrow, "wb") as out, pa.ipc.new_file(out, table.schema) as file:
        file.write_table(table, max_chunksize=options.get("row_group_size"))
    with (
        pa.OSFile(str(folder / "b.arrow"), "wb") as out,
        pa.ipc.new_stream(out, table.schema) as stream,
    ):
        stream.write_table(table, max_chunksize=options.get("row_group_size"))
    return [folder / "a.parquet", folder / "a.arrow", folder / "b.arrow"]


def test_rows_of_tables_become_values_and_json_strings_stay_strings(tmp_path):
    message = {"role": "user", "x": None}
    rows = [{"messages": [message], "args": '{"a": 1}', "n": k} for k in range(300)]
    table = pa.Table.from_pylist(rows)
    for path in tables(tmp_path, table, row_group_size=70):
        for part_bytes in (1, 4000, 1 << 30):
            found = read(path, part_bytes=part_bytes)
            assert [r.value for r in found] == rows
            assert [r.row for r in found] == list(range(300))
            assert all(r.raw is None for r in found)


def test_a_row_that_is_no_utf8_is_one_reject(tmp_path):
    column = pa.Array.from_buffers(
        pa.string(),
        3,
        [None, pa.array([0, 1, 2, 3], pa.int32()).buffers()[1], pa.py_buffer(b"a\xffc")],
    )
    pq.write_table(pa.table({"t": column}), tmp_path / "a.parquet")
    found = read(tmp_path / "a.parquet")
    assert summary(found) == [(0, {"t": "a"}), (1, "not_utf8"), (2, {"t": "c"})]


def test_a_damaged_table_gives_rejects_and_keeps_other_row_groups(tmp_path):
    rows = [{"t": os.urandom(30).hex()} for _ in range(100)]
    table = pa.Table.from_pylist(rows)
    options = {"row_group_size": 25, "use_dictionary": False, "write_page_checksum": True}
    pq.write_table(table, tmp_path / "a.parquet", **options)
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    place = data.find(rows[30]["t"].encode()) if rows[30]["t"].encode() in data else len(data) // 3
    data[place] ^= 1
    found = read(written(tmp_path, bytes(data), "b.parquet"))
    bad = [r for r in found if r.error is not None]
    assert [r.error[0] for r in bad] == ["unreadable_rows"]
    good = {r.row: r.value for r in found if r.error is None}
    assert good.items() <= dict(enumerate(rows)).items()
    assert len(found) == 76


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_cut_table_gives_one_reject(tmp_path, share):
    for path in tables(tmp_path, pa.table({"a": list(range(5000))})):
        data = path.read_bytes()
        found = read(written(tmp_path, data[: int(len(data) * share)], "cut"))
        assert [r.error[0] for r in found if r.error is not None] == ["unreadable_rows"]


def references(n: int, word: str) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int32()), pa.array([word]))


BOMB = """
import resource, sys
from pathlib import Path
import pyarrow.parquet
sys.path.insert(0, {tests!r})
from test_containers import read
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = read(Path({path!r}))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(found), found[-1].row, found[-1].error[0], (after - before) // 1024)
"""


def in_a_process(path: Path) -> tuple[int, int, str, int]:
    """Records, last row, code of the last record, growth of the process in MiB."""
    code = BOMB.format(tests=str(Path(__file__).parent), path=str(path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    n, row, name, grown = done.stdout.split()
    return int(n), int(row), name, int(grown)


@pytest.mark.parametrize("shape", ["flat", "nested"])
def test_a_dictionary_of_one_word_cannot_fill_the_memory(tmp_path, shape):
    column = references(20_000, "x" * 1_000_000)
    if shape == "nested":
        column = pa.ListArray.from_arrays(pa.array([0, 20_000], pa.int32()), column)
    path = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"t": column}), path, compression="zstd")
    assert path.stat().st_size < 1000
    _, row, code, grown = in_a_process(path)
    assert (row, code) == ((67, "expansion_limit") if shape == "flat" else (0, "record_too_large"))
    assert grown < 400


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_of_three_gigabytes_of_zeros_cannot_fill_the_memory(tmp_path, kind):
    block = compress(kind, b'{"a":"' + b"\x30" * (64 << 20) + b'"}\n')
    path = written(tmp_path, block * 48)
    _, row, code, grown = in_a_process(path)
    assert code in ("expansion_limit", "record_too_large")
    assert row <= 2
    assert grown < 400


def test_text_in_references_is_read_in_full_where_it_fits(tmp_path):
    words = [f"{k:06d}" * 50_000 for k in range(8)]
    rows = [{"m": [{"c": words[(k + j) % 8]} for j in range(3)]} for k in range(200)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    found = read(tmp_path / "a.parquet", limits=Limits(expansion_free_bytes=1 << 30))
    assert [r.value for r in found] == rows


# --- files that hold no records ---


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"%PDF-1.7\n", "PDF"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"PK\x03\x04....", "zip"),
        (b"a,b,c\n1,2,3\n", "no JSON"),
        ("{}".encode("utf-16"), "UTF-16"),
        (b"\x00\x01\x02\x03\x04", "binary"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0), "no JSON"),
    ],
)
def test_a_file_without_records_is_named_with_what_was_expected(tmp_path, data, what):
    with pytest.raises(InputError) as caught:
        detect(written(tmp_path, data))
    assert what in caught.value.what
    assert "Parquet" in (caught.value.expected or "")
    assert str(tmp_path) in (caught.value.where or "")


@given(st.binary(max_size=200))
@settings(max_examples=80, deadline=None)
def test_any_bytes_are_records_rejects_or_a_clear_refusal(tmp_path_factory, data):
    path = written(tmp_path_factory.mktemp("any"), data)
    try:
        found = read(path)
    except InputError:
        return
    assert all(r.error is None or r.error[0] in DECLARED for r in found)


MAGIC = st.sampled_from(
    [
        b"\x1f\x8b\x08",
        b"\x28\xb5\x2f\xfd",
        b"\xfd7zXZ\x00",
        b"BZh9",
        b"PAR1",
        b"ARROW1\x00\x00",
        b"\xff\xff\xff\xff\x10\x00\x00\x00",
        b"[",
        b"{",
        b'{"a":1}\n',
    ]
)


@given(MAGIC, st.binary(max_size=100), st.sampled_from([b"", b"PAR1", b"ARROW1"]))
@settings(max_examples=80, deadline=None)
def test_a_good_beginning_with_any_rest_is_no_exception(tmp_path_factory, head, rest, tail):
    path = written(tmp_path_factory.mktemp("any"), head + rest + tail)
    try:
        found = read(path)
    except InputError:
        return
    assert all(r.error is None or r.error[0] in DECLARED for r in found)


def test_a_file_that_shrank_since_it_was_planned_is_refused(tmp_path):
    for data, name in ((b'{"a":1}\n' * 10, "a.jsonl"), (b"[1,2,3,4,5,6,7,8]", "b.json")):
        path = written(tmp_path, data, name)
        plan = plan_parts("s", tmp_path, [name], spool_folder=tmp_path / "spool")
        path.write_bytes(data[:12])
        with pytest.raises(StorageError):
            list(read_slices(plan.parts[0].slices))
