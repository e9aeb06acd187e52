"""One command for the bench: tracekit, a plain script and datatrove on one corpus.

    python bench/run.py --mb 60 --mb-middle 300 --mb-large 600
        [--name NAME] [--without datatrove] [--repeat 3]

Every measurement is a whole process, start-up included: wall time, CPU time and peak memory of its
process tree. The steady rate is (bytes of the large corpus - bytes of the middle one) divided by
the difference of the two times, so start-up is not in it. The middle one must be several parts for
each worker: against a corpus of one part, the difference would count the second core as speed.
Results go to bench/results/NAME.json with the machine, the versions and the command;
`tracekit, empty caches` is a first run ever.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from importlib import metadata
from pathlib import Path

import psutil

HERE = Path(__file__).resolve().parent
DATATROVE = ("datatrove[io,processing]==0.10.1", "spacy>=3.8")
LIBRARIES = (
    *("tracekit-curation", "pyarrow", "polars", "numba", "numpy", "orjson", "fastokens"),
    *("tokenizers", "tiktoken", "datasketch"),
)


class Meter:
    """CPU seconds and peak memory of a process and all below it, sampled while it runs.

    Memory is the sum of PSS where the system tells it (shared pages count once), else of RSS. CPU
    time of a process is the last that was seen of it: children that nobody waits for count too.
    """

    def __init__(self, pid: int) -> None:
        self.root = psutil.Process(pid)
        self.cpu: dict[tuple[int, float], float] = {}
        self.peak_bytes = 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self) -> None:
        # Walking the page tables for PSS stops a process for 10 ms a gigabyte: once a second.
        ticks = 0
        while not self.done.wait(0.25):
            self.sample(with_memory=ticks % 4 == 0)
            ticks += 1

    def sample(self, *, with_memory: bool = True) -> None:
        total = 0
        try:
            tree = [self.root, *self.root.children(recursive=True)]
        except psutil.Error:
            return
        for process in tree:
            try:
                times = process.cpu_times()
                self.cpu[process.pid, process.create_time()] = times.user + times.system
                total += _memory(process) if with_memory else 0
            except (psutil.Error, OSError):
                continue
        self.peak_bytes = max(self.peak_bytes, total)

    def stop(self) -> None:
        self.done.set()
        self.thread.join()


def _memory(process: psutil.Process) -> int:
    rollup = Path(f"/proc/{process.pid}/smaps_rollup")
    if rollup.exists():
        for line in rollup.read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return process.memory_info().rss


def measure(command: list[str], env: dict[str, str] | None = None) -> tuple[dict, str]:
    """Run a command to its end: (what it cost, what it printed). Stops the bench if it fails."""
    before = os.times()
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
    )
    meter = Meter(process.pid)
    printed, errors = process.communicate()
    wall = time.perf_counter() - start
    meter.stop()
    after = os.times()
    if process.returncode != 0:
        sys.exit(f"{' '.join(command[:4])} ... ended with {process.returncode}\n{errors[-3000:]}")
    waited = after.children_user + after.children_system
    waited -= before.children_user + before.children_system
    cost = {
        "wall_s": round(wall, 2),
        "cpu_s": round(max(waited, sum(meter.cpu.values())), 2),
        "peak_mib": round(meter.peak_bytes / 2**20),
    }
    return cost, printed


RECIPE = """\
version: 1
name: bench
sources:
  corpus: {{path: {path}}}
