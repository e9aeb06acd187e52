"""Parquet and Arrow files: where they can be cut, and their rows as plain Python values.

A footer is a claim. A Parquet file of 300 bytes can hold one long string and twenty thousand
references to it, and its footer admits to one megabyte; so memory is bounded by what a batch may
expand to, which is read from the header of each dictionary page, as the decoder itself does.
Types come from the file's own schema, nothing is inferred; strings that hold JSON stay strings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracekit.cutting import Cut, Cuts
from tracekit.framing import Limits

if TYPE_CHECKING:
    import pyarrow as pa

    from tracekit.cutting import Slice

_BATCH_ROWS = 64
_DICTIONARY_BATCH_ROWS = 2048  # references are small, and each batch copies the dictionary
_BATCH_BYTES = 256 << 20
"""What a batch may expand to before its strings are left as references."""
_AT_ONCE_BYTES = 16 << 20
"""A batch beyond this becomes Python values row by row."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its value, or (code, detail) where it could not be read."""

    row: int
    value: Any
    error: tuple[str, str] | None = None


def cuts(path: str | Path, framing: str, part_bytes: int) -> Cuts:
    """Cuts between row groups (Parquet) or record batches (Arrow), in rows.

    A file that cannot be opened is one fault at row 0.
    """
    groups: list[tuple[int, int]] = []
    fault: tuple[str, str] | None = None
    try:
        groups.extend(_groups(path, framing))  # what came before an error is kept
    except _ERRORS as error:
        fault = _code(error)
    out: list[Cut] = []
    start = row = weight = 0
    for n_rows, n_bytes in groups:
        if row > start and weight + n_bytes > part_bytes:
            out.append(Cut(start, start, row, estimated_bytes=weight))
            start, weight = row, 0
        row += n_rows
        weight += n_bytes
    if row > start:
        out.append(Cut(start, start, row, estimated_bytes=weight))
    if fault is not None:
        out.append(Cut(row, 0, 0, fault))
        row += 1
    return Cuts(tuple(out), row)


def _groups(path: str | Path, framing: str) -> Iterator[tuple[int, int]]:
    """(rows, estimated plain bytes) of what a file can be cut into."""
    import pyarrow as pa

    if framing == "parquet":
        with _open_parquet(path) as file:
            for g in range(file.metadata.num_row_groups):
                group = file.metadata.row_group(g)
                stored = sum(
                    group.column(c).total_compressed_size for c in range(group.num_columns)
                )
                yield group.num_rows, max(group.total_byte_size, stored)
        return
    with pa.memory_map(str(path)) as source:
        for batch in _batches(source, framing):
            yield batch.num_rows, batch.nbytes


def _batches(source: Any, framing: str) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    if framing == "arrow_stream":
        with pa.ipc.open_stream(source) as stream:
            yield from stream
        return
    with pa.ipc.open_file(source) as file:
        for k in range(file.num_record_batches):
            yield file.get_batch(k)


def _open_parquet(path: str | Path, references: tuple[str, ...] = ()) -> Any:
    import pyarrow.parquet as pq

    return pq.ParquetFile(
        path,
        read_dictionary=list(references),
        buffer_size=1 << 20,
        pre_buffer=False,
        page_checksum_verification=True,
    )


_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    NotImplementedError,
    OverflowError,
    MemoryError,
)
"""What pyarrow raises on damaged files: its own errors are subclasses of these."""


def _code(error: BaseException) -> tuple[str, str]:
    first = (str(error).splitlines() or [""])[0][:200]
    code = "not_utf8" if isinstance(error, UnicodeDecodeError) else "unreadable_rows"
    return code, f"{type(error).__name__}: {first}" if first else type(error).__name__


