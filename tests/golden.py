"""Makes the golden workspace of this format: `python tests/golden.py`. Once a format, never again.

A later release must open, verify, decide and shard what an earlier one wrote.
"""

import os
import shutil
from pathlib import Path

FOLDER = Path(__file__).parent / "golden" / "workspace-v1"


def main() -> None:
    os.environ["TRACEKIT_WORKERS"] = "0"
    import tracekit
    from killed import write_inputs

    shutil.rmtree(FOLDER, ignore_errors=True)
    recipe = write_inputs(FOLDER / "inputs")
    value = tracekit.Recipe.load(recipe).edited({"ingest": {"part_bytes": 10**8}})
    tracekit.run(value, work=FOLDER / "work", out=FOLDER / "shards")
    for name in (".lock", ".lock-holder"):
        (FOLDER / "work" / name).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
