"""A workspace opened for reading: lazy tables, single traces, why, what-if.

`tracekit.open("work")` is the door for notebooks and scripts; the commands that look use the same
functions. Nothing here writes.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tracekit import decide, door, frames, schema
from tracekit import manifest as manifests
from tracekit import rules as rule_sets
from tracekit.decide import Decisions, Evidence
from tracekit.errors import InputError, UsageError
from tracekit.evidence import FAMILIES
from tracekit.manifest import Batch, Manifest, PartEntry
from tracekit.recipe import Recipe
from tracekit.report import Report
from tracekit.types import Trace
from tracekit.workspace import Workspace, existing


@dataclass(frozen=True, slots=True)
class Opened:
    """A workspace and its manifest, as they were when it was opened."""

    work: Workspace
    manifest: Manifest

    @property
    def recipe(self) -> Recipe:
        """The effective recipe of the last run."""
        return Recipe.from_dict(self.manifest.recipe, folder=self.work.folder)

    def known(self) -> Evidence:
        """Evidence of all traces. Raises InputError where a part is not measured."""
        for batch, part in self.manifest.parts():
            key = f"{batch.source}/{part.name}"
            if any(key not in self.manifest.evidence.get(f, {}) for f in FAMILIES):
                raise InputError(
                    f"part {key} is not measured yet",
                    where=str(self.work.folder),
                    fix=f"tracekit validate -w {self.work.folder}",
                    wrote="nothing was written",
                )
        return frames.load(self.work, self.manifest)

    def decided(self, recipe: Recipe | None = None) -> tuple[Evidence, Decisions]:
        """Evidence, and what the rules of the recipe say about it: computed, not read."""
        evidence = self.known()
        return evidence, decide.decide(evidence, rule_sets.of_recipe(recipe or self.recipe))

    @property
    def evidence(self) -> pl.LazyFrame:
        """One row a trace: id, source, hashes and every measure."""
        return self.known().traces.lazy()

    @property
    def findings(self) -> pl.LazyFrame:
        """One row a finding, with the trace's id."""
        known = self.known()
        ids = known.traces.select("id").with_row_index("trace").cast({"trace": pl.Int32})
        return known.findings.join(ids, on="trace").drop("trace").lazy()

    @property
    def ledger(self) -> pl.LazyFrame:
        """One row a (trace, rule that spoke). Raises InputError before a decision."""
        if not self.manifest.ledger:
            raise InputError(
                "nothing is decided yet",
                where=str(self.work.folder),
                fix=f"tracekit validate -w {self.work.folder}",
            )
        table = door.read_table(self.work.ledger, self.manifest.ledger["sha256"])
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)
        return frame.lazy()

    @property
    def rejects(self) -> pl.LazyFrame:
        """One row a record that never became a trace."""
        return self._tables("rejects")

    @property
    def traces(self) -> pl.LazyFrame:
        """The canonical traces, as stored: edits are not applied."""
        return self._tables("traces")

    def _tables(self, thing: str) -> pl.LazyFrame:
        paths = []
        for batch, part in self.manifest.parts():
            path = self.work.file(thing, batch.source, part.name)
            # polars does not look at page checksums, so the file is compared first
            if door.sha256_of(path) != part.files[thing]:
                raise door.altered(path)
            paths.append(path)
        if not paths:
            raise InputError("the workspace holds no traces", where=str(self.work.folder))
        return pl.scan_parquet(paths)

    def place(self, trace_id: str) -> tuple[Batch, PartEntry, int]:
        """Batch, part and row of a trace, by its exact id. Raises UsageError."""
        for batch, part in self.manifest.parts():
            if trace_id.startswith(f"{batch.source}:"):
                path = self.work.file("traces", batch.source, part.name)
                ids = door.read_table(path, part.files["traces"], ["id"]).column("id").to_pylist()
                if trace_id in ids:
                    return batch, part, ids.index(trace_id)
        raise UsageError(f"no trace {trace_id!r} in this workspace", where=str(self.work.folder))

    def row(self, trace_id: str) -> dict[str, Any]:
        """A stored trace as plain dicts."""
        batch, part, row = self.place(trace_id)
        path = self.work.file("traces", batch.source, part.name)
        table = door.read_table(path, part.files["traces"]).cast(schema.TRACE_SCHEMA)
        found: dict[str, Any] = table.slice(row, 1).to_pylist()[0]
        return found

    def trace(self, trace_id: str) -> Trace:
        """A stored trace, by id, its beginning, source id, `file:line` or id of a shard row."""
        from tracekit import places

        return schema.trace_of_row(self.row(places.one_trace(self, trace_id)))

    def why(self, trace_id: str, *, raw: bool = False) -> Report:
        """All that was measured and decided on one trace."""
        from tracekit import views

        return views.why(self.work.folder, trace_id, raw=raw)

    def what_if(self, **thresholds: list[float]) -> pl.DataFrame:
        """What each value of one threshold would keep: `what_if(loop_share=[0.1, 0.3])`."""
        from tracekit import views

        ((name, values),) = thresholds.items()
        report = views.what_if(self.work.folder, name, values)
        return pl.DataFrame(report.tables[0].records())

    def to_datasets(self, out: str | Path = "shards") -> Any:
        """The product at `out` as a `datasets.Dataset`."""
        import datasets.load

        return datasets.load.load_dataset(str(out), split="train")

    def _repr_html_(self) -> str:
        lines = "<br>".join(html.escape(line) for line in self.manifest.law)
        return f"<b>{html.escape(str(self.work.folder))}</b><br>{lines}"


def open(folder: str | Path) -> Opened:
    """The workspace in a folder. Raises InputError where there is none."""
    work = existing(Path(folder))
    return Opened(work, manifests.load(work))
