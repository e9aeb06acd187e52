"""Dialects: how fast each reads records to stored traces, on one core, in one run.

    python bench/dialects.py [--mb 8] [--traces FOLDER] [--only NAME...] [--name dialects]

What is timed is the ingest function of a part, in this process: framing, parse, dialect, door,
Arrow, Parquet. Records are those of the fixture of a dialect, repeated with fresh numbers (a text
in two is another one each time, a session has an id of its own); a dialect of whole files gets a
file a copy. With --traces the real files below FOLDER that it reads come as well, read again until
there is enough of them. The bar of a dialect is for its real files and, where there are none, for
the fixture; both numbers are in the result. It is in MB/s where a record is 1 kB and more, and in
records a second below: a record of 150 bytes costs what its objects cost, however short they are.

Three loads have bars of their own: long records (OpenAI, Anthropic, ShareGPT) in CPU seconds a GB
for planning and reading together, records of about 1 kB with tool calls in records a second.
"""

import argparse
import copy
import datetime
import gc
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from corpus import make
from run import machine, versions

from tracekit import dialects, sniffing
from tracekit.executors import Trouble
from tracekit.ingesting import ingest_part
from tracekit.manifest import Manifest
from tracekit.planning import Selection, plan
from tracekit.recipe import Recipe
from tracekit.workspace import Workspace

HERE = Path(__file__).resolve().parent
FIXTURES = HERE.parent / "tests" / "data" / "dialects"

MB_S = 7.5
"""Bar of a dialect on one core, where its records are not short: 15 MB/s on two."""
SHORT_BYTES = 1000
LONG_S_GB = 16.0
"""Bar of long records: CPU seconds a GB, planning and reading."""
CALLS_S = 12_500
"""Bar of tool-call records of about 1 kB, and of short records, on one core: 25,000/s on two."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One load: what was read and what it took."""

    n_bytes: int
    n_records: int
    n_traces: int
    n_rejects: int
    plan_cpu_s: float
    cpu_s: float

    def told(self) -> dict[str, Any]:
        return {
            "bytes": self.n_bytes,
            "records": self.n_records,
            "traces": self.n_traces,
            "rejects": self.n_rejects,
            "plan_cpu_s": round(self.plan_cpu_s, 3),
            "cpu_s": round(self.cpu_s, 3),
            "mb_s": round(self.n_bytes / 1e6 / self.cpu_s, 1),
            "records_s": round(self.n_records / self.cpu_s),
            "whole_s_gb": round((self.plan_cpu_s + self.cpu_s) / self.n_bytes * 1e9, 1),
        }


def quiet(first: int, end: int) -> None:
    """Nobody waits for the progress of a bench."""


def read(name: str, paths: list[Path], scratch: Path, n_bytes: float) -> Reading:
    """Plan the files of one dialect once, read them until n_bytes were read."""
    recipe = Recipe.from_dict(
        {"sources": {"s": {"path": [str(p) for p in paths], "dialect": name}}}
    )
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        work = Workspace(Path(folder))
        gc.collect()
        began = time.process_time()
        planning = plan(recipe, work, Manifest(), Selection(), replaced=False)
        planned = time.process_time()
        jobs = [job for batch in planning.batches for job in batch.jobs]
        once = sum(job.part.plain_bytes for job in jobs)
        n_turns = max(1, round(n_bytes / max(once, 1)))
        n_records = n_traces = n_rejects = 0
        for job in jobs:
            # One part again and again, for a part of a few records is all tables and receipts.
            slices, units = job.part.slices * n_turns, job.part.unit_slices * n_turns
            job = replace(job, part=replace(job.part, slices=slices, unit_slices=units))
            part = ingest_part(job, Trouble(), quiet)["part"]
            n_records += part["n_records"]
            n_traces += part["n_traces"]
            n_rejects += part["n_rejects"]
        took = time.process_time() - planned
        return Reading(
            once * n_turns, n_records, n_traces, n_rejects, (planned - began) * n_turns, took
        )


# Loads.


def fresh(value: Any, k: int) -> Any:
    """The value with a number behind every second text of some length."""
    n_seen = 0

    def walk(part: Any) -> Any:
        nonlocal n_seen
        if isinstance(part, dict):
            return {key: walk(inner) for key, inner in part.items()}
        if isinstance(part, list):
            return [walk(inner) for inner in part]
        if isinstance(part, str) and len(part) > 20 and " " in part and part[-1] not in ">]}":
            n_seen += 1
            return f"{part} {k}" if n_seen % 2 else part
        return part

    return walk(copy.deepcopy(value))


