"""Parts, sessions and inputs: what is read, cut where, under which name."""

from __future__ import annotations

import gzip
import io
import json
import os
from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tracekit.containers import read_slices
from tracekit.cutting import LineCutter, MemberCutter
from tracekit.errors import InputError, UsageError
from tracekit.inputs import expand
from tracekit.parts import Plan, plan_parts, plan_session_parts, units


def plan(folder: Path, *, files=None, **options) -> Plan:
    names = files or [p.name for p in folder.iterdir() if p.is_file()]
    return plan_parts("s", folder, names, spool_folder=folder / "spool", **options)


def records(made: Plan) -> list[tuple]:
    return [
        (one.file, r.row, r.raw, r.value, r.error and r.error[0])
        for part in made.parts
        for one, r in read_slices(part.slices)
    ]


LINE = st.one_of(
    st.just(b""),
    st.just(b"  \r"),
    st.just(b"{broken"),
    st.integers(0, 40).map(lambda n: json.dumps({"t": "é" * n}, ensure_ascii=False).encode()),
)


# --- cutting ---


@given(
    st.lists(LINE, max_size=12),
    st.booleans(),
    st.integers(1, 120),
    st.lists(st.integers(1, 60), min_size=1, max_size=5),
)
def test_line_cuts_depend_on_the_bytes_and_not_on_the_chunks(lines, last, part_bytes, sizes):
    data = b"\n".join(lines) + (b"\n" if last and lines else b"")
    whole = LineCutter(part_bytes)
    whole.feed(data)
    cuts = whole.finish()
    chunked = LineCutter(part_bytes)
    at = k = 0
    while at < len(data):
        chunked.feed(data[at : at + sizes[k % len(sizes)]])
        at += sizes[k % len(sizes)]
        k += 1
    assert chunked.finish() == cuts
    assert b"".join(data[c.start : c.end] for c in cuts.cuts) == data
    for cut in cuts.cuts:
        assert cut.first_row == data.count(b"\n", 0, cut.start)
        piece = data[cut.start : cut.end]
        assert piece.endswith(b"\n") or cut.end == len(data)
        assert len(piece) <= part_bytes or piece.count(b"\n", 0, -1) == 0


@given(
    st.lists(st.integers(0, 50), max_size=12),
    st.integers(1, 120),
    st.integers(1, 40),
    st.sampled_from(["json_array", "json_object", "json_values"]),
)
@settings(deadline=None)
def test_member_cuts_depend_on_the_bytes_and_not_on_the_chunks(sizes, part_bytes, step, framing):
    members = ['{"x": "' + "]}" * n + '"}' for n in sizes]
    if framing == "json_array":
        data = ("[ " + " , ".join(members) + " ]").encode()
    elif framing == "json_object":
        data = ("{" + ",\n".join(f'"k{k}": {m}' for k, m in enumerate(members)) + "}").encode()
    else:
        data = "\n".join(members).encode()
    whole = MemberCutter(framing, part_bytes)
    whole.feed(data)
    cuts = whole.finish()
    chunked = MemberCutter(framing, part_bytes)
    for at in range(0, len(data), step):
        chunked.feed(data[at : at + step])
    assert chunked.finish() == cuts
    assert cuts.n_rows == len(members)
    assert [c.first_row for c in cuts.cuts] == sorted({c.first_row for c in cuts.cuts})
    assert all(c.fault is None for c in cuts.cuts)


# --- plans of records ---


