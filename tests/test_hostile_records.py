"""Hostile records between good ones, through the ingest of a part: nothing escapes, nothing leaks.

`TRACEKIT_FUZZ` times as many inputs when it is set: `TRACEKIT_FUZZ=50` for a night.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.parquet as pq
import pytest

from hostile import mutated_bytes, mutated_values, raw_of, spots
from test_dialects import DATA, NAMES, fixture, records_of, units_of
from tracekit import dialects, jsontext
from tracekit.dialects import Notes, Record
from tracekit.errors import BadRecord
from tracekit.executors import Trouble
from tracekit.ingesting import IngestJob, ingest_part
from tracekit.parts import Part, Slice
from tracekit.workspace import Workspace

N_INPUTS = 20_000 * int(os.environ.get("TRACEKIT_FUZZ", "1"))
N_EACH = -(-N_INPUTS // len(NAMES))
FAULTS = {"dialect_failed", "bad_trace", "worker_crash", "timeout", "out_of_memory"}

Unit = list[bytes]


def read_units(name: str, units: list[Unit], folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The tables of one part with these units: to the dialect each is a file of its own."""
    slices, at, n_records = [], 0, 0
    for k, unit in enumerate(units):
        n_bytes = sum(len(line) + 1 for line in unit)
        slices.append(Slice(f"{k}.jsonl", str(folder / "f.jsonl"), "lines", 0, at, at + n_bytes))
        at, n_records = at + n_bytes, n_records + len(unit)
    (folder / "f.jsonl").write_bytes(b"".join(line + b"\n" for unit in units for line in unit))
    part = Part("000-00000", "s", tuple(slices), at, (1,) * len(slices))
    work = folder / "work"
    job = IngestJob(work=str(work), part=part, dialect=name, fingerprint="0" * 32)
    receipt = ingest_part(job, Trouble(), lambda first, end: None)["part"]
    assert receipt["n_records"] == n_records
    assert n_records == receipt["n_merged"] + receipt["n_events"] + receipt["n_rejects"]
    place = Workspace(work)
    return {
        table: pq.read_table(place.file(table, "s", "000-00000")).to_pylist()
        for table in ("traces", "rejects", "events")
    }


def by_unit(tables: dict[str, list[dict[str, Any]]], n_units: int) -> list[list[Any]]:
    """What each unit became, without the name of its file."""
    found: list[list[Any]] = [[] for _ in range(n_units)]
    for trace in tables["traces"]:
        rows = [(place["first"], place["last"]) for place in trace["provenance"]]
        said = {key: v for key, v in trace.items() if key not in ("id", "provenance")}
        found[_number(trace["provenance"][0]["file"])].append(("trace", rows, said))
    for table, word in (("rejects", "code"), ("events", "type")):
        for one in tables[table]:
            found[_number(one["file"])].append((table, one["row"], one[word]))
    return found


