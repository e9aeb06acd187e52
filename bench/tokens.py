"""Tokens: rendered Qwen3.5 text through tracekit's encoder and through tiktoken, in one run.

    python bench/tokens.py [--mb 64] [--repeat 3] [--name tokens]

Both encode the same texts with the same vocabulary: the stretches between control tokens of the
rendered corpus, each once. tiktoken is called as its users call it, `encode_ordinary_batch`, with
as many threads as there are cores. Beside it the whole evidence family (rendering, ids, masks,
counts by message and segment, loops) as a run measures it, on one core, in CPU seconds per GB of
JSONL. Ids are compared first: a difference stops the bench.
"""

import argparse
import datetime
import json
import os
import statistics
import tempfile
import time
import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import tiktoken
from corpus import make
from run import machine, versions
from tiktoken.load import load_tiktoken_bpe

import tracekit
from tracekit import tokenizers, tokens
from tracekit.encoded import rows_of
from tracekit.pieces import CONTROL_SHIFT, Rendering
from tracekit.recipe import Recipe
from tracekit.render import TEMPLATES
from tracekit.schema import TRACE_SCHEMA
from tracekit.vocabulary import PATTERN, ranks_file, without_merge

HERE = Path(__file__).resolve().parent


def opponent() -> tiktoken.Encoding:
    """The same vocabulary in tiktoken, without the entries that no merge reaches."""
    ranks = load_tiktoken_bpe(str(ranks_file()))
    left_out = without_merge()
    ranks = {token: rank for token, rank in ranks.items() if rank not in left_out}
    return tiktoken.Encoding("qwen3.5", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})


def ingested(path: Path, scratch: Path) -> pa.Table:
    """The corpus as a trace table, read as any run reads it."""
    recipe = Recipe.from_dict({"sources": {"corpus": {"path": str(path)}}})
    tracekit.ingest(recipe, scratch / "work")
    parts = sorted((scratch / "work" / "traces").rglob("*.parquet"))
    return pa.concat_tables([pq.read_table(part).cast(TRACE_SCHEMA) for part in parts])


def stretches(rows: list[dict]) -> list[str]:
    """Texts between control tokens of the renderings, each once, in order."""
    seen: dict[str, None] = {}
    for row in rows:
        out = Rendering()
        template = TEMPLATES["qwen3.5"]
        (sample,) = template.samples(row["messages"], "keep")
        template.render(row, sample, out)
        run = ""
        for text, label in zip(out.texts, out.labels, strict=True):
            if label >> CONTROL_SHIFT:
                seen.setdefault(run)
                run = ""
            else:
                run += text
        seen.setdefault(run)
    return [text for text in seen if text]


def timed(work) -> tuple[float, float]:
    """(wall seconds, CPU seconds of all threads)."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mb", type=float, default=64)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--name", default="tokens")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        make(Path(scratch), options.mb)
        path = next(p for p in sorted(Path(scratch).glob("*.jsonl")) if p.name != "truth.jsonl")
        n_bytes = path.stat().st_size
        table = ingested(path, Path(scratch))
    texts = stretches(rows_of(table))
    n_text_bytes = sum(len(t.encode()) for t in texts)
    ours, theirs = tokenizers.load(), opponent()
    n_threads = os.cpu_count() or 1
    # Both warm, and the same: NFC first, which tiktoken leaves to its caller.
    texts = [unicodedata.normalize("NFC", t) for t in texts]
    ids, offsets = ours.encode_flat(texts)
    for s, expected in enumerate(theirs.encode_ordinary_batch(texts, num_threads=n_threads)):
        if ids[offsets[s] : offsets[s + 1]].tolist() != expected:
            raise SystemExit(f"the two encode text {s} differently")
    tokens.measure(table.slice(0, 200), ours)
    runs: dict[str, list[tuple[float, float]]] = {"tracekit": [], "tiktoken": [], "evidence": []}
    for _ in range(options.repeat):
        runs["tracekit"].append(timed(lambda: ours.encode_flat(texts)))
        runs["tiktoken"].append(
            timed(lambda: theirs.encode_ordinary_batch(texts, num_threads=n_threads))
        )
        runs["evidence"].append(timed(lambda: tokens.measure(table, ours)))
    middle = {
        name: {
            "wall_s": round(statistics.median(w for w, _ in found), 3),
            "cpu_s": round(statistics.median(c for _, c in found), 3),
        }
        for name, found in runs.items()
    }
    result = {
        "date": datetime.date.today().isoformat(),
        "command": f"python bench/tokens.py --mb {options.mb:g} --repeat {options.repeat}",
        "machine": machine(),
        "versions": versions(),
        "jsonl_bytes": n_bytes,
        "text_bytes": n_text_bytes,
        "tokens": len(ids),
        "runs": {
            name: [{"wall_s": w, "cpu_s": c} for w, c in found] for name, found in runs.items()
        },
        "median": middle,
        "ratios": {
            "tracekit : tiktoken, wall": round(
                middle["tiktoken"]["wall_s"] / middle["tracekit"]["wall_s"], 2
            ),
            "tracekit : tiktoken, CPU": round(
                middle["tiktoken"]["cpu_s"] / middle["tracekit"]["cpu_s"], 2
            ),
            "evidence, CPU s per GB of JSONL": round(
                middle["evidence"]["cpu_s"] / n_bytes * 1e9, 1
            ),
            "tracekit, MB/s of text": round(n_text_bytes / 1e6 / middle["tracekit"]["wall_s"], 1),
        },
    }
    out = HERE / "results" / f"{options.name}.json"
    out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    for name, value in result["ratios"].items():
        print(f"{name:40s} {value:8.2f}")


if __name__ == "__main__":
    main()