dedupe: {{threshold: 0.8}}
filter: {{max_loop_share: 0.3}}
shard: {{tokens_per_shard: 10M}}
"""


def tracekit(corpus: Path, scratch: Path, workers: int, env: dict[str, str] | None = None) -> dict:
    import pyarrow.dataset as ds

    work, out = scratch / "work", scratch / "shards"
    for folder in (work, out):
        shutil.rmtree(folder, ignore_errors=True)
    recipe = scratch / "bench.yaml"
    recipe.write_text(RECIPE.format(path=json.dumps(f"{corpus}/corpus-*.jsonl")))
    command = [sys.executable, "-m", "tracekit", "run", str(recipe)]
    command += ["-w", str(work), "--out", str(out), "--workers", str(workers)]
    cost, _ = measure(command, env)
    shards = ds.dataset(out / "data", format="parquet").to_table(columns=["n_tokens"])
    tokens = sum(shards.column("n_tokens").to_pylist())
    return {**cost, "kept": shards.num_rows, "tokens": tokens}


def plain(corpus: Path, scratch: Path) -> dict:
    command = [sys.executable, str(HERE / "plain.py"), str(corpus), str(scratch / "plain.parquet")]
    cost, printed = measure(command)
    return {**cost, **json.loads(printed.splitlines()[-1])}


def datatrove(corpus: Path, scratch: Path, workers: int, store: Path) -> dict:
    python = store / "datatrove-venv" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(python.parent.parent)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *DATATROVE], check=True)
    from tracekit.vocabulary import qwen3_5_json

    tokenizer = scratch / "tokenizer.json"
    tokenizer.write_bytes(qwen3_5_json())
    command = [str(python), str(HERE / "datatrove_pipeline.py"), str(corpus)]
    command += [str(scratch / "datatrove"), str(tokenizer), "--workers", str(workers)]
    cost, printed = measure(command)
    return {**cost, **json.loads(printed.splitlines()[-1])}


def corpus(store: Path, mb: float, n_files: int) -> tuple[Path, int]:
    """Folder and bytes of a corpus, made where it is not there yet."""
    folder = store / f"corpus-{mb:g}mb-{n_files}"
    if not (folder / "truth.jsonl").exists():
        command = [sys.executable, str(HERE / "corpus.py"), "--mb", str(mb), "--out"]
        making = folder.with_suffix(".making")
        shutil.rmtree(making, ignore_errors=True)
        subprocess.run([*command, str(making), "--files", str(n_files)], check=True)
        making.rename(folder)
    return folder, sum(p.stat().st_size for p in folder.glob("corpus-*.jsonl"))


def machine() -> dict:
    """What the numbers depend on, and nothing that names the host."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            ln.split(":", 1)[1].strip()
            for ln in info.read_text().splitlines()
            if "model name" in ln
        ]
        model = names[0] if names else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
        "load_before": [round(x, 2) for x in os.getloadavg()],
    }


def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "datatrove": DATATROVE[0].split("==")[1]}
    return found | {name: metadata.version(name) for name in LIBRARIES}


