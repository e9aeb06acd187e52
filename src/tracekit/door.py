"""The one door for all writes, and the verified way back in.

Every file that tracekit makes goes through here: temporary name in the same folder, write, fsync,
rename, fsync of the folder. A reader therefore sees the old file, the new file, or none; never a
half. `disk` holds the five operations that can fail, so that a test can put a double in its place,
log them, cut the log anywhere and replay a power loss.

Parquet is written by pyarrow only, rows in order, cut to row groups by bytes before the encoder
sees them: the same rows from other chunks would otherwise give other bytes. Page checksums are
written and, on reading, verified (one flipped bit in a zstd page is silent without them).
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import IO, TYPE_CHECKING, Any

from tracekit.errors import StorageError

if TYPE_CHECKING:
    import pyarrow as pa

TEMPORARY = ".tmp-"
"""Prefix of names that are not there yet; whatever still has it after a crash is swept."""
ROW_GROUP_BYTES = 8 << 20
"""Uncompressed bytes of a row group: what a reader must hold at once."""


def _fsync_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there; rename is durable by itself
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _open(path: Path, mode: int | None) -> IO[bytes]:
    if mode is None:
        return open(path, "wb")
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb")


disk = SimpleNamespace(
    open=_open,
    fsync=lambda file: os.fsync(file.fileno()),
    rename=lambda old, new: os.replace(old, new),
    fsync_folder=_fsync_folder,
    mkdir=lambda path: os.makedirs(path, exist_ok=True),
)


def storage_error(error: OSError, operation: str, path: Path | str) -> StorageError:
    """An OSError as an error of ours: path, operation and errno in words."""
    name = errno.errorcode.get(error.errno or 0, str(error.errno))
    fix = "run the same command again"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        fix = "free some space and run the same command again; finished parts are kept"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        fix = "check the owner and the rights of the folder"
    elif error.errno in (errno.EEXIST, errno.ENOTDIR):
        fix = "a file stands where a folder is wanted: name another folder"
    return StorageError(
        f"{operation} failed: {error.strerror or error} ({name})",
        where=str(path),
        fix=fix,
        wrote="nothing new stands under this name",
    )


@contextmanager
def guarded(operation: str, path: Path | str) -> Iterator[None]:
    """Turn an OSError of the block into a StorageError that names path and operation."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, operation, path) from error


def make_folder(path: Path) -> None:
    """Make a folder and those above it, each durable: a file that is synced inside a folder whose
    own name is not is gone after a power loss, and a manifest elsewhere would still name it."""
    new = [p for p in (path, *path.parents) if not p.exists()]
    if new:
        disk.mkdir(path)
        for folder in reversed(new):
            disk.fsync_folder(folder.parent)


@contextmanager
def write_stream(path: Path, *, mode: int | None = None) -> Iterator[IO[bytes]]:
    """A binary file that appears under `path` when the block ends well, and not otherwise."""
    temporary = path.parent / f"{TEMPORARY}{os.getpid()}-{path.name}"
    with guarded("write", path):
        make_folder(path.parent)
        file = disk.open(temporary, mode)
        try:
            try:
                yield file
                file.flush()
                disk.fsync(file)
            finally:
                with suppress(OSError):  # the error that matters is on its way already
                    file.close()
            disk.rename(temporary, path)
            disk.fsync_folder(path.parent)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise


