"""The page of formats: made from what dialects declare; real folders looked up leaf by leaf."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tracekit import dialects
from tracekit.leaves import Kept, fates, ignored_by, kept_bytes, lost_leaves, texts_of

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "bench"))

import expected  # noqa: E402
import formats  # noqa: E402
import formats_sentences  # noqa: E402

LONG = "a text of twenty characters and more"


def trace(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "assistant", "content": text}], **more}


# Bytes kept.


def test_a_text_is_kept_whole_in_pieces_or_inside_of_json_text() -> None:
    texts = texts_of([trace(f"before {LONG} after", meta=json.dumps({"k": {"deep": LONG[::-1]}}))])
    assert kept_bytes((), {"a": LONG, "b": LONG[::-1]}, texts) == Kept(72, 72, 0)
    tagged = f"<think>{LONG}</think>before {LONG} after"
    assert kept_bytes((), {"a": tagged}, texts).share == 1.0
    assert kept_bytes((), {"a": json.dumps({"x": LONG})}, texts).share == 1.0


def test_what_is_lost_counts_as_bytes_and_what_is_ignored_by_its_pattern() -> None:
    texts = texts_of([trace(LONG)])
    value = {"kept": LONG, "gone": "ü" * 30, "blob": {"signature": "s" * 40}, "short": "x" * 19}
    found = {f.path: f for f in fates(["*.signature"], value, texts)}
    assert found.keys() == {".kept", ".gone", ".blob.signature"}
    assert (found[".gone"].n_bytes, found[".gone"].n_kept_bytes) == (60, 0)
    assert found[".blob.signature"].ignored_by == "*.signature"
    assert kept_bytes(["*.signature"], value, texts) == Kept(136, 36, 40)
    assert lost_leaves(["*.signature"], value, texts) == [".gone: 30 characters"]


def test_a_file_that_is_kept_by_its_hash_is_not_lost() -> None:
    import hashlib

    digest = hashlib.sha256(LONG.encode()).hexdigest()
    texts = texts_of([trace("see the file", attachments=[f"sha256:{digest}"])])
    assert not lost_leaves((), {"data": LONG}, texts)


def test_a_pattern_fits_a_path_and_what_is_below_it_and_nothing_else() -> None:
    assert ignored_by(["a.b"], ".a.b.c[]") == "a.b"
    assert ignored_by(["a.b"], ".a.bc") is None
    assert ignored_by(["*.id"], ".x[].id") == "*.id"
    assert ignored_by(["*.id"], ".x[].idea") is None


# The page.


def test_the_page_of_formats_is_what_the_dialects_declare() -> None:
    text = formats.PAGE.read_text("utf-8")
    assert text == formats.page(formats.held_real(text)), "run `make docs`"


@pytest.mark.parametrize("name", sorted(dialects.DIALECTS))
def test_a_dialect_has_a_docstring_with_its_origin_and_reasons_for_what_it_leaves_out(
    name: str,
) -> None:
    dialect = dialects.get(name)
    text = formats.docstring(dialects.DIALECTS[name])
    assert text.startswith(f"Dialect `{name}`: ")
    assert all(len(why.split()) > 1 for why in dialect.ignores.values())
    lines = list(formats.section(name, dialect, text))
    assert lines[0] == f"### `{name}`"
    for path in dialect.ignores:
        assert any(f"`{path}`" in line for line in lines)


def test_indented_lines_of_a_docstring_are_shown_as_a_record() -> None:
    blocks = list(formats.prose('First <b>.\n\n    {"a": 1}\n\nThen\n    {"b": 2}\nmore.'))
    assert blocks == [
        "First &lt;b>.",
        '```text\n{"a": 1}\n```',
        'Then\n\n```text\n{"b": 2}\n```\n\nmore.',
    ]


def test_the_table_of_real_folders_stays_when_the_page_is_made_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "formats.md"
    page.write_text(formats.page("| a | table |"), "utf-8")
    monkeypatch.setattr(sys, "argv", ["formats.py", "--out", str(page)])
    assert formats.main() == 0
    assert formats.held_real(page.read_text("utf-8")) == "| a | table |"


def test_a_folder_is_ingested_counted_and_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "real" / "some-chats"
    home.mkdir(parents=True)
    good = {"messages": [{"role": "user", "content": LONG}, {"role": "assistant", "content": LONG}]}
    bad = {"messages": [{"role": "user", "content": LONG[::-1]}]}
    (home / "a.jsonl").write_text(f"{json.dumps(good)}\n{json.dumps(bad)}\n", "utf-8")
    (home / "b.jsonl").write_text('{"x": 1}\n', "utf-8")
    page = tmp_path / "formats.md"
    monkeypatch.setattr(sys, "argv", ["formats.py", "--real", str(home.parent), "--out", str(page)])
    assert formats.main() == 1  # fewer than expected, and no sentence
    text = page.read_text("utf-8")
    row = "| some-chats | openai | 2 | 2 | 3 | 1 | 0 | no_assistant_message 1 | 66.7% |"
    assert row in text
    assert "- **some-chats**: 1 of 3 records. No sentence yet." in text
    assert "33.3% in rejects (no_assistant_message)" in text
    assert "| some-chats | 1 x no dialect fits |" in text
    assert "without a sentence: some-chats" in capsys.readouterr().err
    monkeypatch.setitem(formats_sentences.SENTENCES, "some-chats", "One has no reply")
    assert formats.main() == 0
    assert "One has no reply" in page.read_text("utf-8")
    assert LONG not in page.read_text("utf-8")


def test_every_sentence_is_of_a_folder_that_is_counted() -> None:
    assert set(formats_sentences.SENTENCES) <= set(expected.COUNTS)


def test_the_second_count_needs_nothing_of_tracekit() -> None:
    assert "tracekit import" not in (ROOT / "bench" / "expected.py").read_text("utf-8")
    assert "import tracekit" not in (ROOT / "bench" / "expected.py").read_text("utf-8")