def median(runs: list[dict]) -> dict:
    """The run with the middle wall time, with all wall times beside it."""
    ordered = sorted(runs, key=lambda r: r["wall_s"])
    return {**ordered[(len(ordered) - 1) // 2], "all_wall_s": [r["wall_s"] for r in runs]}


def row(name: str, n_bytes: int, run: dict) -> dict:
    mb = n_bytes / 1e6
    return {
        "name": name,
        "mb": round(mb, 1),
        "mb_per_s": round(mb / run["wall_s"], 2),
        "cpu_s_per_gb": round(run["cpu_s"] / mb * 1000, 1),
        **run,
    }


def report(rows: list[dict], ratios: dict[str, float]) -> str:
    lines = [f"{name:<44}{value:>10.1f}" for name, value in ratios.items()] + [""]
    head = ("", "MB", "wall s", "MB/s", "CPU s/GB", "MiB", "kept", "tokens")
    keys = ("name", "mb", "wall_s", "mb_per_s", "cpu_s_per_gb", "peak_mib", "kept", "tokens")
    table = [head, *[tuple(str(r.get(k, "")) for k in keys) for r in rows]]
    for cells in table:
        lines.append(f"{cells[0]:<28}" + "".join(f"{c:>12}" for c in cells[1:]))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mb", type=float, default=60)
    parser.add_argument("--mb-middle", type=float, default=300)
    parser.add_argument("--mb-large", type=float, default=600, help="0: no steady rate")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repeat", type=int, default=3, help="runs of tracekit; the median counts")
    parser.add_argument("--name", default="bench")
    parser.add_argument("--store", type=Path, default=HERE / ".corpus")
    choices = ["tracekit", "plain", "datatrove", "cold"]
    parser.add_argument("--without", action="append", default=[], choices=choices)
    options = parser.parse_args()
    options.store.mkdir(parents=True, exist_ok=True)
    small, n_small = corpus(options.store, options.mb, options.workers)
    rows: list[dict] = []
    ratios: dict[str, float] = {}
    state = machine()
    with tempfile.TemporaryDirectory(dir=options.store) as name:
        scratch = Path(name)
        if "tracekit" not in options.without:
            if "cold" not in options.without:
                empty = {
                    "TRACEKIT_CACHE": str(scratch / "cache"),
                    "NUMBA_CACHE_DIR": str(scratch / "n"),
                }
                first = tracekit(small, scratch, options.workers, empty)
                rows.append(row("tracekit, empty caches", n_small, first))
            tracekit(small, scratch, options.workers)  # fills the caches
            runs = [tracekit(small, scratch, options.workers) for _ in range(options.repeat)]
            rows.append(row("tracekit", n_small, median(runs)))
            sizes = {"middle": options.mb_middle, "large": options.mb_large}
            for size, mb in sizes.items() if options.mb_large else ():
                folder, n_bytes = corpus(options.store, mb, options.workers)
                runs = [tracekit(folder, scratch, options.workers) for _ in range(options.repeat)]
                rows.append(row(f"tracekit, {size}", n_bytes, median(runs)))
        if "plain" not in options.without:
            runs = [plain(small, scratch) for _ in range(min(2, options.repeat))]
            rows.append(row("plain script, one process", n_small, median(runs)))
        if "datatrove" not in options.without:
            made = datatrove(small, scratch, options.workers, options.store)
            rows.append(row("datatrove, no filters", n_small, made))
    by_name = {r["name"]: r for r in rows}
    own = by_name.get("tracekit")
    others = ("plain script, one process", "datatrove, no filters")
    for other in others:
        if own and other in by_name:
            ratios[f"tracekit : {other} (wall)"] = by_name[other]["wall_s"] / own["wall_s"]
            ratios[f"tracekit : {other} (CPU)"] = by_name[other]["cpu_s"] / own["cpu_s"]
    if own and options.mb_large:
        large, middle = by_name["tracekit, large"], by_name["tracekit, middle"]
        steady = (large["mb"] - middle["mb"]) / (large["wall_s"] - middle["wall_s"])
        mb_of_500m = 500e6 / large["tokens"] * large["mb"]
        ratios["tracekit, steady MB/s"] = steady
        ratios["tracekit, steady CPU s/GB"] = (
            (large["cpu_s"] - middle["cpu_s"]) / (large["mb"] - middle["mb"]) * 1000
        )
        ratios["500M tokens in shards, s (extrapolated)"] = (
            large["wall_s"] + (mb_of_500m - large["mb"]) / steady
        )
        for other in others:
            if other in by_name:
                ratios[f"tracekit large : {other} (MB/s)"] = (
                    large["mb_per_s"] / by_name[other]["mb_per_s"]
                )
    result = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": "python bench/run.py " + " ".join(_shown(options)),
        "machine": state,
        "versions": versions(),
        "ratios": {k: round(v, 2) for k, v in ratios.items()},
        "runs": rows,
    }
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    (results / f"{options.name}.json").write_text(json.dumps(result, indent=2) + "\n")
    print(report(rows, ratios))


def _shown(options: argparse.Namespace) -> list[str]:
    words = [f"--mb {options.mb:g}", f"--mb-middle {options.mb_middle:g}"]
    words += [f"--mb-large {options.mb_large:g}"]
    words += [f"--workers {options.workers}", f"--repeat {options.repeat}"]
    return [*words, *[f"--without {w}" for w in options.without]]


if __name__ == "__main__":
    main()