def rows(part: Slice, limits: Limits) -> Iterator[Row]:
    """Rows of a slice. What cannot be read is one error a row group, batch or row, with its place.

    A file that expands beyond the limits ends with one error `expansion_limit`.
    """
    budget = max(
        limits.expansion_free_bytes, limits.expansion_ratio * Path(part.path).stat().st_size
    )
    n_plain_bytes = 0
    reader = _parquet_batches if part.framing == "parquet" else _arrow_batches
    for first, batch in reader(part):
        if isinstance(batch, tuple):
            if part.start <= first < part.end:
                yield Row(first, None, batch)
            continue
        before = max(0, part.start - first)
        batch = batch.slice(before, max(0, part.end - first - before))
        first += before
        for row in _rows_of(first, batch, limits):
            n_plain_bytes += row[1]
            if n_plain_bytes > budget:
                detail = f"the file grew to more than {budget:,} bytes"
                yield Row(row[0].row, None, ("expansion_limit", detail))
                return
            yield row[0]


def _rows_of(first: int, batch: pa.RecordBatch, limits: Limits) -> Iterator[tuple[Row, int]]:
    size = plain_bytes(batch)
    if size <= min(_AT_ONCE_BYTES, limits.record_bytes):
        try:
            values = batch.to_pylist()
        except _ERRORS:
            pass  # one of the rows; it is found below
        else:
            each = size // max(1, len(values))
            for k, value in enumerate(values):
                yield Row(first + k, value), each
            return
    for k in range(batch.num_rows):
        one = batch.slice(k, 1)
        size = plain_bytes(one)
        if size > limits.record_bytes:
            detail = f"{size:,} bytes; the limit is {limits.record_bytes:,}"
            yield Row(first + k, None, ("record_too_large", detail)), 0
            continue
        try:
            yield Row(first + k, one.to_pylist()[0]), size
        except _ERRORS as error:
            yield Row(first + k, None, _code(error)), size


