"""What the fork server loads once, before any worker exists.

A spawned worker would pay seconds and 290 MiB for the tokenizer alone. Nothing here may start a
thread: a fork copies locks but not their owners. polars is left out for that reason.
"""

import os
from contextlib import suppress


def load() -> None:
    """Import what every job needs; load the tokenizer that TRACEKIT_PRELOAD names."""
    os.environ.setdefault("RAYON_NUM_THREADS", "1")
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import pyarrow as pa
    import pyarrow.parquet

    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    from tracekit import kernels

    kernels.warm()
    name = os.environ.get("TRACEKIT_PRELOAD")
    if name:
        from tracekit import tokenizers
        from tracekit.errors import TracekitError

        # the job that needs it fails with the same words, and can be told to the user
        with suppress(TracekitError, OSError):
            found = tokenizers.load(name)
            if found.fast:
                found.reference()  # samples of each part are compared with it


if os.environ.get("TRACEKIT_NO_PRELOAD") is None:
    load()