def of_fixture(name: str, folder: Path, n_bytes: float) -> list[Path]:
    """Files with the fixture of a dialect over and over."""
    dialect = dialects.get(name)
    values = [json.loads(line) for line in (FIXTURES / f"{name}.jsonl").read_text().splitlines()]
    keys = {key for value in values if (key := dialect.key(value)) is not None}
    size = sum(len(json.dumps(value, ensure_ascii=False).encode()) + 1 for value in values)
    n_copies = max(1, round(n_bytes / size))

    def lines(k: int) -> Iterator[str]:
        for value in values:
            line = json.dumps(fresh(value, k), ensure_ascii=False)
            for key in keys:
                line = line.replace(json.dumps(key), json.dumps(f"{key}-{k}"))
            yield line + "\n"

    if dialect.unit == "record":
        path = folder / "f.jsonl"
        with path.open("w") as file:
            for k in range(n_copies):
                file.writelines(lines(k))
        return [path]
    for k in range(n_copies):
        (folder / f"{k:06d}.jsonl").write_text("".join(lines(k)))
    return [folder]


def long_openai(record: dict[str, Any]) -> dict[str, Any]:
    return record


def long_anthropic(record: dict[str, Any]) -> dict[str, Any]:
    said = []
    for message in record["messages"]:
        blocks = [{"type": "text", "text": message["content"]}]
        if "reasoning_content" in message:
            thought = {"type": "thinking", "thinking": message["reasoning_content"]}
            blocks.insert(0, {**thought, "signature": "c2ln"})
        said.append({"role": message["role"], "content": blocks})
    return {"id": record["id"], "model": "m", "messages": said}


def long_sharegpt(record: dict[str, Any]) -> dict[str, Any]:
    said = []
    for message in record["messages"]:
        text = message["content"]
        if "reasoning_content" in message:
            text = f"<think>\n{message['reasoning_content']}\n</think>\n\n{text}"
        said.append({"from": {"user": "human"}.get(message["role"], "gpt"), "value": text})
    return {"id": record["id"], "conversations": said}


N_TOOLS = 2000
"""Tools that the records of one source choose from; xLAM's 60,000 have some 3,700."""


def declared(k: int) -> dict[str, Any]:
    properties = {
        "city": {"type": "string", "description": f"Name of city number {k}, as on its sign"},
        "day": {"type": "integer", "description": "Days from now"},
    }
    schema = {"type": "object", "properties": properties, "required": ["city"]}
    return {"name": f"rain_{k % 40}", "description": "Rain of one day in mm", "parameters": schema}


def calls_openai(k: int) -> dict[str, Any]:
    call = {"name": f"rain_{k % 40}", "arguments": json.dumps({"city": f"Town {k}", "day": k % 9})}
    calls = [{"id": f"call_{k}", "type": "function", "function": call}]
    messages = [
        {"role": "user", "content": f"How wet will Town {k} be in {k % 9} days? A sum, please."},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": f"call_{k}", "content": json.dumps({"mm": k % 31})},
        {"role": "assistant", "content": f"Town {k} gets {k % 31} mm of rain on that day."},
    ]
    tools = [{"type": "function", "function": declared(k % 40)}]
    return {"id": f"c{k}", "messages": messages, "tools": tools}


def calls_xlam(k: int) -> dict[str, Any]:
    tools = []
    for j in range(3):
        one = declared((k + 7 * j) % N_TOOLS)
        tools.append(one | {"parameters": one["parameters"]["properties"]})
    answers = [{"name": f"rain_{k % 40}", "arguments": {"city": f"Town {k}", "day": k % 9}}]
    return {
        "id": k, "query": f"How wet will Town {k} be in {k % 9} days?",
        "tools": json.dumps(tools), "answers": json.dumps(answers),
    }  # fmt: skip


LONG: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "openai": long_openai,
    "anthropic": long_anthropic,
    "sharegpt": long_sharegpt,
}
CALLS: dict[str, Callable[[int], dict[str, Any]]] = {"openai": calls_openai, "xlam": calls_xlam}


