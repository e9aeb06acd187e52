"""Text files, YAML documents and zip archives: what they hold, and what hostile ones do not do."""

from __future__ import annotations

import io
import json
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tracekit import dialects, yamldocs
from tracekit.containers import CODES, RawRecord, read_slices
from tracekit.errors import BadRecord, InputError
from tracekit.framing import Limits, detect
from tracekit.parts import plan_parts

DECLARED = {code.name for code in CODES}


def written(folder: Path, data: bytes, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def read(
    path: Path,
    *,
    fits: Callable[[Any], bool] | None = lambda _: True,
    part_bytes: int = 1 << 20,
    limits: Limits | None = None,
) -> list[RawRecord]:
    plan = plan_parts(
        "s", path.parent, [path.name], spool_folder=path.parent / "spool", part_bytes=part_bytes,
        whole_object_is_record=fits, limits=limits,
    )  # fmt: skip
    found = [r for _, r in read_slices((s for p in plan.parts for s in p.slices), limits)]
    assert [r.row for r in found] == sorted({r.row for r in found})
    assert all(r.row < plan.files[0].n_rows for r in found)
    assert {r.error[0] for r in found if r.error} <= DECLARED
    return found


def values(found: list[RawRecord]) -> list[Any]:
    return [r.value if r.error is None else r.error[0] for r in found]


# Text.


def test_text_that_somebody_reads_is_one_record(tmp_path: Path) -> None:
    path = written(tmp_path, "\ufeff<|start|>user<|message|>9×4?\n\n<|end|>\n".encode())
    assert detect(path, lambda v: isinstance(v, str)).framing == "text"
    assert values(read(path)) == ["<|start|>user<|message|>9×4?\n\n<|end|>\n"]


def test_text_that_nobody_reads_is_refused_and_says_so(tmp_path: Path) -> None:
    path = written(tmp_path, b"Dear all,\nthis is a letter.\n")
    with pytest.raises(InputError, match="no dialect reads"):
        detect(path, lambda _: False)
    with pytest.raises(InputError, match="no JSON"):
        detect(path)


@pytest.mark.parametrize("data", [b'{"a": 1,\n"b": ', b'[{"a": 1}, {"b"', b'{"a": 1}\n{"b": \n'])
def test_broken_json_never_becomes_text(tmp_path: Path, data: bytes) -> None:
    found = read(written(tmp_path, data))
    assert any(r.error is not None for r in found)
    assert not any(isinstance(r.value, str) for r in found)


def test_text_in_another_encoding_or_too_long_is_a_reject(tmp_path: Path) -> None:
    late = b"<|start|>" + b"a" * (2 << 20) + b"\xff"
    assert values(read(written(tmp_path, late))) == ["not_utf8"]
    small = Limits(record_bytes=100)
    long = written(tmp_path, b"<|start|>" + b"a" * 200, "long")
    assert values(read(long, limits=small)) == ["record_too_large"]
    with pytest.raises(InputError, match="UTF-8"):
        detect(written(tmp_path, b"caf\xe9 au lait", "latin"), lambda _: True)


# YAML.


def yaml(value: Any) -> bool:
    return not isinstance(value, str)


def test_each_document_of_a_yaml_file_is_one_record(tmp_path: Path) -> None:
    text = (
        "# recorded\n---\n# nothing yet\n---\na: 1\nwhen: 2026-01-02\non: off\nt: 12:30:00\n"
        "---\n- x\n- {y: null, z: [1.5, true]}\n...\n---\nblock: |\n  --- not a mark\n  b\n---\n"
    )
    path = written(tmp_path, text.encode())
    assert detect(path, yaml).framing == "yaml"
    expected = [
        {"a": 1, "when": "2026-01-02", "on": "off", "t": "12:30:00"},
        ["x", {"y": None, "z": [1.5, True]}],
        {"block": "--- not a mark\nb\n"},
    ]
    for part_bytes in (1, 40, 1 << 20):
        assert values(read(path, fits=yaml, part_bytes=part_bytes)) == expected


def test_a_document_that_does_not_parse_is_a_reject_and_its_neighbours_stay(tmp_path: Path) -> None:
    path = written(tmp_path, b"a: 1\n---\nb: [1, \n---\nc: 3\n")
    assert values(read(path, fits=yaml)) == [{"a": 1}, "invalid_yaml", {"c": 3}]


def test_bytes_are_bytes_and_tags_construct_nothing(tmp_path: Path) -> None:
    text = b"a: !!binary aGk=\nb: !!python/object/apply:os.system ['false']\nc: !mine 3\n"
    assert values(read(written(tmp_path, text), fits=yaml)) == [
        {"a": b"hi", "b": ["false"], "c": "3"}
    ]


def test_aliases_are_read_and_a_bomb_of_them_is_not(tmp_path: Path) -> None:
    plain = written(tmp_path, b"a: &x [1, 2]\nb: *x\n", "plain")
    assert values(read(plain, fits=yaml)) == [{"a": [1, 2], "b": [1, 2]}]
    lines = ["a0: &a0 [x, x]"]
    for k in range(1, 60):
        lines.append(f"a{k}: &a{k} [*a{k - 1}, *a{k - 1}]")
    tracemalloc.start()
    found = read(written(tmp_path, "\n".join(lines).encode(), "bomb"), fits=yaml)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert values(found) == ["expansion_limit"]
    assert peak < 64 << 20
    cycle = written(tmp_path, b"a: &x [1, *x]\nb: 2\n", "cycle")
    assert values(read(cycle, fits=yaml)) == ["invalid_yaml"]


def test_deep_yaml_is_a_reject(tmp_path: Path) -> None:
    path = written(tmp_path, b"a: " + b"[" * 3000 + b"]" * 3000)
    assert values(read(path, fits=yaml)) == ["too_deep"]


@pytest.mark.parametrize("text", ["Note: this is\nonly a letter, dear all.\n", "a,b\n1,2\n", "x"])
def test_prose_with_a_colon_is_no_yaml(text: str) -> None:
    value = yamldocs.first_value(text) if yamldocs.may_begin(text) else None
    assert dialects.recognise([value]) == []


@given(st.text(alphabet="ab:-#&*![]{}|>'\"\n \t%~1.", max_size=60))
@settings(max_examples=200)
def test_any_text_is_a_yaml_value_or_a_declared_reject(text: str) -> None:
    try:
        value = yamldocs.value_of(text.encode())
    except BadRecord as error:
        assert error.code in DECLARED
    else:
        json.dumps(value, default=repr)


@pytest.mark.parametrize(
    "text",
    [
        "a: no\nb: on\nc: 1_000\nd: 0o17\ne: 2026-01-02\nf: 12:30\ng: 0x1F\nh: <<\ni: y\n",
        "a: 017\nb: 1.50\nc: 1e3\nd: .5\ne: +7\nf: ~\ng:\nh: TRUE\ni: 'true'\nj: !!str 5\n",
        'a: "\\ud83d\\ude00 \\/ \\u00e9"\nb: |\n  x\n   y\nc: >-\n  x\n  y\n',
        'a: "one\u2028two"\nb: one\x85two\nc: x\ufeff\n',
        "a: &x [1, {b: c}]\nd: *x\n<<: *x\n",
        "a: !!binary aGVsbG8=\nb: !thing {c: d}\n",
        "a: |#no comment\n  x\n",
        "- a\n- &b: c\n",
        "'a' 'b'\n",
        ">\n- lost\n",
        "a: [1\nb: 2\n",
    ],
)
def test_the_fast_parser_of_yaml_says_what_the_sure_one_says(text: str) -> None:
    def read(parse: Callable[[str], Any]) -> Any:
        try:
            return parse(text)
        except BadRecord as error:
            return error.code

    sure = read(yamldocs._Reader(100).read_surely)
    assert repr(read(lambda text: yamldocs.value_of(text.encode()))) == repr(sure)


def test_plain_yaml_never_meets_the_slow_parser_even_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(text: str) -> Any:
        raise AssertionError("the slow parser was asked")

    monkeypatch.setattr(yamldocs, "_sure_events", fail)
    body = "".join(f"- body: 'text {k}'\n  at: 12:30\n" for k in range(20_000))
    assert len(yamldocs.value_of(body.encode())) == 20_000
    cut = yamldocs.first_value(body + "- body: 'cut o")
    assert isinstance(cut, list)
    assert cut[0] == {"body": "text 0", "at": "12:30"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab \n-:#", max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", min_size=1), inner),
    max_leaves=8,
)


OBJECTS = st.dictionaries(st.text("abc", min_size=1), JSON, min_size=1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.dictionaries(st.text("abc", min_size=1), JSON, min_size=1), min_size=1, max_size=4)
)
def test_what_a_yaml_writer_wrote_comes_back(
    tmp_path_factory: pytest.TempPathFactory, documents: list[Any]
) -> None:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    out = io.StringIO()
    writer = YAML(typ="safe", pure=True)
    writer.dump_all(documents, out)
    text = "---\n" + out.getvalue()
    try:
        assume(list(YAML(typ="safe", pure=True).load_all(text)) == documents)
    except YAMLError:
        assume(False)  # the writer wrote what no reader takes
    path = written(tmp_path_factory.mktemp("y"), text.encode())
    assert values(read(path, fits=yaml, part_bytes=1)) == documents


