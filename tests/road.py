"""The whole road on a few records, for tests that look at both ends: `run`, and what it wrote."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tracekit.recipe import Recipe
from tracekit.report import Report
from tracekit.running import run
from tracekit.shard_rows import SHARD_SCHEMA


@dataclass(frozen=True)
class Road:
    """One finished run."""

    work: Path
    out: Path
    report: Report

    @property
    def shards(self) -> list[Path]:
        return sorted((self.out / "data").glob("*.parquet"))

    def table(self) -> pa.Table:
        """All shard rows, in order."""
        return pa.concat_tables(
            [pq.read_table(p) for p in self.shards] or SHARD_SCHEMA.empty_table()
        )

    def rows(self) -> list[dict[str, Any]]:
        """Shard rows as a trainer gets them with pyarrow: JSON texts decoded."""
        return [decoded(row) for row in self.table().to_pylist()]

    def by_task(self) -> dict[str, dict[str, Any]]:
        """Shard rows by their first user message."""
        return {user_of(row): row for row in self.rows()}

    def traces(self) -> list[dict[str, Any]]:
        return self._all("traces")

    def rejects(self) -> list[dict[str, Any]]:
        return self._all("rejects")

    def evidence(self, family: str) -> list[dict[str, Any]]:
        return self._all(f"evidence/{family}")

    def _all(self, table: str) -> list[dict[str, Any]]:
        found = sorted((self.work / table).rglob("*.parquet"))
        return [row for path in found for row in pq.read_table(path).to_pylist()]

    def ledger(self) -> pl.DataFrame:
        return pl.read_parquet(self.work / "ledger" / "ledger.parquet")

    def said(self, code: str) -> set[str]:
        """Ids of the traces for which the ledger holds this code."""
        return set(self.ledger().filter(pl.col("code") == code)["id"])

    def decisions(self) -> pl.DataFrame:
        return pl.read_parquet(self.work / "ledger" / "decisions.parquet")

    def dropped_by(self) -> dict[str, str | None]:
        return dict(self.decisions().select("id", "dropped_by").iter_rows())

    def manifest(self) -> dict[str, Any]:
        return json.loads((self.out / "manifest.json").read_bytes())


def decoded(row: Mapping[str, Any]) -> dict[str, Any]:
    """A shard row with its JSON texts as values."""

    def values(texts: Sequence[str] | None) -> list[Any] | None:
        return None if texts is None else [json.loads(t) for t in texts]

    return {**row, "messages": values(row["messages"]), "tools": values(row["tools"])}


def fresh() -> Path:
    """A new folder for one example of a property; all go when the tests end."""
    folder = Path(tempfile.mkdtemp(prefix="tracekit-road-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def user_of(row: Mapping[str, Any]) -> str:
    return next(m["content"] for m in row["messages"] if m["role"] == "user")


def lines(records: Sequence[Any]) -> bytes:
    """JSON Lines of records; bytes stand as they are."""
    return b"".join(
        (r if isinstance(r, bytes) else json.dumps(r, ensure_ascii=False).encode()) + b"\n"
        for r in records
    )


def write_files(folder: Path, files: Mapping[str, Sequence[Any] | bytes]) -> None:
    for name, records in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(records if isinstance(records, bytes) else lines(records))


def travel(
    folder: Path, files: Mapping[str, Sequence[Any] | bytes], *, name: str = "run", **recipe: Any
) -> Road:
    """Write `files` (name -> records) below `folder` and run a recipe over them.

    A file `a/b.jsonl` belongs to source `a`, a bare name to source `made`.
    """
    write_files(folder / "in", files)
    sources: dict[str, Any] = {}
    for file in files:
        source = file.split("/")[0] if "/" in file else "made"
        paths = sources.setdefault(source, {"path": []})["path"]
        paths.append(f"in/{file}")
    stated = recipe.pop("sources", {})
    for source, values in stated.items():
        sources[source] = {**sources[source], **values}
    return go(folder, {"sources": sources, **recipe}, name=name)


def go(folder: Path, recipe: Mapping[str, Any], *, name: str = "run") -> Road:
    """Run a recipe whose paths are relative to `folder`."""
    made = Recipe.from_dict(dict(recipe), folder=folder)
    work, out = folder / name / "work", folder / name / "shards"
    report = run(made.moved(work), work=work, out=out)
    return Road(work, out, report)


def user(content: str) -> dict[str, Any]:
    return {"role": "user", "content": content}


def says(content: str | None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def call(name: str, arguments: Any, call_id: str = "c1") -> dict[str, Any]:
    inner = {"name": name, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": inner}


def result(content: Any, call_id: str = "c1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def tool(name: str, properties: Any = None, **more: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties or {}, **more}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}
