"""A small mix for the tests of the token profiles, and their rows as Python values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from road import says, user


def rows_of(out: Path) -> list[dict[str, Any]]:
    manifest = json.loads((out / "manifest.json").read_bytes())
    return [r for s in manifest["shards"] for r in pq.read_table(out / s["file"]).to_pylist()]


def unpacked(rows: list[dict[str, Any]]) -> list[tuple[str, int, list[int], list[int]]]:
    found = []
    for row in rows:
        ends = np.cumsum(row["seq_lengths"]).tolist()
        for trace, number, n, end in zip(
            row["ids"], row["samples"], row["seq_lengths"], ends, strict=True
        ):
            at = slice(end - n, end)
            found.append((trace, number, row["input_ids"][at], row["labels"][at]))
    return found


def chat(k: int, n_words: int) -> dict[str, Any]:
    told = " ".join(f"{k + j} and {k * j}" for j in range(n_words))
    return {
        "messages": [
            user(f"Which number is {k}?"), says("A number.", reasoning=f"Number {k}, I think."),
            user(f"And the {k}th list?"), says(told, reasoning=f"Let me count to {n_words}."),
        ]
    }  # fmt: skip


RECORDS = [chat(k, 40 + 37 * k % 350) for k in range(30)]
SETTINGS: dict[str, Any] = {
    "dedupe": False,
    "render": {"history_thinking": "strip"},
    "shard": {"profile": "packed", "context": 4_000, "tokens_per_shard": 20_000},
}


def with_shard(**changes: Any) -> dict[str, Any]:
    return {**SETTINGS, "shard": {**SETTINGS["shard"], **changes}}