@given(st.lists(LINE, min_size=1, max_size=15), st.integers(1, 200))
@settings(max_examples=60, deadline=None)
def test_no_part_size_changes_a_record(tmp_path_factory, lines, part_bytes):
    folder = tmp_path_factory.mktemp("parts")
    (folder / "a.jsonl").write_bytes(b'{"t":"first"}\n' + b"\n".join(lines))
    document = json.dumps([{"t": line.decode()} for line in lines], indent=1).encode()
    (folder / "b.json").write_bytes(document)
    (folder / "c.jsonl.gz").write_bytes(gzip.compress((folder / "a.jsonl").read_bytes()))
    reference = records(plan(folder))
    cut = plan(folder, part_bytes=part_bytes)
    assert records(cut) == reference
    assert [p.name for p in cut.parts] == [f"000-{n:05d}" for n in range(len(cut.parts))]
    for part in cut.parts:
        alone = sum(len(list(read_slices([one]))) > 0 for one in part.slices) <= 1
        assert part.plain_bytes <= part_bytes or alone
    packed = [(row, raw) for file, row, raw, *_ in reference if file.startswith("c")]
    assert packed == [(row, raw) for file, row, raw, *_ in reference if file.startswith("a")]


def test_small_files_share_a_part_and_a_long_record_has_its_own(tmp_path):
    for k in range(40):
        (tmp_path / f"{k:02d}.jsonl").write_bytes(b'{"k":%d}\n' % k)
    (tmp_path / "50.jsonl").write_bytes(b'{"a":1}\n{"b":"' + b"x" * 900 + b'"}\n{"c":3}\n')
    made = plan(tmp_path, part_bytes=500)
    assert [len(p.slices) for p in made.parts] == [41, 1, 1]
    assert [p.plain_bytes for p in made.parts][1] == 909
    assert [s.first_row for s in made.parts[2].slices] == [2]


def test_the_order_of_naming_and_the_kind_of_path_change_nothing(tmp_path):
    for name in ("b.jsonl", "a.jsonl", "c.jsonl"):
        (tmp_path / name).write_bytes(b'{"n":"%s"}\n' % name.encode())
    names = ["c.jsonl", "a.jsonl", "b.jsonl"]
    first = plan(tmp_path, files=names)
    absolute = plan(tmp_path, files=[tmp_path / name for name in reversed(names)] + ["a.jsonl"])
    assert first == absolute
    assert [f.name for f in first.files] == ["a.jsonl", "b.jsonl", "c.jsonl"]


def test_a_planned_file_says_what_it_is(tmp_path):
    (tmp_path / "sub").mkdir()
    data = gzip.compress(b'{"a":1}\n\n{"a":2}\n')
    (tmp_path / "sub" / "a.gz").write_bytes(data)
    seen: list[int] = []
    made = plan(tmp_path, files=["sub/a.gz"], batch=7, progress=seen.append)
    (file,) = made.files
    assert (file.name, file.size_bytes, file.n_rows) == ("sub/a.gz", len(data), 3)
    assert (file.compression, file.framing) == ("gzip", "lines")
    assert file.hash == xxhash.xxh3_128_hexdigest(data)
    assert sum(seen) == len(data)
    assert made.parts[0].name == "007-00000"
    assert made.parts[0].slices[0].file == "sub/a.gz"


def test_empty_files_have_no_part_and_are_still_named(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"")
    made = plan(tmp_path)
    assert made.parts == ()
    assert made.files[0].n_rows == 0


def test_files_as_units_stay_whole(tmp_path):
    for k in range(6):
        (tmp_path / f"{k}.jsonl").write_bytes(b'{"k":"%s"}\n' % (b"x" * 40) * (k + 1))
    made = plan(tmp_path, part_bytes=150, unit="file")
    seen = [{one.file for one in unit} for part in made.parts for unit in units(part)]
    assert seen == [{f"{k}.jsonl"} for k in range(6)]
    assert len(made.parts) == 5
    assert records(made) == records(plan(tmp_path))


def test_a_part_size_of_nothing_is_refused(tmp_path):
    with pytest.raises(UsageError):
        plan(tmp_path, files=[], part_bytes=0)


# --- sessions ---


def session(folder: Path, part_bytes: int = 64 << 20) -> Plan:
    return plan_session_parts(
        "s",
        folder,
        [p.name for p in folder.iterdir() if p.is_file()],
        key=lambda value: value.get("session"),
        spool_folder=folder / "spool",
        part_bytes=part_bytes,
    )