def long_records(scratch: Path, mb: float) -> dict[str, dict[str, Any]]:
    make(scratch / "corpus", mb)
    told = {}
    for name, shaped in LONG.items():
        path = scratch / f"long-{name}.jsonl"
        with path.open("w") as file:
            for line in (scratch / "corpus" / "corpus-00.jsonl").open():
                file.write(json.dumps(shaped(json.loads(line)), ensure_ascii=False) + "\n")
        told[name] = read(name, [path], scratch, 0).told()
    return told


def call_records(scratch: Path, mb: float) -> dict[str, dict[str, Any]]:
    told = {}
    for name, shaped in CALLS.items():
        path = scratch / f"calls-{name}.jsonl"
        lines, n_bytes = [], 0
        while n_bytes < mb * 1e6:
            lines.append(json.dumps(shaped(len(lines))) + "\n")
            n_bytes += len(lines[-1])
        path.write_text("".join(lines))
        told[name] = read(name, [path], scratch, 3 * n_bytes).told()
    return told


def real_files(folder: Path) -> dict[str, list[Path]]:
    """Files below a folder by the dialect that reads them."""
    found: dict[str, list[Path]] = {}
    for one in sniffing.look([str(folder)])[0]:
        if one.dialect is not None:
            found.setdefault(one.dialect, []).append(one.path)
    return found


def misses(result: dict[str, Any]) -> list[str]:
    """What is under its bar, in words."""
    found = []
    for name, one in result["dialects"].items():
        told = one.get("real", one["fixture"])
        short = told["bytes"] / max(told["records"], 1) < SHORT_BYTES
        if told["mb_s"] < MB_S and not (short and told["records_s"] >= CALLS_S):
            found.append(f"{name}: {told['mb_s']} MB/s, {told['records_s']:,} records/s")
    for name, told in result["long"].items():
        if told["whole_s_gb"] > LONG_S_GB:
            found.append(f"long {name}: {told['whole_s_gb']} CPU s/GB")
    for name, told in result["calls"].items():
        if told["records_s"] < CALLS_S:
            found.append(f"calls {name}: {told['records_s']:,} records/s")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mb", type=float, default=8)
    parser.add_argument("--traces", type=Path)
    parser.add_argument("--only", nargs="*", choices=sorted(dialects.DIALECTS))
    parser.add_argument("--name", default="dialects")
    options = parser.parse_args()
    names = options.only or list(dialects.DIALECTS)
    n_bytes = options.mb * 1e6
    result: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "command": f"python bench/dialects.py --mb {options.mb:g}"
        + (" --traces FOLDER" if options.traces else ""),
        "machine": machine(),
        "versions": versions(),
        "bars": {"mb_s": MB_S, "long_s_gb": LONG_S_GB, "calls_records_s": CALLS_S},
        "dialects": {},
        "long": {},
        "calls": {},
    }
    print(f"{'dialect':26s} {'fixture MB/s':>12s} {'records/s':>10s} {'real MB/s':>10s}")
    gc.disable()  # as a worker does
    with tempfile.TemporaryDirectory() as held:
        scratch = Path(held)
        real = real_files(options.traces) if options.traces else {}
        for name in names:
            # Imports, tables and the first use of a kernel are no speed of a dialect.
            with tempfile.TemporaryDirectory(dir=scratch) as folder:
                read(name, of_fixture(name, Path(folder), 1), scratch, 0)
            with tempfile.TemporaryDirectory(dir=scratch) as folder:
                made = of_fixture(name, Path(folder), n_bytes)
                told = {"fixture": read(name, made, scratch, 0).told()}
            if name in real:
                told["real"] = read(name, real[name], scratch, n_bytes).told()
            result["dialects"][name] = told
            shown = f"{told['real']['mb_s']:10.1f}" if "real" in told else ""
            fixture = told["fixture"]
            print(f"{name:26s} {fixture['mb_s']:12.1f} {fixture['records_s']:10,} {shown}")
        if not options.only:
            result["long"] = long_records(scratch, options.mb * 4)
            result["calls"] = call_records(scratch, options.mb)
    for load in ("long", "calls"):
        for name, told in result[load].items():
            print(
                f"{load} {name:20s} {told['mb_s']:8.1f} MB/s {told['records_s']:10,} records/s "
                f"{told['whole_s_gb']:6.1f} CPU s/GB"
            )
    result["under_the_bar"] = misses(result)
    out = HERE / "results" / f"{options.name}.json"
    out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print("under the bar:", "; ".join(result["under_the_bar"]) or "nothing")


if __name__ == "__main__":
    main()
