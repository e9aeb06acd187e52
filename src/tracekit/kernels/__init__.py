"""Compiled kernels: loops over bytes, hashes and token ids, behind plain numpy interfaces.

Every kernel has explicit signatures: it is compiled, or loaded from the cache, when its module is
imported, and nothing compiles later. `warm()` imports them all; a driver calls it before it starts
workers. Kernels run in one thread and release the GIL; the workers of a run are processes.

The cache is `NUMBA_CACHE_DIR` where that is set, else a folder below the user's cache, named by
the versions of tracekit and numba and by a hash of the kernel sources: numba looks at the age of
one file only and would keep a kernel whose callee in another file has changed. Where the folder
cannot be written (a read-only install without a home), the kernels are compiled anew in each
process and one line in the log says so.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import platformdirs
from numba import types

from tracekit import __version__

_CONFIG: Any = numba.config  # its settings are made when it is imported
LOG = logging.getLogger(__name__)


def _array(dtype: Any, ndim: int = 1) -> Any:
    # Read-only: numba takes a writable array where a read-only one is declared, never the reverse,
    # and views of Arrow buffers are read-only.
    return types.Array(dtype, ndim, "C", readonly=True)


U8 = _array(types.uint8)
U32 = _array(types.uint32)
U64 = _array(types.uint64)
I64 = _array(types.int64)
F64 = _array(types.float64)
U32_2D = _array(types.uint32, 2)
"""Types of inputs. Outputs are declared writable, as in `numba.uint64[::1]`."""


def _cache_folder() -> Path:
    given = os.environ.get("NUMBA_CACHE_DIR")
    if given:
        return Path(given)
    sources = hashlib.blake2b(digest_size=6)
    for file in sorted(Path(__file__).parent.glob("*.py")):
        sources.update(file.read_bytes())
    name = f"{__version__}-numba{numba.__version__}-{sources.hexdigest()}"
    return Path(platformdirs.user_cache_dir("tracekit")) / "kernels" / name


def _writable(folder: Path) -> bool:
    # Without a home, "~" stays as written; a folder of that name is nothing to create.
    if not folder.is_absolute():
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _usable_cache() -> str | None:
    folder = _cache_folder()
    if _writable(folder):
        return str(folder)
    LOG.warning(
        "kernels are compiled anew in each process (some seconds): %s cannot be written; "
        "set NUMBA_CACHE_DIR to a folder that can",
        folder,
    )
    return None


CACHE = _usable_cache()
"""Folder of compiled kernels; None where none can be written."""


def _cached(function: Callable[..., Any], signatures: tuple[Any, ...]) -> Any:
    make = numba.njit(list(signatures), nogil=True, cache=True)
    try:
        return make(function)
    except Exception:
        # A cache file that was cut short would be in the way for ever: its index goes, once.
        stem = Path(function.__code__.co_filename).stem
        indexes = list(Path(CACHE or "").rglob(f"{stem}.{function.__name__}-*.nbi"))
        if not indexes:
            raise
        for index in indexes:
            index.unlink(missing_ok=True)
        return make(function)


def compiled(*signatures: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorator of a kernel: machine code for exactly these signatures, now or from the cache."""

    def compile_now(function: Callable[..., Any]) -> Any:
        # numba asks for the folder while it decorates; other users of numba keep theirs.
        before = _CONFIG.CACHE_DIR
        if CACHE is not None:
            _CONFIG.CACHE_DIR = CACHE
            try:
                return _cached(function, signatures)
            except Exception as why:
                # A damaged cache raises anything; an error of the kernel itself comes again below.
                LOG.warning("kernel %s is compiled without a cache: %r", function.__name__, why)
            finally:
                _CONFIG.CACHE_DIR = before
        return numba.njit(list(signatures), nogil=True)(function)

    return compile_now


def warm() -> None:
    """Compile or load every kernel of this package: seconds the first time, then well under one."""
    for file in sorted(Path(__file__).parent.glob("*.py")):
        if not file.stem.startswith("_"):
            importlib.import_module(f"{__name__}.{file.stem}")