def places(slices) -> list[tuple[str, int]]:
    return [(one.file, r.row) for one, r in read_slices(slices)]


KEYED = st.lists(st.sampled_from(["a", "b", "c", None, "broken", "blank"]), max_size=10)


@given(st.lists(KEYED, min_size=1, max_size=4), st.integers(1, 300))
@settings(max_examples=60, deadline=None)
def test_sessions_are_whole_and_hold_every_record_once(tmp_path_factory, files, part_bytes):
    # A file in which no line parses is one broken document, not records.
    assume(all(set(keys) - {"broken", "blank"} or "broken" not in keys for keys in files))
    folder = tmp_path_factory.mktemp("sessions")
    expected: dict[object, list[tuple[str, int]]] = defaultdict(list)
    for f, keys in enumerate(files):
        lines, here, open_ = [], [], []
        for row, name in enumerate(keys):
            place = (f"{f}.jsonl", row)
            if name == "blank":
                lines.append(b"")
                continue
            if name in (None, "broken"):
                lines.append(b'{"a":' if name else b'{"x":1}')
                here[-1][1].append(place) if here else open_.append(place)
                continue
            lines.append(json.dumps({"session": name}).encode())
            here.append((name, [*open_, place]))
            open_ = []
        # Were the first line broken and nothing else there, the file would be no file of records.
        (folder / f"{f}.jsonl").write_bytes(b"\n".join(lines))
        if open_:
            here.append((("file", f), open_))
        for name, found in here:
            expected[name].extend(found)
    try:
        made = session(folder, part_bytes)
    except InputError:
        return
    got = [places(unit) for part in made.parts for unit in units(part)]
    assert sorted(map(sorted, got)) == sorted(map(sorted, expected.values()))
    assert [unit[0] for unit in got] == sorted(unit[0] for unit in got)
    for part in made.parts:
        assert sum(part.unit_slices) == len(part.slices)
        assert part.plain_bytes <= part_bytes or len(part.unit_slices) == 1


def test_neighbours_of_a_session_share_a_slice(tmp_path):
    rows = [{"session": name} for name in "aaabbaab"]
    (tmp_path / "x.jsonl").write_bytes(b"".join(json.dumps(r).encode() + b"\n" for r in rows))
    (part,) = session(tmp_path).parts
    assert part.unit_slices == (2, 2)
    found = [places(unit) for unit in units(part)]
    assert found == [[("x.jsonl", r) for r in (0, 1, 2, 5, 6)], [("x.jsonl", r) for r in (3, 4, 7)]]


def test_sessions_in_documents_and_tables_are_found_row_by_row(tmp_path):
    rows = [{"session": "ab"[k % 2 if k > 90 else 0], "k": k} for k in range(200)]
    (tmp_path / "a.json").write_bytes(json.dumps(rows).encode())
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "b.parquet", row_group_size=64)
    with (
        pa.OSFile(str(tmp_path / "c.arrow"), "wb") as out,
        pa.ipc.new_file(out, table.schema) as file,
    ):
        file.write_table(table, max_chunksize=30)
    (part,) = session(tmp_path).parts
    first, second = ([r.value["k"] for _, r in read_slices(unit)] for unit in units(part))
    assert first == [row["k"] for row in rows if row["session"] == "a"] * 3
    assert second == [row["k"] for row in rows if row["session"] == "b"] * 3


# --- inputs ---


