"""What a workspace knows: stats, why, check, what-if. Nothing here writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from tracekit import decide, door, drawing, edits, opened, places, reading, summary
from tracekit import rules as rule_sets
from tracekit.decide import Decisions, Evidence
from tracekit.errors import UsageError, did_you_mean
from tracekit.opened import Opened
from tracekit.product import SEGMENTS
from tracekit.recipe import Recipe
from tracekit.report import Report, Table

LENGTHS = (1_000, 4_000, 16_000, 64_000, 262_144)
MOST_EXAMPLES = 3


def stats(work: str | Path, *, contexts: bool = False) -> Report:
    """Per source: traces, kept, tokens by segment, dropped by code with an example each."""
    here = opened.open(work)
    evidence, decisions = here.decided()
    frame = evidence.traces.with_columns(
        decisions.traces["kept", "dropped_by", "n_target_tokens"].get_columns()
    )
    tables = [_by_source(frame), _by_code(evidence, decisions), _lengths(frame)]
    notes = summary.decision_notes(evidence, decisions)
    asked: dict[str, Any] = {}
    if contexts:
        from tracekit import contexts as what_fits

        (fit, repeated), told = what_fits.look(here, evidence)
        tables += [fit, repeated]
        notes += told
        asked = {"contexts": fit.records(), "repeated_headers": repeated.records()}
    n_all, n_kept = frame.height, int(decisions.kept.sum())
    law = [
        *reading.law(here.manifest),
        f"{n_all:,} traces = {n_kept:,} kept + {n_all - n_kept:,} dropped",
    ]
    return Report(
        tables=tables,
        law=law,
        notes=notes,
        hints=[f"tracekit why -w {work} ID", "tracekit explain CODE"],
        data={
            "sources": tables[0].records(),
            "codes": tables[1].records(),
            "lengths": tables[2].records(),
            "law": law,
            **asked,
        },
    )


def _by_source(frame: pl.DataFrame) -> Table:
    sums = [pl.col(f"n_{s}_tokens").sum().alias(s) for s in SEGMENTS]
    grouped = frame.group_by("source").agg(
        pl.len().alias("traces"),
        pl.col("kept").sum(),
        pl.col("n_tokens").sum().alias("tokens"),
        pl.col("n_target_tokens").sum().alias("trained_on"),
        *sums,
    ).sort("source")  # fmt: skip
    total = grouped.drop("source").sum().row(0)
    rows = [*grouped.iter_rows(), ("total", *total)]
    return Table("sources", tuple(grouped.columns), tuple(rows))


def _by_code(evidence: Evidence, decisions: Decisions) -> Table:
    tables = []
    for source in decisions.traces["source"].unique().sort():
        mask = decisions.traces["source"] == source
        part = Decisions(
            decisions.ledger.filter(pl.col("source") == source), decisions.traces.filter(mask)
        )
        known = Evidence(evidence.traces.filter(mask), evidence.findings, evidence.pairs)
        table = summary.decision_table(known, part)
        tables += [(source, *row) for row in table.rows]
    columns = ("source", "stage", "code", "action", "found", "dropped", "tokens", "example")
    return Table("findings and drops", columns, tuple(tables))


def _lengths(frame: pl.DataFrame) -> Table:
    n = frame["max_sample_tokens"]
    rows: list[tuple[str, int, int | None, int]] = []
    low = 0
    for high in (*LENGTHS, None):
        mask = (n > low) if high is None else (n > low) & (n <= high)
        name = f"above {low:,}" if high is None else f"up to {high:,}"
        part = frame.filter(mask.fill_null(False))
        rows.append((name, part.height, int(part["n_tokens"].sum()), int(part["kept"].sum())))
        low = high or low
    unmeasured = frame.filter(n.is_null()).height
    if unmeasured:
        rows.append(("not measured", unmeasured, None, 0))
    return Table("lengths in tokens", ("length", "traces", "tokens", "kept"), tuple(rows))


def why(work: str | Path, name: str, *, raw: bool = False) -> Report:
    """What was measured and decided on a trace, and its text; or why a record became none."""
    here = opened.open(work)
    place = places.find(here, name)
    if not place.ids and (place.rejected or place.events):
        return _why_not(here, place)
    if len(place.ids) != 1:
        raise places.unclear(here, name, place)
    trace_id = place.ids[0]
    stored = here.row(trace_id)
    if raw:
        return Report(text=_raw(here, stored), data={"id": trace_id})
    evidence, decisions = here.decided()
    number = int(evidence.traces["id"].index_of(trace_id) or 0)
    batch, part, row = here.place(trace_id)
    made = edits.edits_of(
        door.read_table(here.work.file("evidence/edits", batch.source, part.name))
    ).get(row, [])
    edited = edits.apply(stored, made)
    found = evidence.findings.filter(pl.col("trace") == number).to_dicts()
    measured = {
        k: v
        for k, v in evidence.traces.row(number, named=True).items()
        if v is not None and k not in ("id", "source")
    }
    ledger = decisions.ledger.filter(pl.col("id") == trace_id)
    verdict = decisions.traces.row(number, named=True)
    head = "KEPT" if verdict["kept"] else f"DROPPED by {verdict['dropped_by']}"
    came = ", ".join(f"{o['file']}:{o['first'] + 1}-{o['last'] + 1}" for o in stored["provenance"])
    columns = (
        "stage",
        "code",
        "action",
        "value",
        "threshold",
        "message",
        "field",
        "winner",
        "detail",
    )
    spoke = Table("rules that spoke", columns, tuple(ledger.select(columns).iter_rows()))
    numbers = Table("measured", ("measure", "value"), tuple((k, v) for k, v in measured.items()))
    notes = [f"{e.op} by {e.code} at message {e.message}" for e in made]
    hints = [f"tracekit why -w {work} {trace_id} --raw"]
    hints += [f"tracekit why -w {work} {w}" for w in ledger["winner"].drop_nulls().unique()]
    return Report(
        text=[f"{trace_id}   {head}\nfrom {came}", "\n".join(drawing.lines(edited, found))],
        tables=[numbers, *([spoke] if ledger.height else [])],
        notes=notes,
        hints=hints,
        data={
            "id": trace_id,
            "kept": verdict["kept"],
            "dropped_by": verdict["dropped_by"],
            "measures": measured,
            "ledger": ledger.to_dicts(),
            "findings": found,
            "messages": edited["messages"],
            "tools": edited["tools"],
            "provenance": stored["provenance"],
        },
    )


def _why_not(here: Opened, place: places.Place) -> Report:
    text, data = [], []
    for source, part, file, row in place.rejected:
        table = door.read_table(here.work.file("rejects", source, part))
        for one in table.to_pylist():
            if one["file"] == file and one["row"] == row:
                raw = (one["raw"] or b"").decode("utf-8", "replace")
                text.append(
                    f"{source}:{file}#{row}   REJECT {one['code']}: {one['detail']}\n"
                    f"{one['raw_bytes']:,} bytes, as they came in:\n{drawing.folded(raw)}"
                )
                data.append({k: v for k, v in one.items() if k != "raw"} | {"source": source})
    for source, file, row, kind in place.events:
        text.append(f"{source}:{file}#{row}   EVENT {kind}: no message, counted by its dialect")
        data.append({"source": source, "file": file, "row": row, "event": kind})
    codes = [d["code"] for d in data if "code" in d]
    return Report(
        text=text, hints=[f"tracekit explain {c}" for c in codes[:1]], data={"records": data}
    )


def _raw(here: Opened, stored: Mapping[str, Any]) -> list[str]:
    """The records of a trace as they stand in the input now."""
    from tracekit import inputs, jsontext
    from tracekit.containers import read_slices
    from tracekit.parts import plan_parts
    from tracekit.planning import is_record

    source = stored["source"]
    fits = is_record(here.recipe, source)
    found = inputs.expand(
        list(here.recipe.paths(source)), source=source, spool_folder=here.work.spool,
        whole_is_record=fits,
    )  # fmt: skip
    root = found.sources[0].root
    text = []
    for origin in stored["provenance"]:
        plan = plan_parts(
            source, root, [origin["file"]], spool_folder=here.work.spool,
            whole_object_is_record=fits,
        )  # fmt: skip
        entry = next(f for b in here.manifest.batches for f in b.files if f.name == origin["file"])
        if plan.files[0].hash != entry.xxh3_128:
            raise UsageError(
                "the input changed since it was ingested",
                where=str(root / origin["file"]),
                fix="tracekit ingest ... --replace reads it again",
            )
        wanted = (s for p in plan.parts for s in p.slices)
        for _, one in read_slices(wanted):
            if origin["first"] <= one.row <= origin["last"]:
                raw = one.raw.decode("utf-8", "replace") if one.raw is not None else None
                text.append(raw if raw is not None else jsontext.dump(one.value))
    return text


def check(work: str | Path, assertions: Mapping[str, Any]) -> Report:
    """Assertions for CI: max_reject_share, no (codes), min_tokens. `failed` names what fails."""
    here = opened.open(work)
    evidence, decisions = here.decided()
    rows: list[tuple[str, str, str]] = []
    failed: list[str] = []
    examples: list[str] = []

    def verdict(fine: bool, name: str, told: str) -> None:
        rows.append(("ok" if fine else "FAIL", name, told))
        if not fine:
            failed.append(f"{name}: {told}")

    if "max_reject_share" in assertions:
        n = sum(p.n_records for _, p in here.manifest.parts())
        n_rejects = sum(p.n_rejects for _, p in here.manifest.parts())
        share, limit = n_rejects / max(n, 1), assertions["max_reject_share"]
        verdict(
            share <= limit, f"max_reject_share {limit}", f"{share:.6f} ({n_rejects:,} of {n:,})"
        )
    kept = decisions.traces.select("id", "kept").with_row_index("trace").cast({"trace": pl.Int32})
    for code in assertions.get("no", ()):
        _known_code(code)
        hits = (
            evidence.findings.filter(pl.col("code") == code).join(kept, on="trace").filter("kept")
        )
        flagged = decisions.ledger.filter(pl.col("code") == code).join(kept, on="id").filter("kept")
        ids = pl.concat([hits["id"], flagged["id"]]).unique().sort()
        verdict(ids.is_empty(), f"no {code}", f"{len(ids):,} kept traces")
        for i in ids.head(MOST_EXAMPLES):
            examples.append(f"{code}: {i}")
    if "min_tokens" in assertions:
        traces = evidence.traces.filter(decisions.traces["kept"])
        n_tokens = int(traces["n_tokens"].fill_null(0).sum())
        limit = assertions["min_tokens"]
        verdict(n_tokens >= limit, f"min_tokens {limit:,}", f"{n_tokens:,} tokens are kept")
    return Report(
        tables=[Table("", ("verdict", "check", "found"), tuple(rows))],
        failed=failed,
        notes=examples,
        hints=[f"tracekit why -w {work} ID"] if failed else [],
        data={
            "checks": [{"verdict": v, "check": c, "found": f} for v, c, f in rows],
            "failed": failed,
            "examples": examples,
        },
    )


def _known_code(code: str) -> None:
    from tracekit import registry

    known = {c.name for c in registry.codes() if c.kind in ("finding", "drop", "repair")}
    if code not in known:
        raise UsageError(
            f"unknown code {code!r}.{did_you_mean(code, known)}", fix="tracekit explain lists them"
        )


def what_if(
    work: str | Path, name: str, values: Sequence[float], *, recipe: Recipe | None = None
) -> Report:
    """What each value of a threshold would keep, by `decide` over stored evidence; writes nothing.

    Values of the dedupe threshold below the floor of the stored pairs are refused.
    """
    here = opened.open(work)
    recipe = recipe or here.recipe
    evidence = here.known()
    rules = rule_sets.of_recipe(recipe)
    if name == "threshold":
        floor = here.manifest.pairs.get("floor")
        if floor is None or min(values) < floor:
            raise UsageError(
                f"pairs are stored from {floor} up, so {min(values)} cannot be answered",
                expected=f"values from {floor} to 1",
                fix=f"tracekit dedupe -w {work} --threshold {min(values)} compares again",
                wrote="nothing was written",
            )
    code = "near_duplicate" if name == "threshold" else rule_sets.THRESHOLDS.get(name, ("",))[0]
    now = rules.threshold if name == "threshold" else next(
        (r.threshold for r in rules.rules if r.code == code), None
    )  # fmt: skip
    rows = []
    for value in values:
        decisions = decide.decide(evidence, rule_sets.moved(rules, name, value))
        kept = evidence.traces.with_columns(decisions.traces["n_target_tokens"]).filter(
            decisions.traces["kept"]
        )
        by_it = decisions.traces.filter(pl.col("dropped_by") == code)
        ledger = decisions.ledger.filter(pl.col("code") == code)
        near = ledger.with_columns((pl.col("value") - value).abs().alias("d")).sort("d", "id")
        rows.append(
            (
                value, value == now, by_it.height, kept.height,
                int(kept["n_tokens"].fill_null(0).sum()),
                int(kept["n_target_tokens"].fill_null(0).sum()),
                near["id"][0] if near.height else None,
            )
        )  # fmt: skip
    columns = (name, "now", "dropped_by_it", "kept", "tokens", "trained_on", "closest_dropped")
    table = Table("", columns, tuple(rows))
    return Report(
        tables=[table],
        notes=["nothing was written"],
        hints=[f"tracekit why -w {work} {rows[0][-1]}"] if rows and rows[0][-1] else [],
        data={"name": name, "values": table.records()},
    )