# Archives.


def zipped(folder: Path, members: dict[str, bytes], name: str = "log.eval", **options: Any) -> Path:
    path = folder / name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in members.items():
            archive.writestr(member, data, **options)
    return path


def test_each_json_member_is_a_record_and_each_line_of_a_jsonl_member(tmp_path: Path) -> None:
    path = zipped(
        tmp_path,
        {
            "header.json": b'\xef\xbb\xbf{\n  "a": "x\\ny"\n}\n',
            "rows/data.jsonl": b'{"k": 1}\r\n\n{"k": 2}',
            "__MACOSX/junk.json": b"{}",
            "notes.txt": b"hello",
        },
    )
    assert detect(path) == ("zip", "lines")
    for part_bytes in (1, 1 << 20):
        assert values(read(path, part_bytes=part_bytes)) == [
            {"member": "header.json", "value": {"a": "x\ny"}},
            {"member": "rows/data.jsonl", "line": 0, "value": {"k": 1}},
            {"member": "rows/data.jsonl", "line": 2, "value": {"k": 2}},
            "member_not_json",
        ]


def test_a_broken_member_is_a_reject_and_its_neighbours_stay(tmp_path: Path) -> None:
    path = zipped(
        tmp_path,
        {
            "a.json": b'{"k": 1}',
            "b.json": b'{"k": ',
            "c.json": b'1, "member": "a.json"',  # would speak for the line around it
            "d.json": b"",
            "e.jsonl": b'{"k": 1}\nnot json\n{"k": 3}\n',
            "f.json": b'{"k": 2}',
        },
    )
    assert values(read(path)) == [
        {"member": "a.json", "value": {"k": 1}},
        "truncated_json",
        "invalid_json",
        "invalid_json",
        {"member": "e.jsonl", "line": 0, "value": {"k": 1}},
        "invalid_json",
        {"member": "e.jsonl", "line": 2, "value": {"k": 3}},
        {"member": "f.json", "value": {"k": 2}},
    ]


