"""docs/formats.md: what each dialect keeps and leaves out; and what becomes of real folders.

    python bench/formats.py                      # make docs: the dialects, from what they declare
    python bench/formats.py --real FOLDER        # and a table of real folders, counted anew

Without --real the table of real folders stays as it is: it needs files that are not ours to give.
With it, every folder is ingested, its conversations are counted a second time by `expected.py`, and
the bytes of its texts are looked up in its traces. A folder whose counts differ needs a sentence in
`formats_sentences.py`; without it the exit code is 1. Where the bytes went is said by itself.
"""

import argparse
import ast
import importlib
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench"))

import pyarrow.parquet as pq  # noqa: E402
from expected import conversations  # noqa: E402
from formats_sentences import SENTENCES  # noqa: E402

import tracekit  # noqa: E402
from tracekit import dialects, leaves, manifest, planning  # noqa: E402
from tracekit.containers import read_slices  # noqa: E402
from tracekit.dialects import Dialect, mapping  # noqa: E402
from tracekit.leaves import Kept, Texts, as_read, fates  # noqa: E402
from tracekit.parts import plan_parts  # noqa: E402
from tracekit.recipe import Recipe  # noqa: E402
from tracekit.sniffing import look  # noqa: E402
from tracekit.workspace import Workspace  # noqa: E402

PAGE = ROOT / "docs" / "formats.md"
BEGIN, END = (
    "<!-- real folders: written by bench/formats.py --real -->",
    "<!-- end of real folders -->",
)
MIN_SHARE = 0.95
"""A folder of which less is kept has a sentence that says why."""


# The dialects.


def docstring(module: str) -> str:
    """Docstring of a module, from its source: what `python -OO` strips is there too."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return ast.get_docstring(ast.parse(Path(spec.origin).read_text("utf-8"))) or ""


def escaped(text: str) -> str:
    """Text as Markdown shows it, on one line of a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def prose(text: str) -> Iterator[str]:
    """A docstring as Markdown: what is indented is a record, the rest are sentences."""
    for block in text.split("\n\n"):
        lines = block.split("\n")
        inside = [line for line in lines if line.strip()]
        if inside and all(line.startswith("    ") for line in inside):
            yield "\n".join(["```text", *(line[4:] for line in lines), "```"])
            continue
        shown, held = [], []
        for line in lines:
            if line.startswith("    "):
                held.append(line[4:])
            else:
                if held:
                    shown += ["", "```text", *held, "```", ""]
                    held = []
                shown.append(line.replace("<", "&lt;"))
        if held:
            shown += ["", "```text", *held, "```"]
        yield "\n".join(shown)


