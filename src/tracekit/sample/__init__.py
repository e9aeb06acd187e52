"""The built-in sample: some 450 records in eight folders, every defect in it planted and known.

`write_sample` gives the same bytes on every machine: no clock, draws of our own, gzip framed by
hand. `planted` says how many records carry what and `truth` which ones; two records that are not
planted as copies have a Jaccard similarity below 0.6 over shingles of five words.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tracekit.sample.planting import Planted, made

__all__ = ["Planted", "planted", "truth", "write_sample"]


def write_sample(folder: Path) -> tuple[Path, ...]:
    """Write the sample below `folder`, one folder a source, and give its files in order.

    Raises StorageError where a file cannot be written.
    """
    from tracekit.door import write_bytes

    files, _ = made()
    for name, data in files.items():
        write_bytes(folder / name, data)
    return tuple(folder / name for name in files)


def truth() -> tuple[Planted, ...]:
    """All that is planted, ordered by code and place."""
    return made()[1]


def planted() -> dict[str, int]:
    """Records that carry each planted thing, by code.

    Most names are codes that tracekit gives; `line_separator` (U+2028 inside a text, which must
    not cut a line) is one that must have no effect at all.

    >>> planted()["near_duplicate"]
    26
    """
    return dict(sorted(Counter(p.code for p in truth()).items()))