def test_a_damaged_member_is_a_reject(tmp_path: Path) -> None:
    path = zipped(tmp_path, {"a.json": b'{"text": "' + b"abc" * 400 + b'"}', "b.json": b"{}"})
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(data)
    assert values(read(path)) == ["unreadable_member", {"member": "b.json", "value": {}}]


def test_an_encrypted_member_is_a_reject(tmp_path: Path) -> None:
    path = zipped(tmp_path, {"a.json": b"{}", "b.json": b"[]"})
    data = path.read_bytes()
    local, central = data.index(b"PK\x03\x04"), data.index(b"PK\x01\x02")
    flagged = bytearray(data)
    flagged[local + 6] |= 1
    flagged[central + 8] |= 1
    path.write_bytes(flagged)
    assert values(read(path)) == ["unreadable_member", {"member": "b.json", "value": []}]


def test_a_bomb_ends_with_one_reject_and_little_memory(tmp_path: Path) -> None:
    zeros = b'"' + b"0" * (8 << 20) + b'"'
    path = zipped(tmp_path, {"first.json": b"{}", **{f"{k}.json": zeros for k in range(8)}})
    limits = Limits(expansion_ratio=10, expansion_free_bytes=1 << 20)
    tracemalloc.start()
    found = read(path, limits=limits)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert values(found) == [{"member": "first.json", "value": {}}, "expansion_limit"]
    assert peak < 80 << 20
    few = Limits(record_bytes=1000, expansion_ratio=10**6)
    assert values(read(path, limits=few))[1:] == ["record_too_large"] * 8


@pytest.mark.parametrize("name", ["../../evil.json", "/etc/evil.json", "a\\..\\evil.json"])
def test_names_of_members_are_only_text(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "deep" / "in"
    folder.mkdir(parents=True)
    path = zipped(folder, {name: b"{}"})
    (found,) = read(path)
    assert found.value["value"] == {}
    assert not list(tmp_path.rglob("evil.json"))
    assert not Path("/etc/evil.json").exists()


def test_a_zip_without_json_or_that_is_no_zip_is_refused(tmp_path: Path) -> None:
    for data in (b"PK\x03\x04....", zipped(tmp_path, {"a.txt": b"x"}, "x.zip").read_bytes()):
        with pytest.raises(InputError, match="zip archive"):
            detect(written(tmp_path, data, "z"))


@given(st.data())
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_mutated_archive_gives_records_rejects_or_a_clear_refusal(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("zip")
    path = zipped(folder, {"a.json": b'{"k": [1, 2, 3]}', "b/c.jsonl": b'{"k": 1}\n{"k": 2}\n'})
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(raw) - 1))
        raw[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del raw[data.draw(st.integers(0, len(raw))) :]
    path.write_bytes(raw)
    try:
        found = read(path)
    except InputError as error:
        assert error.where
    else:
        assert all(r.error is not None or r.value is not None or r.raw for r in found)
