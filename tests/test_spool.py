"""The spool: compressed inputs as plain bytes, once."""

from __future__ import annotations

import gzip
import io
import os

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from tracekit import spool as spool_module
from tracekit.cutting import cutter
from tracekit.errors import InputError, StorageError
from tracekit.framing import Detected, Limits, detect
from tracekit.spool import discard, home_of, spool, spool_stdin

LINES = b"".join(b'{"messages":[%d]}\n' % k for k in range(500))


def spooled(source, folder, part_bytes=1000, limits=None):
    return spool(source, folder, detect(source), part_bytes=part_bytes, limits=limits or Limits())


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(LINES))
    return path


def test_the_plain_bytes_are_cut_as_a_plain_file_would_be(source, tmp_path):
    made = spooled(source, tmp_path / "spool")
    plain = cutter("lines", 1000)
    plain.feed(LINES)
    assert made.path.read_bytes() == LINES
    assert made.cuts == plain.finish()
    assert made.hash == xxhash.xxh3_128_hexdigest(source.read_bytes())


def test_a_second_call_reads_nothing(source, tmp_path, monkeypatch):
    first = spooled(source, tmp_path / "spool")
    detected = detect(source)
    monkeypatch.setattr(spool_module, "open_source", lambda path: pytest.fail("read again"))
    seen = []
    again = spool(
        source,
        tmp_path / "spool",
        detected,
        part_bytes=1000,
        limits=Limits(),
        progress=seen.append,
    )
    assert again == first
    assert sum(seen) == source.stat().st_size


@pytest.mark.parametrize("change", ["other bytes", "part size", "limits", "no index", "cut piece"])
def test_whatever_changed_is_made_anew(source, tmp_path, change):
    folder = tmp_path / "spool"
    first = spooled(source, folder)
    options = {}
    if change == "other bytes":
        source.write_bytes(gzip.compress(LINES + b'{"messages":[0]}\n'))
    elif change == "part size":
        options["part_bytes"] = 2000
    elif change == "limits":
        options["limits"] = Limits(record_bytes=10)
    elif change == "no index":
        (home_of(source, folder) / "index.json").write_bytes(b"{")
    else:
        first.path.write_bytes(b"half")
    inode = first.path.stat().st_ino
    again = spooled(source, folder, **options)
    assert again.path.stat().st_ino != inode
    assert again.path.read_bytes() == gzip.decompress(source.read_bytes())


def test_a_fault_is_remembered_and_the_hash_is_of_the_whole_source(source, tmp_path):
    source.write_bytes(source.read_bytes()[:-9] + b"")
    first = spooled(source, tmp_path / "spool")
    fault = first.cuts.cuts[-1].fault
    assert fault is not None
    assert fault[0] == "truncated_stream"
    assert spooled(source, tmp_path / "spool") == first
    padded = tmp_path / "b.gz"
    padded.write_bytes(gzip.compress(LINES) + os.urandom(100_000))
    made = spooled(padded, tmp_path / "spool")
    assert made.cuts.cuts[-1].fault is not None
    assert made.hash == xxhash.xxh3_128_hexdigest(padded.read_bytes())


def test_the_spool_is_for_its_owner_only(source, tmp_path):
    assert spooled(source, tmp_path / "spool").path.stat().st_mode & 0o077 == 0


def test_discard_leaves_nothing_and_may_come_twice(source, tmp_path):
    folder = tmp_path / "spool"
    made = spooled(source, folder)
    discard(source, folder)
    discard(source, folder)
    assert not made.path.exists()
    assert not home_of(source, folder).exists()
    assert source.exists()


def test_a_failing_disk_is_a_storage_error_and_leaves_no_index(source, tmp_path, monkeypatch):
    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spool_module.door.disk, "fsync", full)
    with pytest.raises(StorageError):
        spooled(source, tmp_path / "spool")
    assert not list((tmp_path / "spool").rglob("*.json"))
    assert not [p for p in (tmp_path / "spool").rglob("*") if p.is_file()]


def test_a_source_that_cannot_be_read_is_an_input_error(tmp_path):
    class Broken(io.BytesIO):
        name = "broken.gz"

        def read(self, size=-1, /):
            raise OSError(5, "Input/output error")

    with pytest.raises(InputError) as caught:
        spool_stdin(Broken(), tmp_path)
    assert "broken.gz" in str(caught.value)


@given(st.binary(max_size=300))
@settings(max_examples=20, deadline=None)
def test_standard_input_is_kept_byte_for_byte(tmp_path_factory, data):
    path = spool_stdin(io.BytesIO(data), tmp_path_factory.mktemp("stdin"))
    assert path.name == "stdin.jsonl"
    assert path.read_bytes() == data


def test_sources_of_one_name_do_not_share_a_place(tmp_path):
    assert home_of(tmp_path / "a" / "x.gz", tmp_path) != home_of(tmp_path / "b" / "x.gz", tmp_path)
    assert home_of(tmp_path / "../x", tmp_path).parent == tmp_path


def test_what_was_detected_is_a_pair(source):
    assert detect(source) == Detected("gzip", "lines") == ("gzip", "lines")
