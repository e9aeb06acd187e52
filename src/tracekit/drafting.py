"""A commented recipe from what a folder holds: a source for each folder and dialect.

The dialect is named in each source, so that a run does what was seen here; odd files are left out
and listed. Sets that are a benchmark are `use: eval-only`, with the reason. The text is loaded as
a recipe before it is written.
"""

from __future__ import annotations

import glob
import json
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tracekit import door
from tracekit.errors import InputError, UsageError
from tracekit.recipe import Recipe
from tracekit.report import Report, Table
from tracekit.sniffing import Group, Sniffed, groups_of, look, n_of, odd_groups

SCHEMA_FILE = "schemas/recipe-v1.json"
"""Where the schema lies, from the folder of the recipe."""
MOST_LISTED = 20
"""Odd files that are named in comments."""

_PLAIN = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./*-]*\Z")


def draft(
    paths: Sequence[str], out: str | Path, *, force: bool = False, schema: bytes | None = None
) -> Report:
    """Write a recipe for files and folders; and the schema beside it, where its text is given.

    Raises UsageError where the recipe exists already (unless `force`), InputError where nothing
    below the paths is of a known dialect.
    """
    out = Path(out)
    if out.exists() and not force:
        raise UsageError(
            "there is a recipe already",
            where=str(out),
            fix="--force writes over it; -o names another file",
            wrote="nothing was written",
        )
    files, skipped = look(paths)
    groups = groups_of(files)
    if not groups:
        raise InputError(
            "none of these files is of a known dialect",
            where=", ".join(paths),
            fix=f"tracekit sniff {shlex.join(paths)} says why",
            wrote="nothing was written",
        )
    named = _named(groups)
    home = out.parent.absolute()
    text = "\n".join(_lines(named, files, home, with_schema=schema is not None)) + "\n"
    recipe = Recipe.from_yaml(text, name=str(out), folder=out.parent)
    with door.guarded("create", out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
    door.write_bytes(out, text.encode())
    notes = _schema_beside(out.parent / SCHEMA_FILE, schema) if schema is not None else []
    odd = [f for f in files if f.dialect is None]
    if odd:
        notes.append(f"{n_of(len(odd), 'odd file')} left out: tracekit sniff says why")
    if skipped:
        notes.append(f"{n_of(len(skipped), 'file')} without records left out")
    n_eval = sum(source.use == "eval-only" for source in recipe.sources.values())
    if n_eval:
        notes.append(f"benchmarks by their ids or keys, use: eval-only: {n_of(n_eval, 'source')}")
    rows = tuple(
        (name, held[0].dialect, source.use, sum(g.n_records for g in held))
        for (name, held), source in zip(named.items(), recipe.sources.values(), strict=True)
    )
    return Report(
        text=[f"wrote {out}: {n_of(len(named), 'source')}"],
        tables=[Table("", ("source", "dialect", "use", "records"), rows)],
        notes=notes,
        hints=[f"tracekit run {out} --dry-run", f"tracekit run {out} --limit 100"],
        data={"recipe": str(out), "sources": list(named), "odd": [str(f.path) for f in odd]},
    )


def _schema_beside(path: Path, schema: bytes) -> list[str]:
    """Write the schema, unless something else lies there."""
    if path.exists():
        with door.guarded("read", path):
            old = path.read_bytes()
        if old == schema:
            return []
        if b"urn:tracekit:recipe" not in old:
            return [f"{path} is no schema of tracekit and was left as it is"]
    with door.guarded("create", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    door.write_bytes(path, schema)
    return [f"wrote {path}: editors complete keys with it"]


def _named(groups: Sequence[Group]) -> dict[str, list[Group]]:
    """Groups by the name of their source, those to train on first. A container is no source."""
    kinds: dict[Path, set[object]] = {}
    for group in groups:
        kinds.setdefault(group.root, set()).add((group.dialect, _name_of(group)))
    merged: dict[tuple[object, ...], list[Group]] = {}
    for group in sorted(groups, key=lambda g: g.benchmark is not None):
        if len(kinds[group.root]) == 1:
            # Sessions may span folders; what is of one kind stays one source.
            group = replace(group, folder=".")
        key = (group.root, group.folder, group.dialect, _name_of(group))
        merged.setdefault(key, []).append(group)
    homes = [(g[0].root, g[0].folder) for g in merged.values()]
    named: dict[str, list[Group]] = {}
    for held in merged.values():
        first = held[0]
        words = [first.root.name if first.folder == "." else first.folder]
        if homes.count((first.root, first.folder)) > 1:
            words.append(first.dialect)
            if first.benchmark is not None:
                words.append(first.benchmark[0])
        name = _source_name(".".join(words))
        k = 2
        while name in named:
            name, k = _source_name(".".join(words)) + f"-{k}", k + 1
        named[name] = held
    return named


def _name_of(group: Group) -> str | None:
    """The benchmark that a group is."""
    return None if group.benchmark is None else group.benchmark[0]


def _source_name(text: str) -> str:
    """A name that a source may have.

    >>> _source_name("my logs.an evaluation's predictions")
    'my-logs.an-evaluation-s-predictions'
    """
    name = re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-.")[:90]
    return name or "source"


def _lines(
    named: dict[str, list[Group]], files: Sequence[Sniffed], home: Path, *, with_schema: bool
) -> Iterator[str]:
    defaults = Recipe.from_dict({"sources": {"s": {"path": "x"}}})
    if with_schema:
        yield f"# yaml-language-server: $schema={SCHEMA_FILE}"
    yield "# Written by `tracekit init`. Paths are relative to this file. Keys that are left out"
    yield "# have the defaults that your editor shows; `tracekit run FILE --dry-run` reads it."
    yield f"version: {defaults.version}"
    yield "name: mix"
    yield f"seed: {defaults.seed}"
    yield ""
    yield "# The order is a priority: of two equal traces, the one of the earlier source stays."
    yield "sources:"
    told_eval = False
    for name, held in named.items():
        if held[0].benchmark is not None and not told_eval:
            told_eval = True
            yield "  # Benchmarks by their ids or keys: measured and compared, never in the shards."
        yield from _source(name, held, files, home)
    odd = odd_groups(files)
    if odd:
        yield "  # Left out, as no dialect reads them (`mapping:` or a dialect of your own does):"
        for group in odd[:MOST_LISTED]:
            more = f" and {len(group) - 1:,} more" if len(group) > 1 else ""
            yield _comment(f"  #   {_relative(group[0].path, home)}{more}: {group[0].odd}")
        if len(odd) > MOST_LISTED:
            yield f"  #   and {len(odd) - MOST_LISTED:,} more kinds"
    dedupe, shard, render = defaults.dedupe, defaults.shard, defaults.render
    assert dedupe is not False
    yield ""
    yield "# The text that is counted is the one that the trainer will read."
    yield f"render: {{template: {render.template}, tokenizer: {render.tokenizer}}}"
    yield "# From which similarity two traces are the same; `dedupe: false` keeps all."
    yield f"dedupe: {{threshold: {dedupe.threshold}}}"
    yield "# Limits and rules of your own, such as"
    yield "#   max_tokens: 64k"
    yield "#   rules: [{code: no_answer, keep: n_answer_tokens >= 1, action: flag}]"
    yield "filter: {}"
    yield f"shard: {{tokens_per_shard: {shard.tokens_per_shard}}}"


def _source(
    name: str, held: Sequence[Group], files: Sequence[Sniffed], home: Path
) -> Iterator[str]:
    first = held[0]
    n_files = sum(len(g.files) for g in held)
    about = "" if all(g.exact for g in held) else "about "
    n_records = sum(g.n_records for g in held)
    counted = f"{about}{n_of(n_records, 'record')} in {n_of(n_files, 'file')}"
    yield _comment(f"  # {first.evidence}: {counted}")
    unsure = [g for g in held if g.sure != "yes"]
    if unsure:
        yield f"  # fits {unsure[0].sure} records that were looked at; the others become rejects"
    if first.benchmark is not None:
        why = sorted({g.benchmark[1] for g in held if g.benchmark is not None})
        yield _comment(f"  # looks like {first.benchmark[0]}: {'; '.join(why)}")
    yield f"  {name}:"
    paths = [_word(path) for path in _paths(held, files, home)]
    if len(paths) == 1:
        yield f"    path: {paths[0]}"
    else:
        yield "    path:"
        for path in paths:
            yield f"      - {path}"
    yield f"    dialect: {_word(first.dialect)}"
    if first.benchmark is not None:
        yield "    use: eval-only"


def _comment(line: str) -> str:
    """A line that stays one line and plain text, whatever names of strangers stand in it."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in line)[:240]


def _paths(held: Sequence[Group], files: Sequence[Sniffed], home: Path) -> list[str]:
    """The shortest paths that name just the files of a source: a folder, a glob, or each file."""
    root, folder = held[0].root, held[0].folder
    wanted = {f.path for g in held for f in g.files}
    beside = [f for f in files if f.root == root]
    whole = {f.path for f in beside}
    if wanted == whole and len(wanted) > 1:
        return [_relative(root, home)]
    if folder != "." and wanted == {f.path for f in beside if f.folder == folder}:
        return [_relative(root / folder, home)]
    below = root if folder == "." else root / folder
    suffixes = {"".join(path.suffixes[-1:]) for path in wanted}
    if len(suffixes) == 1 and len(wanted) > 1 and (suffix := suffixes.pop()):
        for pattern in (f"*{suffix}", f"**/*{suffix}"):
            # Path.glob does not take what the recipe's globs take.
            found = glob.glob(glob.escape(str(below)) + "/" + pattern, recursive=True)  # noqa: PTH207
            if {Path(path) for path in found} == wanted and not glob.has_magic(str(below)):
                return [f"{_relative(below, home)}/{pattern}"]
    return [_relative(path, home) for path in sorted(wanted)]


def _relative(path: Path, home: Path) -> str:
    """Relative where that needs no more than two steps up, so that a project folder can move."""
    text = Path(os.path.relpath(path, home)).as_posix()
    return path.as_posix() if text.startswith("../../../") else text


def _word(text: str) -> str:
    """A text as YAML.

    >>> _word("traces/*.jsonl"), _word("my logs: a")
    ('traces/*.jsonl', '"my logs: a"')
    """
    plain = _PLAIN.match(text) and text.lower() not in ("true", "false", "null", "yes", "no")
    return text if plain and not re.fullmatch(r"[0-9.]+", text) else json.dumps(text)
