"""The plain script: one process, the libraries that everybody would take, the same work.

    python bench/plain.py CORPUS_FOLDER OUT.parquet

json, minimal validation, a loop check, exact and near duplicates (datasketch, 128 permutations,
shingles of five words, threshold 0.8), tokens with tiktoken on the ranks of Qwen3.5, Parquet with
zstd 3. It counts the tokens of kept records only, which tracekit does not: that is in its favour.
Prints one JSON line.
"""

import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import tiktoken
from datasketch import MinHash, MinHashLSH
from tiktoken.load import load_tiktoken_bpe

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
from tracekit.vocabulary import ADDED, FIRST_ADDED_ID, PATTERN, ranks_file

WORD = re.compile(r"\w+")
MIN_DISTINCT_SHARE = 0.7
"""Of the shingles of a text that does not loop."""


def rendered(messages: list[dict]) -> str:
    """The conversation as the trainer reads it."""
    out = []
    for m in messages:
        text = m["content"]
        if m["role"] == "assistant":
            text = f"<think>\n{m.get('reasoning_content', '')}\n</think>\n\n{text}"
        out.append(f"<|im_start|>{m['role']}\n{text}<|im_end|>\n")
    return "".join(out)


def lines_of(path: Path) -> Iterator[str]:
    with open(path, encoding="utf-8") as lines:
        yield from lines


def valid(record: object) -> bool:
    return (
        isinstance(record, dict)
        and isinstance(record.get("messages"), list)
        and any(m.get("role") == "assistant" for m in record["messages"])
        and all(
            m.get("role") in ("system", "user", "assistant", "tool")
            and isinstance(m.get("content"), str)
            for m in record["messages"]
        )
    )


def main() -> None:
    folder, out = map(Path, sys.argv[1:3])
    added = {token: FIRST_ADDED_ID + k for k, token in enumerate(ADDED)}
    encoding = tiktoken.Encoding(
        "qwen3.5",
        pat_str=PATTERN,
        mergeable_ranks=load_tiktoken_bpe(str(ranks_file())),
        special_tokens=added,
    )
    spent: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    lsh = MinHashLSH(threshold=0.8, num_perm=128)
    seen: set[str] = set()
    rows = []
    clock = time.perf_counter

    def lap(name: str, since: float) -> float:
        now = clock()
        spent[name] += now - since
        return now

    for path in sorted(folder.glob("*.jsonl")):
        if path.name == "truth.jsonl":
            continue
        for line in lines_of(path):
            t = clock()
            counts["records"] += 1
            try:
                record = json.loads(line)
            except ValueError:
                counts["invalid"] += 1
                continue
            if not valid(record):
                counts["invalid"] += 1
                continue
            messages = record["messages"]
            target = "\n".join(
                f"{m.get('reasoning_content', '')}\n{m['content']}"
                for m in messages
                if m["role"] == "assistant"
            )
            t = lap("read", t)
            words = WORD.findall(target.lower())
            n_all = max(1, len(words) - 4)
            shingles = {" ".join(words[k : k + 5]) for k in range(n_all)}
            t = lap("shingles", t)
            if len(shingles) / n_all < MIN_DISTINCT_SHARE:
                counts["loop"] += 1
                continue
            whole = rendered(messages)
            if whole in seen:
                counts["exact"] += 1
                continue
            seen.add(whole)
            t = lap("exact", t)
            sketch = MinHash(num_perm=128)
            sketch.update_batch([s.encode() for s in shingles])
            near = lsh.query(sketch)
            if not near:
                lsh.insert(record["id"], sketch)
            t = lap("minhash", t)
            if near:
                counts["near"] += 1
                continue
            n_tokens = len(encoding.encode(whole, allowed_special="all"))
            counts["tokens"] += n_tokens
            rows.append({"id": record["id"], "messages": messages, "n_tokens": n_tokens})
            lap("tokens", t)
    t = clock()
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, out, compression="zstd", compression_level=3, row_group_size=1000)
    lap("parquet", t)
    counts["kept"] = len(rows)
    print(json.dumps({**counts, "stages_s": {k: round(v, 1) for k, v in spent.items()}}))


if __name__ == "__main__":
    main()
