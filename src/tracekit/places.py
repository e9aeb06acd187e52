"""From what a person types to a place: id, its beginning, source id, file:line, shard row."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from tracekit import door
from tracekit.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from tracekit.opened import Opened

_LINE = re.compile(r"(?:(?P<source>[^:]*):)?(?P<file>.+?)(?::(?P<line>[0-9]+)|\[(?P<n>[0-9]+)\])\Z")
_SHARD = re.compile(r"(?P<hash>[0-9a-f]{8,32})(?:-[0-9]+)?\Z")
MOST_NAMED = 8
"""Candidates that an ambiguous name lists."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a name stands for: traces, or a record that became none."""

    ids: tuple[str, ...] = ()
    rejected: tuple[tuple[str, str, str, int], ...] = ()
    """(source, part, file, row) of rejects."""
    events: tuple[tuple[str, str, int, str], ...] = ()
    """(source, file, row, type) of events."""


def find(opened: Opened, name: str) -> Place:
    """Everything that a name can mean, exact meanings first."""
    ids = _ids(opened)
    if name in set(ids["id"]):
        return Place((name,))
    by_source_id = ids.filter(pl.col("source_id") == name)["id"].to_list()
    if by_source_id:
        return Place(tuple(by_source_id))
    shard = _SHARD.match(name)
    if shard:
        evidence = opened.known().traces
        begins = pl.col("content_hash").str.starts_with(shard["hash"])
        same = evidence.filter(begins)["id"].to_list()
        if same:
            return Place(tuple(same))
    starts = ids.filter(pl.col("id").str.starts_with(name))["id"].to_list()
    if len(starts) == 1:
        return Place((starts[0],))
    line = _LINE.match(name)
    if line:
        row = int(line["line"]) - 1 if line["line"] is not None else int(line["n"])
        found = _at(opened, line["source"], line["file"], row)
        if found != Place():
            return found
    if name.count("#") == 1:
        head, _, tail = name.partition("#")
        source, colon, file = head.partition(":")
        if not colon:
            source, file = "", head
        if tail.isdigit():
            found = _at(opened, source, file, int(tail))
            if found != Place():
                return found
    return Place(tuple(starts))


def one_trace(opened: Opened, name: str) -> str:
    """The one trace that a name means. Raises UsageError for none or several."""
    place = find(opened, name)
    if len(place.ids) == 1:
        return place.ids[0]
    raise unclear(opened, name, place)


def unclear(opened: Opened, name: str, place: Place) -> UsageError:
    """The error for a name that means nothing, or too much."""
    if place.ids:
        more = len(place.ids) - MOST_NAMED
        listed = ", ".join(place.ids[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
        return UsageError(f"{name!r} means {len(place.ids)} traces", expected=f"one of {listed}")
    ids = _ids(opened)["id"]
    return UsageError(
        f"{name!r} is nothing in this workspace.{did_you_mean(name, ids.head(20_000).to_list())}",
        expected="an id or its beginning, a source id, file:line, file[n], file#n, or the id of a "
        "shard row or its beginning",
        fix=f"tracekit stats -w {opened.work.folder} names an example of every code",
    )


def _ids(opened: Opened) -> pl.DataFrame:
    found = []
    for batch, part in opened.manifest.parts():
        path = opened.work.file("traces", batch.source, part.name)
        frame = pl.from_arrow(door.read_table(path, None, ["id", "source_id"]))
        assert isinstance(frame, pl.DataFrame)
        found.append(frame)
    return (
        pl.concat(found)
        if found
        else pl.DataFrame(schema={"id": pl.String, "source_id": pl.String})
    )


def _at(opened: Opened, source: str | None, file: str, row: int) -> Place:
    """Traces, rejects and events of one record; `file` may be the end of its path."""
    ids: list[str] = []
    rejected: list[tuple[str, str, str, int]] = []
    events: list[tuple[str, str, int, str]] = []
    for batch, part in opened.manifest.parts():
        if source not in (None, "", batch.source) and not file.startswith("/"):
            continue
        names = [f.name for f in batch.files if _same(f.name, file)]
        if not names:
            continue
        path = opened.work.file("traces", batch.source, part.name)
        for one in door.read_table(path, None, ["id", "provenance"]).to_pylist():
            if any(
                o["file"] in names and o["first"] <= row <= o["last"] for o in one["provenance"]
            ):
                ids.append(one["id"])
        for thing in ("rejects", "events"):
            table = door.read_table(opened.work.file(thing, batch.source, part.name))
            for one in table.to_pylist():
                if one["file"] in names and one["row"] == row:
                    if thing == "rejects":
                        rejected.append((batch.source, part.name, one["file"], row))
                    else:
                        events.append((batch.source, one["file"], row, one["type"]))
    return Place(tuple(ids), tuple(rejected), tuple(events))


def _same(name: str, asked: str) -> bool:
    return name == asked or asked.endswith("/" + name) or name.endswith("/" + asked)
