"""Check a finished folder again, shards or workspace: every file, every sum.

Nothing is trusted but the manifest's seal: hashes, rows, tokens, row digests and the sums of the
law are all computed anew.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tracekit import door, product, profiles, reading, shard_rows, token_rows
from tracekit import manifest as manifests
from tracekit.errors import InputError, LawError, StorageError
from tracekit.manifest import fingerprint
from tracekit.report import Report, Table
from tracekit.token_rows import Ints
from tracekit.workspace import Workspace


def verify(path: str | Path) -> Report:
    """Report with one row a check; `failed` names what does not hold.

    Raises InputError where the folder is neither shards nor a workspace, or of a newer format.
    """
    path = Path(path)
    try:
        value = json.loads((path / "manifest.json").read_bytes())
    except FileNotFoundError:
        raise InputError(
            "no manifest here",
            where=str(path),
            expected="a folder of shards or a workspace that tracekit finished",
            fix="an interrupted run leaves no manifest: run the same command again",
        ) from None
    except OSError as error:
        raise door.storage_error(error, "read", path / "manifest.json") from error
    except ValueError:
        value = None
    if not isinstance(value, dict):
        return _report([("manifest", "the manifest is no JSON object", False)])
    newest = manifests.FORMAT
    if isinstance(value.get("format"), int) and value["format"] > newest:
        raise InputError(
            f"this folder has format {value['format']}; this release reads up to {newest}",
            where=str(path),
            fix="upgrade tracekit",
        )
    seal = value.pop("seal", None)
    checks = [("seal", "manifest.json as it was written", seal == fingerprint(value))]
    if not checks[0][2]:
        return _report(checks)  # what a damaged manifest says cannot be held against the files
    checks += list(_shards(path, value)) if "shards" in value else list(_workspace(path))
    return _report(checks)


def _report(checks: list[tuple[str, str, bool]]) -> Report:
    bad = [f"{name}: {what}" for name, what, fine in checks if not fine]
    counts: dict[str, list[int]] = {}
    for name, _, fine in checks:
        seen = counts.setdefault(name, [0, 0])
        seen[0] += 1
        seen[1] += not fine
    rows = [(name, n, failed, "FAILED" if failed else "ok") for name, (n, failed) in counts.items()]
    table = Table("", ("check", "of", "failed", "verdict"), tuple(rows))
    return Report(
        tables=[table],
        failed=bad,
        notes=[] if bad else ["everything is as it was written"],
        data={"checks": table.records(), "failed": bad},
    )


def _shards(path: Path, manifest: dict[str, Any]) -> Iterator[tuple[str, str, bool]]:
    sums: Counter[str] = Counter()
    told = manifest.get("profile", {"name": "messages"})
    profile = profiles.named(told["name"])
    samples = Samples()
    for entry in manifest["shards"]:
        name = entry["file"]
        file = path / name
        if not file.is_file():
            yield "sha256", f"{name} is missing", False
            continue
        yield "sha256", name, door.sha256_of(file) == entry["sha256"]
        yield "bytes", name, file.stat().st_size == entry["n_bytes"]
        try:
            table = door.read_table(file)
        except StorageError as error:
            yield "pages", f"{name}: {error.what}", False
            continue
        yield "pages", name, True
        yield "schema", name, table.schema.equals(profile.schema)
        if not table.schema.equals(profile.schema):
            continue
        found = {
            "rows": table.num_rows,
            "n_tokens": int(np.sum(table.column("n_tokens").fill_null(0).to_numpy())),
            "n_target_tokens": int(np.sum(table.column("n_target_tokens").fill_null(0).to_numpy())),
        }
        if profile.has_tokens:
            found["rows_without_target"] = token_rows.rows_without_target(table)
        for key, n in found.items():
            yield key, f"{name}: {n:,} against {entry[key]:,}", n == entry[key]
            sums[key] += n
        yield "row digest", name, shard_rows.row_digest(table) == entry["row_digest"]
        if profile.has_tokens:
            for check, what, holds in token_rows.checks(table, told.get("context")):
                yield check, f"{name}: {what}", holds
            samples.add(*token_rows.samples_in(table))
        else:
            none = np.zeros(table.num_rows, np.int64)
            samples.add(table.column("id").to_pylist(), none, none)
    yield from samples.checks(manifest["traces"], told)
    wanted = {**manifest, **told}
    same = ("n_tokens", "n_target_tokens", *(["rows_without_target"] * profile.has_tokens))
    for key, total in (("rows", profile.rows), *((key, key) for key in same)):
        yield (
            "sums",
            f"{key}: {sums[key]:,} against {wanted[total]:,}",
            (sums[key] == wanted[total]),
        )
    if "fill_share" in told:
        share = token_rows.fill_share(sums["n_tokens"], sums["rows"], told["context"])
        yield (
            "sums",
            f"fill_share: {share} against {told['fill_share']}",
            share == told["fill_share"],
        )
    n_all = manifest["traces"] + sum(manifest["dropped"].values())
    line = product.kept_law(n_all, manifest["traces"])
    yield "law", line, line in manifest["law"]
    named = {entry["file"] for entry in manifest["shards"]}
    found_files = {f.relative_to(path).as_posix() for f in path.rglob("*.parquet")}
    for extra in sorted(found_files - named):
        yield "no other files", f"{extra} is not named in the manifest", False
    yield "no other files", "", True


@dataclass(slots=True)
class Samples:
    """Which samples of which traces were found, over all files."""

    seen: set[tuple[str, int]] = field(default_factory=set)
    """(id of the trace, number of the sample)."""
    n: int = 0
    longest_tokens: int = 0

    def add(self, ids: list[str], samples: Ints, tokens: Ints) -> None:
        """Samples of one file."""
        self.n += len(ids)
        self.longest_tokens = max(self.longest_tokens, int(tokens.max(initial=0)))
        self.seen.update(zip(ids, samples.tolist(), strict=True))

    def checks(self, n_traces: int, told: dict[str, Any]) -> Iterator[tuple[str, str, bool]]:
        """Each sample once, the samples of a trace without a gap, as many as the manifest says."""
        yield "ids unique", f"{len(self.seen):,} in {self.n:,} rows", len(self.seen) == self.n
        last: dict[str, int] = {}
        for trace, number in self.seen:
            last[trace] = max(last.get(trace, 0), number)
        whole = sum(n + 1 for n in last.values()) == len(self.seen)
        if "n_samples" in told:
            yield "samples", f"all of {len(last):,} traces, from 0 on", whole
            for key, n in (("n_samples", self.n), ("longest_sample_tokens", self.longest_tokens)):
                yield "sums", f"{key}: {n:,} against {told[key]:,}", n == told[key]
        yield "sums", f"traces: {len(last):,} against {n_traces:,}", len(last) == n_traces


def _workspace(path: Path) -> Iterator[tuple[str, str, bool]]:
    work = Workspace(path)
    try:
        manifest = manifests.load(work)
    except StorageError as error:
        yield "manifest", error.what, False
        return
    damaged = set()
    for batch, part in manifest.parts():
        for thing, sha256 in part.files.items():
            check = _file(thing, work.file(thing, batch.source, part.name), sha256)
            yield check
            if not check[2]:
                damaged.add((batch.source, batch.number))
    for family, parts in manifest.evidence.items():
        for key, entry in parts.items():
            source, _, name = key.rpartition("/")
            yield _file("evidence", work.file(f"evidence/{family}", source, name), entry.sha256)
    if manifest.pairs:
        yield _file("pairs", work.pairs, manifest.pairs["sha256"])
    if manifest.ledger:
        yield _file("ledger", work.ledger, manifest.ledger["sha256"])
        yield _file("ledger", work.decisions, manifest.ledger["decisions_sha256"])
    for batch in manifest.batches:
        if (batch.source, batch.number) in damaged:
            yield "law", f"{batch.source}: its files are not what they were", False
            continue
        try:
            reading.check_law(work, batch)
        except LawError as error:
            yield "law", error.what, False
        else:
            yield "law", batch.source, True


def _file(check: str, path: Path, sha256: str) -> tuple[str, str, bool]:
    if not path.is_file():
        return check, f"{path.name} is missing ({path})", False
    return check, str(path), door.sha256_of(path) == sha256