def write_bytes(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Write a whole file through the door."""
    with write_stream(path, mode=mode) as file:
        file.write(data)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON with sorted keys; ends in a newline."""
    import orjson

    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    write_bytes(path, orjson.dumps(value, option=options))


def row_bytes(array: pa.Array) -> Any:
    """Uncompressed bytes of each row of a column, as int64[rows]; nested values included."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return row_bytes(array.storage)
    if pa.types.is_struct(kind):
        total = np.zeros(len(array), np.int64)
        for child in array.flatten():
            total += row_bytes(child)
        return total
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        if pa.types.is_integer(kind.value_type):
            return lengths.astype(np.int64) * (kind.value_type.bit_width // 8) + 8
        child = row_bytes(array.flatten())
        ends = np.cumsum(lengths.astype(np.int64))
        sums = np.concatenate([[0], np.cumsum(child)])
        return sums[ends] - sums[ends - lengths] + 8
    if (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or (pa.types.is_large_binary(kind))
    ):
        lengths = pc.fill_null(pc.binary_length(array), 0).to_numpy(zero_copy_only=False)
        return lengths.astype(np.int64) + 8
    width = max(1, kind.bit_width // 8) if not pa.types.is_dictionary(kind) else 8
    return np.full(len(array), width, np.int64)


def table_row_bytes(table: pa.Table) -> Any:
    """Uncompressed bytes of each row of a table, as int64[rows]."""
    import numpy as np

    total = np.zeros(table.num_rows, np.int64)
    for column in table.columns:
        parts = [row_bytes(chunk) for chunk in column.chunks]
        if parts:
            total += np.concatenate(parts)
    return total


def cut_by_bytes(sizes: Any, limit: int) -> list[tuple[int, int]]:
    """Row ranges [start, end) of at most `limit` bytes each; a larger row stands alone.

    >>> import numpy as np
    >>> cut_by_bytes(np.array([3, 3, 9, 1]), 6)
    [(0, 2), (2, 3), (3, 4)]
    """
    import numpy as np

    ranges: list[tuple[int, int]] = []
    ends = np.cumsum(sizes)
    start = 0
    while start < len(ends):
        before = int(ends[start - 1]) if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + limit, side="right")))
        ranges.append((start, end))
        start = end
    return ranges


def parquet_writer(
    file: IO[bytes] | HashingFile,
    schema: pa.Schema,
    *,
    level: int = 1,
    dictionary: list[str] | bool = False,
    content_defined_chunks: bool = False,
) -> Any:
    """A ParquetWriter as tracekit sets it: zstd, page index, page checksums."""
    import pyarrow.parquet as pq

    options: dict[str, Any] = {}
    if content_defined_chunks:
        options["use_content_defined_chunking"] = {
            "min_chunk_size": 256 << 10,  # what `datasets` 5 writes, so that the Hub can dedupe
            "max_chunk_size": 1 << 20,
            "norm_level": 0,
        }
    return pq.ParquetWriter(
        file,
        schema,
        compression="zstd",
        compression_level=level,
        use_dictionary=dictionary,
        write_page_index=True,
        write_page_checksum=True,
        **options,
    )


def write_row_groups(writer: Any, table: pa.Table, row_group_bytes: int) -> None:
    """Append a table in row groups of at most `row_group_bytes` uncompressed bytes."""
    table = table.combine_chunks()
    for start, end in cut_by_bytes(table_row_bytes(table), row_group_bytes):
        writer.write_table(table.slice(start, end - start), row_group_size=end - start)


class HashingFile:
    """A binary file that hashes what passes, so that a written file need not be read again."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self.n_bytes = 0
        self.closed = False

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self._sha256.update(view)
        self.n_bytes += view.nbytes
        self._file.write(view)
        return view.nbytes

    def tell(self) -> int:
        return self.n_bytes

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self.closed = True

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def hexdigest(self) -> str:
        return self._sha256.hexdigest()


def write_tables(
    path: Path,
    tables: Iterable[pa.Table],
    schema: pa.Schema,
    *,
    level: int = 1,
    dictionary: list[str] | bool = False,
    row_group_bytes: int = ROW_GROUP_BYTES,
    mode: int | None = None,
) -> str:
    """Write tables of one schema, in order, to one Parquet file; returns its SHA-256.

    The bytes depend on how rows come in tables only through their concatenation when each table
    but the last fills whole row groups; callers that need equality pass one table.
    """
    with write_stream(path, mode=mode) as file:
        hashing = HashingFile(file)
        with parquet_writer(hashing, schema, level=level, dictionary=dictionary) as writer:
            for table in tables:
                write_row_groups(writer, table.cast(schema), row_group_bytes)
    return hashing.hexdigest()


def write_table(path: Path, table: pa.Table, **options: Any) -> str:
    """Write one table to one Parquet file; returns its SHA-256. Options of `write_tables`."""
    return write_tables(path, [table], table.schema, **options)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as hex. Raises StorageError."""
    with guarded("read", path), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_parquet(path: Path, sha256: str | None = None) -> Any:
    """A ParquetFile that verifies page checksums; with `sha256`, the whole file first.

    Raises StorageError where the file is missing, cut, altered or no Parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with guarded("read", path):
        data = path.read_bytes()
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise altered(path)
    try:
        return pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise altered(path, str(error)) from error


def read_table(path: Path, sha256: str | None = None, columns: list[str] | None = None) -> pa.Table:
    """A whole table, verified like `open_parquet`."""
    import pyarrow as pa

    file = open_parquet(path, sha256)
    try:
        return file.read(columns=columns, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise altered(path, str(error)) from error


def altered(path: Path, detail: str = "") -> StorageError:
    """The error for a file that is not what was written."""
    return StorageError(
        "the file is not what tracekit wrote: cut, damaged or replaced"
        + (f" ({detail.splitlines()[0]})" if detail else ""),
        where=str(path),
        expected="bytes with the SHA-256 that the manifest names",
        fix="delete this file and run the same command again: only this part is made anew",
        wrote="nothing was written",
    )


def sweep(folder: Path) -> int:
    """Delete what a crash left under temporary names below `folder`; returns how many."""
    n = 0
    for path in folder.rglob(f"{TEMPORARY}*"):
        if path.is_file():
            path.unlink()
            n += 1
    return n