def plain_bytes(values: Any) -> int:
    """Bytes of a batch or array once every reference into a dictionary is written out."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(values, pa.RecordBatch):
        return sum(plain_bytes(column) for column in values.columns)
    kind = values.type
    if isinstance(kind, pa.BaseExtensionType):
        return plain_bytes(values.storage)
    if pa.types.is_dictionary(kind):
        words = values.dictionary
        if not _is_text(words.type):
            return len(values) * max(1, plain_bytes(words) // max(1, len(words)))
        sizes = pc.take(pc.binary_length(words), values.indices)
        return int(pc.sum(sizes.cast(pa.int64())).as_py() or 0)
    if pa.types.is_struct(kind):
        return sum(plain_bytes(child) for child in values.flatten())
    if pa.types.is_map(kind):
        # keys and items take no notice of a slice of their map; offsets do.
        first = values.offsets[0].as_py() if len(values) else 0
        n_items = values.offsets[-1].as_py() - first if len(values) else 0
        return sum(plain_bytes(e.slice(first, n_items)) for e in (values.keys, values.items))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return plain_bytes(values.flatten())
    return int(values.nbytes)


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


_Batches = Iterator[tuple[int, "pa.RecordBatch | tuple[str, str]"]]


def _parquet_batches(part: Slice) -> _Batches:
    try:
        with _open_parquet(part.path) as file:
            metadata = file.metadata
            starts = [0]
            for g in range(metadata.num_row_groups):
                starts.append(starts[-1] + metadata.row_group(g).num_rows)
            n_groups = metadata.num_row_groups
            wanted = [
                g for g in range(n_groups) if starts[g] < part.end and part.start < starts[g + 1]
            ]
            plans = [_references(part.path, file, g) for g in wanted]
    except _ERRORS as error:
        yield part.start, _code(error)
        return
    for g, references in zip(wanted, plans, strict=True):
        row, end = starts[g], starts[g + 1]
        try:
            with _open_parquet(part.path, references) as file:
                size = _DICTIONARY_BATCH_ROWS if references else _BATCH_ROWS
                for batch in file.iter_batches(batch_size=size, row_groups=[g]):
                    # A footer may claim fewer rows than there are: places stay within the group.
                    yield row, batch.slice(0, end - row)
                    row += batch.num_rows
                    if row >= min(end, part.end):
                        break
        except _ERRORS as error:
            yield row, _code(error)
            continue
        if row < min(end, part.end):
            yield row, ("unreadable_rows", f"row group {g} ends {end - row} rows early")


def _references(path: str, file: Any, g: int) -> tuple[str, ...]:
    """Text columns of a row group that are read as references: they could expand too far."""
    group = file.metadata.row_group(g)
    doubtful: dict[str, tuple[int, int]] = {}
    for c in range(group.num_columns):
        column = group.column(c)
        if column.physical_type != "BYTE_ARRAY" or not column.has_dictionary_page:
            continue
        n_page_bytes = _dictionary_bytes(path, column.dictionary_page_offset)
        # Any number of values of a nested column may stand in one row.
        nested = file.schema.column(c).max_repetition_level > 0
        n_values = max(_BATCH_ROWS, column.num_values if nested else 0)
        if n_page_bytes * n_values > _BATCH_BYTES:
            doubtful[column.path_in_schema] = (n_page_bytes, n_values)
    return tuple(
        name
        for name, (n_page_bytes, n_values) in doubtful.items()
        if _longest_word(path, g, name, n_page_bytes) * n_values > _BATCH_BYTES
    )


def _longest_word(path: str, g: int, column: str, n_page_bytes: int) -> int:
    """Bytes of the longest entry of a dictionary page; of the whole page where unknown."""
    import pyarrow.compute as pc

    with _open_parquet(path, (column,)) as file:
        for batch in file.iter_batches(batch_size=1, row_groups=[g], columns=[column]):
            for words in _dictionaries(batch.column(0)):
                lengths = pc.binary_length(words)
                # Each entry of the page has a length of four bytes before it. Less than the page
                # has: its first values were stored without the dictionary.
                if (pc.sum(lengths).as_py() or 0) + 4 * len(words) >= n_page_bytes:
                    return int(pc.max(lengths).as_py() or 0)
            break
    return n_page_bytes


def _dictionaries(values: Any) -> Iterator[Any]:
    import pyarrow as pa

    kind = values.type
    if pa.types.is_dictionary(kind):
        yield values.dictionary
    elif pa.types.is_struct(kind):
        for child in values.flatten():
            yield from _dictionaries(child)
    elif pa.types.is_map(kind):
        yield from _dictionaries(values.keys)
        yield from _dictionaries(values.items)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield from _dictionaries(values.flatten())


def _dictionary_bytes(path: str, offset: int) -> int:
    """Plain size of a dictionary page, from its header; a bound where the header is odd.

    The header is Thrift, compact protocol: field 1 the page type, field 2 the plain size, each a
    byte 0x15 and a zigzag varint.
    """
    with open(path, "rb") as file:
        file.seek(offset)
        head = file.read(16)
    at = 0
    numbers: list[int] = []
    for _ in range(2):
        if head[at : at + 1] != b"\x15":
            return 1 << 31
        at += 1
        number = shift = 0
        while at < len(head):
            byte = head[at]
            at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        numbers.append(number >> 1)
    return numbers[1]


def _arrow_batches(part: Slice) -> _Batches:
    import pyarrow as pa

    first = 0
    try:
        with pa.memory_map(part.path) as source:
            for batch in _batches(source, part.framing):
                if first >= part.end:
                    return
                if part.start < first + batch.num_rows:
                    yield from _checked(first, batch)
                first += batch.num_rows
    except _ERRORS as error:
        yield first, _code(error)


def _checked(first: int, batch: pa.RecordBatch) -> _Batches:
    try:
        batch.validate(full=True)
    except _ERRORS as error:
        yield first, _code(error)
        return
    for k in range(0, batch.num_rows, _BATCH_ROWS):
        yield first + k, batch.slice(k, _BATCH_ROWS)