def table(columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> list[str]:
    def cell(value: Any) -> str:
        return f"{value:,}" if isinstance(value, int) else str(value or "")

    head = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return [*head, *("| " + " | ".join(map(cell, row)) + " |" for row in rows)]


UNITS = {
    "record": "a record",
    "file": "a file",
    "session": "a session: records that share a key, wherever they stand",
}


def section(name: str, dialect: Dialect, text: str) -> Iterator[str]:
    """Lines of one dialect."""
    yield f"### `{name}`"
    yield ""
    for block in prose(re.sub(r"^Dialect `\w+`: (.)", lambda m: m[1].upper(), text)):
        yield block
        yield ""
    yield f"One trace, or several, of {UNITS[dialect.unit]}. Version {dialect.version}."
    yield ""
    if dialect.options:
        rows = [
            (f"`{o.name}`", ", ".join(f"`{c}`" for c in o.choices), escaped(o.what))
            for o in dialect.options
        ]
        yield from table(("option", "values, the default first", "what it does"), rows)
        yield ""
    if dialect.ignores:
        rows = [(f"`{path}`", escaped(why)) for path, why in dialect.ignores.items()]
        yield from table(("left out of the trace", "because it is"), rows)
        yield ""
    else:
        yield "Nothing is left out of the trace."
        yield ""
    for kind, title in (("reject", "Rejects"), ("repair", "Counted changes"), ("event", "Events")):
        names = sorted({c.name for c in (*dialect.codes, *dialect.events) if c.kind == kind})
        if names:
            yield f"{title}: {', '.join(f'`{n}`' for n in names)}."
            yield ""


def first_sentence(name: str, text: str) -> str:
    """What a dialect reads, from the first sentence of its docstring."""
    first = " ".join(text.split("\n\n")[0].split())
    first = re.split(r"(?<=[.:])\s", first.removeprefix(f"Dialect `{name}`: "), maxsplit=1)[0]
    return escaped(first.rstrip(".:"))


def dialect_pages() -> Iterator[str]:
    modules = sorted(dialects.DIALECTS.items())
    rows = [
        (f"[`{name}`](#{name})", first_sentence(name, docstring(module)), dialects.get(name).unit)
        for name, module in modules
    ]
    yield from table(("dialect", "what it reads", "unit"), rows)
    yield ""
    for name, module in sorted(dialects.DIALECTS.items()):
        yield from section(name, dialects.get(name), docstring(module))
    yield "### A field mapping"
    yield ""
    text = docstring("tracekit.dialects.mapping")
    for block in prose(text):
        yield block
        yield ""
    names = sorted(c.name for c in mapping.CODES)
    yield f"Rejects of its own: {', '.join(f'`{n}`' for n in names)}."
    yield ""


HEAD = """\
# Formats

Generated by `make docs` from what the dialects declare; a test keeps it true. A dialect is
recognised by structure: `tracekit sniff PATH` says which one fits, and why. What each code means is
in [codes.md](codes.md) and said by `tracekit explain CODE`.

What is read is kept: a string of 20 characters or more of a record is in its trace, or in the
table of what is left out, with the reason. What is kept without being understood is in `meta`, and
counted by its key.
"""


def page(real: str) -> str:
    """The whole page, with the given text between the marks of the real folders."""
    return "\n".join(
        [HEAD, "## Real folders", "", BEGIN, real, END, "", "## Dialects", "", *dialect_pages()]
    ).rstrip("\n") + "\n"  # fmt: skip


def held_real(text: str) -> str:
    """What stands between the marks of a page."""
    if BEGIN not in text:
        return ""
    return text.split(BEGIN, 1)[1].split(END, 1)[0].strip("\n")


# Real folders.


@dataclass
class Folder:
    """What became of one folder."""

    name: str
    dialects: set[str] = field(default_factory=set)
    n_files: int = 0
    n_unread: Counter[str] = field(default_factory=Counter)
    n_records: int = 0
    n_traces: int = 0
    n_events: int = 0
    rejects: Counter[str] = field(default_factory=Counter)
    kept: Kept = field(default_factory=Kept)
    gone: Counter[str] = field(default_factory=Counter)
    """Bytes that are in no trace, by the words that say why."""
    lost: Counter[str] = field(default_factory=Counter)
    """Bytes that are nowhere and without a reason, by path: a fault of the dialect."""
    counted: str = ""
    n_expected: int = 0

    @property
    def share(self) -> str:
        return f"{self.kept.share:.1%}" if self.kept.n_bytes else ""

    @property
    def differs(self) -> bool:
        """Needs its number of traces a sentence?"""
        return self.n_expected != self.n_traces

    def where_gone(self) -> str:
        """What of the bytes is in no trace, the largest first."""
        parts = [
            f"{n / self.kept.n_bytes:.1%} {why}"
            for why, n in self.gone.most_common(MOST_TOLD)
            if n / self.kept.n_bytes >= 0.001
        ]
        return ", ".join(parts)


MOST_TOLD = 6


def union(texts: list[Texts]) -> Texts:
    return Texts(
        frozenset().union(*(t.whole for t in texts)), "\0".join(t.joined for t in texts)
    )  # fmt: skip


def look_up(
    told: Folder, recipe: Recipe, work: Workspace, batch: manifest.Batch, root: Path
) -> None:
    """Look every text of a batch's records up in its traces, and put down what is not there."""
    rows: dict[tuple[str, int], list[int]] = {}
    by_file: dict[str, set[int]] = {}
    found: list[Texts] = []
    refused: dict[tuple[str, int], str] = {}
    for part in batch.parts:
        for trace in pq.read_table(work.file("traces", batch.source, part.name)).to_pylist():
            for origin in trace["provenance"]:
                by_file.setdefault(origin["file"], set()).add(len(found))
                for row in range(origin["first"], origin["last"] + 1):
                    rows.setdefault((origin["file"], row), []).append(len(found))
            found.append(leaves.texts_of([trace]))
        path = work.file("rejects", batch.source, part.name)
        for r in pq.read_table(path, columns=["file", "row", "code"]).to_pylist():
            refused[r["file"], r["row"]] = r["code"]
    ignores = dialects.get(batch.dialect).ignores
    known: dict[tuple[int, ...], Texts] = {}
    for file in batch.files:
        plan = plan_parts(
            batch.source, root, [file.name], spool_folder=work.spool,
            whole_object_is_record=planning.is_record(recipe, batch.source),
        )  # fmt: skip
        for one, record in read_slices(s for p in plan.parts for s in p.slices):
            if record.error is not None:
                continue
            place = (one.file, record.row)
            # An event is no message; what it says may stand in a trace of its file all the same.
            numbers = tuple(rows.get(place) or sorted(by_file.get(one.file, ())))
            code = refused.get(place)
            if code is not None:
                numbers = ()
            if numbers not in known:
                known[numbers] = union([found[k] for k in numbers])
            value = as_read(record.value)
            for fate in fates(ignores, record.value if value is None else value, known[numbers]):
                n_left = fate.n_bytes - fate.n_kept_bytes
                told.kept += Kept(fate.n_bytes, fate.n_kept_bytes)
                if code is not None:
                    told.gone[f"in rejects ({code})"] += n_left
                elif fate.ignored_by is not None:
                    told.gone[f"`{fate.ignored_by}`: {escaped(ignores[fate.ignored_by])}"] += n_left
                elif place not in rows and n_left:
                    told.gone["in events"] += n_left
                elif n_left:
                    told.gone["without a reason"] += n_left
                    told.lost[f"{batch.dialect}{fate.path}"] += n_left


def measured(home: Path, work: Path) -> Folder:
    """Ingest one folder and count what became of it."""
    told = Folder(home.name)
    told.counted, told.n_expected = conversations(home)
    seen, skipped = look([str(home)])
    told.n_files = len(seen)
    named: dict[str, list[str]] = {}
    for one in seen:
        if one.dialect is None:
            told.n_unread[one.odd.partition(" (")[0].partition(": ")[0]] += 1
        else:
            named.setdefault(one.dialect, []).append(str(one.path))
    told.n_unread.update(s.reason for s in skipped)
    told.dialects = set(named)
    if not named:
        return told
    recipe = Recipe.from_dict(
        {"sources": {name: {"path": paths, "dialect": name} for name, paths in named.items()}}
    )
    tracekit.ingest(recipe, work)
    place = Workspace(work)
    recipe = recipe.moved(work)
    for batch in manifest.load(place).batches:
        root = planning.inputs.expand(
            list(recipe.paths(batch.source)), source=batch.source,
            whole_is_record=planning.is_record(recipe, batch.source),
        ).sources[0].root  # fmt: skip
        look_up(told, recipe, place, batch, root)
        for part in batch.parts:
            told.n_records += part.n_records
            told.n_traces += part.n_traces
            told.n_events += part.n_events
            told.rejects.update(part.rejects)
    return told


def real_page(folders: list[Folder]) -> str:
    rows = [
        (
            f.name, ", ".join(sorted(f.dialects)), f.n_files, f.n_records, f.n_expected, f.n_traces,
            f.n_events, ", ".join(f"{c} {n:,}" for c, n in sorted(f.rejects.items())), f.share,
        )
        for f in folders
    ]  # fmt: skip
    columns = (
        "folder", "dialects", "files", "records", "conversations expected", "traces", "events",
        "rejects", "bytes kept",
    )  # fmt: skip
    total = Kept()
    for f in folders:
        total += f.kept
    lines = [
        f"{len(folders)} folders of public files, {sum(f.n_records for f in folders):,} records:",
        "counts only, the texts are not ours to show. Conversations are counted a second time by",
        "`bench/expected.py`, without tracekit. Bytes kept: of all strings of 20 characters or",
        f"more, {total.share:.1%} stand in a trace. What a reject holds counts as not kept.",
        "",
        *table(columns, rows),
        "",
        "Where there are not as many traces as conversations were expected:",
        "",
    ]
    for f in folders:
        if f.differs:
            said = SENTENCES.get(f.name, "No sentence yet")
            lines.append(f"- **{f.name}**: {f.n_traces:,} of {f.n_expected:,} {f.counted}. {said}.")
    lines += [
        "",
        f"Where less than {MIN_SHARE:.0%} of the bytes is in a trace, and where the rest is:",
        "",
    ]
    for f in folders:
        if f.kept.share < MIN_SHARE:
            lines.append(f"- **{f.name}**: {f.where_gone()}.")
    unread = [
        (f.name, ", ".join(f"{n} x {why}" for why, n in sorted(f.n_unread.items())))
        for f in folders
        if f.n_unread
    ]
    if unread:
        lines += ["", "Files that were not read:", "", *table(("folder", "files and why"), unread)]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, help="folder of folders of real traces")
    parser.add_argument("--only", nargs="*", help="names of folders; prints and writes nothing")
    parser.add_argument("--out", type=Path, default=PAGE)
    options = parser.parse_args()
    if options.real is None:
        old = options.out.read_text("utf-8") if options.out.exists() else ""
        options.out.write_text(page(held_real(old)), "utf-8")
        return 0
    folders = []
    for home in sorted(p for p in options.real.resolve().iterdir() if p.is_dir()):
        if options.only and home.name not in options.only:
            continue
        with tempfile.TemporaryDirectory(prefix="tracekit-formats-") as scratch:
            folders.append(measured(home, Path(scratch) / "work"))
        f = folders[-1]
        print(
            f"{f.name}: {f.n_records} records, {f.n_expected} expected, {f.n_traces} traces, "
            f"{f.n_events} events, {f.rejects.total()} rejects, {f.share} kept",
            flush=True,
        )
        for path, n in f.lost.most_common(5):
            print(f"    lost without a reason: {n:,} bytes at {path}", flush=True)
    if options.only:
        print(real_page(folders))
        return 0
    options.out.write_text(page(real_page(folders)), "utf-8")
    missing = [f.name for f in folders if f.differs and f.name not in SENTENCES]
    needless = sorted(SENTENCES.keys() - {f.name for f in folders if f.differs})
    for what, names in (("without a sentence", missing), ("sentences without need", needless)):
        if names:
            print(f"{what}: {', '.join(names)}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
