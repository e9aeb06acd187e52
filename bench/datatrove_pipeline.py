"""datatrove on the same corpus: read, MinHash in its four stages, token count, Parquet.

    python bench/datatrove_pipeline.py CORPUS_FOLDER OUT_FOLDER TOKENIZER_JSON [--workers 2]

No quality filter on either side. Run by `bench/run.py` in a virtual environment of its own, since
its requirements are not ours. One task a file: the corpus has as many files as there are workers.
Prints one JSON line.
"""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path


def adapter(self, data, path, id_in_file):
    user, assistant = data["messages"]
    text = f"{assistant['reasoning_content']}\n{assistant['content']}"
    return {"text": text, "id": data["id"], "metadata": {"user": user["content"]}}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("tokenizer")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()

    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.tokens import TokensCounter
    from datatrove.pipeline.writers import ParquetWriter

    shutil.rmtree(options.out, ignore_errors=True)
    out = str(options.out)
    # 14 bands of 8, its default: 112 permutations.
    config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
    spent = {}

    def stage(name, pipeline, tasks):
        start = time.perf_counter()
        LocalPipelineExecutor(
            pipeline=pipeline,
            tasks=tasks,
            workers=min(tasks, options.workers),
            logging_dir=f"{out}/logs/{name}",
            skip_completed=False,
        ).run()
        spent[name] = round(time.perf_counter() - start, 1)

    def read():
        return JsonlReader(str(options.corpus), adapter=adapter, glob_pattern="corpus-*.jsonl")

    n = options.workers
    stage(
        "signatures", [read(), MinhashDedupSignature(output_folder=f"{out}/sig", config=config)], n
    )
    stage(
        "buckets",
        [MinhashDedupBuckets(input_folder=f"{out}/sig", output_folder=f"{out}/b", config=config)],
        config.num_buckets,
    )
    stage(
        "cluster",
        [MinhashDedupCluster(input_folder=f"{out}/b", output_folder=f"{out}/rm", config=config)],
        1,
    )
    stage(
        "filter, tokens, parquet",
        [
            read(),
            MinhashDedupFilter(input_folder=f"{out}/rm"),
            TokensCounter(options.tokenizer, batch_size=256),
            ParquetWriter(f"{out}/final", compression="zstd"),
        ],
        n,
    )
    import pyarrow.dataset as ds

    kept = ds.dataset(f"{out}/final", format="parquet").to_table(columns=["metadata"])
    tokens = sum(m["token_count"] for m in kept.column("metadata").to_pylist())
    sys.stdout.write(
        json.dumps({"kept": kept.num_rows, "tokens": tokens, "stages_s": spent}) + "\n"
    )


if __name__ == "__main__":
    main()