def _number(file: str) -> int:
    return int(file.removesuffix(".jsonl"))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_record_between_two_good_ones(name: str, tmp_path: Path) -> None:
    dice = Random(f"hostile {name}")
    dialect = dialects.get(name)
    good = [[r.value for r in unit] for unit in units_of(dialect, records_of(name))]
    lines = [[raw_of(value) for value in unit] for unit in good]
    others = sorted(DATA.glob("*.jsonl"))
    units: list[Unit] = []
    for k in range(N_EACH):
        chosen = dice.randrange(len(good))
        if k % 4 == 0:
            unit = list(lines[chosen])
            at = dice.randrange(len(unit))
            unit[at] = mutated_bytes(dice, unit[at], dice.choice(dice.choice(lines)))
        else:
            far = dice.choice(dice.choice(good))
            if dice.random() < 0.1:
                far = json.loads(dice.choice(fixture(dice.choice(others).stem)))
            unit = [raw_of(value) for value in mutated_values(dice, good[chosen], [far])]
        units += [lines[k % len(lines)], unit]
    units.append(lines[N_EACH % len(lines)])
    alone = by_unit(read_units(name, lines, tmp_path), len(lines))
    tables = read_units(name, units, tmp_path)
    faults = [(r["code"], r["detail"], r["raw"][:300]) for r in tables["rejects"]]
    assert not [fault for fault in faults if fault[0] in FAULTS]
    became = by_unit(tables, len(units))
    for k in range(0, len(units), 2):
        assert became[k] == alone[k // 2 % len(lines)], f"neighbour {k} of {units[k - 1 : k + 2]}"
    for unit in units[1::2]:
        for raw in unit:
            try:
                value = jsontext.parse(raw)
            except BadRecord:
                continue
            dialects.recognise([value])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_any_one_value_of_another_type_is_read_or_refused(name: str) -> None:
    dialect = dialects.get(name)
    for unit in units_of(dialect, records_of(name)):
        values = [record.value for record in unit]
        for holder, key in spots(values):
            old = holder[key]
            for put in (1.5, True, "x", ["x"], {"x": "x"}, [[]], None):
                holder[key] = put
                records = [Record("f.jsonl", k, value) for k, value in enumerate(values)]
                with contextlib.suppress(BadRecord):
                    dialect.read(copy.deepcopy(records), Notes(), {})
            holder[key] = old


# Cost.


def work_of(name: str, values: list[Any]) -> int:
    """Calls of Python and C functions while a unit is read."""
    n_calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal n_calls
        n_calls += event in ("call", "c_call")

    records = [Record("f.jsonl", k, value) for k, value in enumerate(values)]
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        with contextlib.suppress(BadRecord):
            dialects.get(name).read(records, Notes(), {})
    finally:
        sys.setprofile(before)
    return n_calls


def lists_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of the lists of records inside of a value."""
    found = []
    if isinstance(value, list) and value and isinstance(value[0], (dict, list)):
        found.append(path)
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        if isinstance(inner, (dict, list)):
            found.extend(lists_of(inner, (*path, key)))
    return found


def grown(value: Any, path: tuple[Any, ...], n: int) -> Any:
    """The value with one of its lists n times as long."""
    if not path:
        return [copy.deepcopy(inner) for _ in range(n) for inner in value]
    held = copy.copy(value)
    held[path[0]] = grown(value[path[0]], path[1:], n)
    return held


def longer(values: list[Any], token: str, n: int) -> list[Any]:
    """Every text of some length with a token n times behind it."""

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: walk(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [walk(inner) for inner in value]
        if isinstance(value, str) and len(value) > 12 and " " in value:
            return value + token * n
        return value

    return [walk(value) for value in values]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_list_twice_as_long_costs_at_most_three_times_the_work(name: str) -> None:
    dialect = dialects.get(name)
    for unit in units_of(dialect, records_of(name)):
        values = [record.value for record in unit]
        paths = lists_of(values)[1 if dialect.unit == "record" else 0 :]
        for path in paths:
            few, many = (work_of(name, grown(values, path, n)) for n in (20, 40))
            assert many <= 3 * few + 2000, f"{path}: {few:,} calls, then {many:,}"


LONG_TOKENS = (
    "<think>", "</think>", "<tool_call>{", "</tool_call>", "<|channel|>analysis", "{", "[", '["',
    "\\", "```", "```\n", "\n\n", " ", "Action: x\n", "Thought: ", "\nObservation:", "<function=a>",
    "<a>", "<execute>", "$", "\\boxed{", "####", "a", "a ", "(", "1", "<<1=", "<|im_start|>user\n",
)  # fmt: skip
LONG, SLACK_S = 4_000, 0.15


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_long_text_costs_time_in_line_with_its_length(name: str) -> None:
    dialect = dialects.get(name)
    units = [[record.value for record in unit] for unit in units_of(dialect, records_of(name))]

    def seconds(token: str, n: int) -> float:
        loads = [longer(unit, token, n) for unit in units]
        began = time.process_time()
        for load in loads:
            with contextlib.suppress(BadRecord):
                dialect.read([Record("f", k, v) for k, v in enumerate(load)], Notes(), {})
        return time.process_time() - began

    for token in LONG_TOKENS:
        long = seconds(token, 8 * LONG)
        if long > SLACK_S:  # else too short to measure, and short enough
            # Quadratic cost is 64 times as much.
            assert long <= 24 * max(seconds(token, LONG), 0.005), repr(token)