@pytest.fixture
def tree(tmp_path):
    for name in ("one/a.jsonl", "one/deep/b.jsonl.gz", "two/c.json", "other/one/d.jsonl"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = b'{"a":1}\n'
        path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    return tmp_path


def names(found) -> dict[str, tuple[str, ...]]:
    return {source.name: source.files for source in found.sources}


def test_a_file_belongs_to_the_source_of_its_folder(tree):
    found = expand([str(tree / "one/a.jsonl"), str(tree / "two/c.json")])
    assert names(found) == {"one": ("a.jsonl",), "two": ("c.json",)}
    assert [s.root for s in found.sources] == [tree / "one", tree / "two"]


def test_a_folder_and_a_glob_hold_all_that_is_below(tree):
    assert names(expand([str(tree / "one")])) == {"one": ("a.jsonl", "deep/b.jsonl.gz")}
    assert names(expand([str(tree / "t*")])) == {"two": ("c.json",)}
    assert names(expand([str(tree / "two" / "*.json")])) == {"two": ("c.json",)}


def test_two_folders_of_one_name_ask_for_names(tree):
    with pytest.raises(UsageError) as caught:
        expand([str(tree / "one"), str(tree / "other" / "one")])
    assert "--source" in (caught.value.fix or "")
    given_name = expand([str(tree / "one"), str(tree / "other" / "one")], source="mine")
    assert names(given_name) == {
        "mine": ("one/a.jsonl", "one/deep/b.jsonl.gz", "other/one/d.jsonl")
    }


def test_what_is_left_out_is_listed_with_the_reason(tree):
    folder = tree / "one"
    (folder / ".hidden.jsonl").write_bytes(b"{}")
    (folder / ".git").mkdir()
    (folder / "README.md").write_bytes(b"# x")
    (folder / "plot.png").write_bytes(b"\x89PNG")
    (folder / "log.txt").write_bytes(b'{"a":1}\n')
    (folder / "gone.jsonl").symlink_to(folder / "nothing")
    (folder / "loop").symlink_to(folder)
    found = expand([str(folder)])
    assert names(found) == {"one": ("a.jsonl", "deep/b.jsonl.gz", "log.txt")}
    reasons = {Path(s.path).name: s.reason for s in found.skipped}
    assert set(reasons) == {".hidden.jsonl", ".git", "README.md", "plot.png", "gone.jsonl", "loop"}
    assert "PNG" in reasons["plot.png"]
    assert "link" in reasons["loop"]


def test_missing_looping_and_empty_inputs_are_named(tree):
    with pytest.raises(InputError) as caught:
        expand([str(tree / "one" / "a.json")])
    assert "a.jsonl" in (caught.value.fix or "")
    (tree / "self").symlink_to(tree / "self")
    (tree / "bare").mkdir()
    for given_path in (tree / "self", tree / "bare", tree / "none*", "nul\0"):
        with pytest.raises(InputError):
            expand([str(given_path)])
    with pytest.raises(UsageError):
        expand([])


def test_standard_input_is_a_source_of_one_file(tmp_path):
    data = gzip.compress(b'{"a":1}\n{"a":2}\n')
    found = expand(["-"], spool_folder=tmp_path, stdin=io.BytesIO(data))
    (source,) = found.sources
    assert (source.name, source.files) == ("stdin", ("stdin.jsonl",))
    made = plan_parts(source.name, source.root, source.files, spool_folder=tmp_path)
    assert [value for _, _, _, value, _ in records(made)] == [{"a": 1}, {"a": 2}]
    with pytest.raises(UsageError):
        expand(["-"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_an_input_error(tree):
    (tree / "one" / "a.jsonl").chmod(0)
    with pytest.raises(InputError):
        plan(tree / "one", files=["a.jsonl"])


# --- real files ---


def test_real_files_are_read_whole_whatever_the_part_size(traces_folder):
    spool_folder = Path(os.devnull)  # nothing in there is compressed
    for name in ("claude-code-session", "gsm8k", "react-trajectory", "parquet", "toolbench"):
        (source,) = expand([str(traces_folder / name)]).sources
        reference = None
        for part_bytes in (1 << 30, 50_000):
            made = plan_parts(
                name, source.root, source.files, spool_folder=spool_folder, part_bytes=part_bytes
            )
            found = records(made)
            assert found
            assert reference is None or found == reference
            reference = found
