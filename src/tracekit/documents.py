"""JSON text that is not known to be lines: which framing it has, and where its members stand.

A document of any size needs the memory of one chunk: members are found by a compiled scanner and
parsed one by one. Whether `{` opens the first of many lines, one record, or a table of records by
id is decided from structure, and where structure leaves it open by what the values look like.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from tracekit.errors import BadRecord
from tracekit.jsontext import parse

if TYPE_CHECKING:
    from tracekit.framing import Framing, Limits

_SAMPLED_LINES = 20
_SAMPLED_MEMBERS = 8
_SPACE = b" \t\r\n"


class Prefix(Protocol):
    """First bytes of a stream: `head` so far, `ended` when these are all."""

    head: bytes
    ended: bool

    def upto(self, size: int) -> bytes: ...

    def next(self) -> bytes: ...


def text_framing(
    prefix: Prefix, whole_is_record: Callable[[Any], bool] | None, limits: Limits
) -> Framing:
    """Framing of text whose first visible byte opens an object or an array."""
    text = _with_first_line(prefix, limits)
    line, newline, rest = text.partition(b"\n")
    opens = line[:1]
    if not newline and not prefix.ended:
        return _framing_of_endless_line(prefix, text, whole_is_record)
    if _is_whole(line):
        if rest.strip() or not _is_blank_to_the_end(prefix):
            return "lines"
        if opens == b"[":
            return _array_framing(text, whole_is_record)
        value = _value(line)
        return "json_object" if _is_keyed(value, whole_is_record) else "lines"
    # The first line is no whole value: a document over several lines, or a broken first record.
    # A bracket alone opens a document, but `{` before another `{` opens nothing.
    if line.strip() != b"[" and not (line.strip() == b"{" and rest.lstrip()[:1] != b"{"):
        following = rest.split(b"\n", _SAMPLED_LINES)[:_SAMPLED_LINES]
        looks_like_lines = any(later[:1] == opens and _is_json(later) for later in following)
        if looks_like_lines and not _is_one_document(prefix, limits):
            return "lines"
    if opens == b"[":
        return _array_framing(text, whole_is_record)
    return _object_framing(prefix, whole_is_record, limits)


def _with_first_line(prefix: Prefix, limits: Limits) -> bytes:
    size = len(prefix.head)
    while True:
        text = prefix.head.removeprefix(b"\xef\xbb\xbf").lstrip()
        if b"\n" in text or prefix.ended or size > limits.record_bytes:
            return text
        size = 2 * max(size, 1 << 16)
        prefix.upto(size)


def _is_one_document(prefix: Prefix, limits: Limits) -> bool:
    """Is the whole text one value? A line of it may be one by itself: `[`, `{...}`, `]`."""
    text = prefix.upto(limits.record_bytes + 1).removeprefix(b"\xef\xbb\xbf")
    return len(text) <= limits.record_bytes and _is_json(text)


def _is_json(line: bytes) -> bool:
    try:
        parse(line)
    except BadRecord:
        return False
    return True


def _is_whole(line: bytes) -> bool:
    """Is the line one JSON value, be it one that is refused for its depth or its numbers?"""
    try:
        parse(line)
    except BadRecord as error:
        return error.code in ("too_deep", "number_too_long")
    return True


def _value(text: bytes) -> Any:
    try:
        return parse(text)
    except BadRecord:
        return None


def _is_blank_to_the_end(prefix: Prefix) -> bool:
    while not prefix.ended:
        if prefix.next().strip():
            return False
    return True


def _is_keyed(value: Any, whole_is_record: Callable[[Any], bool] | None) -> bool:
    """Is an object a table of records by id: no record itself, but each of its values is one?"""
    if whole_is_record is None or not isinstance(value, dict) or whole_is_record(value):
        return False
    values = list(islice(value.values(), _SAMPLED_MEMBERS))
    return bool(values) and all(map(whole_is_record, values))


def _array_framing(text: bytes, whole_is_record: Callable[[Any], bool] | None) -> Framing:
    if whole_is_record is not None:
        elements = _first_members(text, "json_array")
        if elements and whole_is_record(elements):
            return "json_document"
    return "json_array"


def _object_framing(
    prefix: Prefix, whole_is_record: Callable[[Any], bool] | None, limits: Limits
) -> Framing:
    text = prefix.upto(limits.record_bytes + 1).removeprefix(b"\xef\xbb\xbf")
    if prefix.ended or len(text) <= limits.record_bytes:
        try:
            value = parse(text)
        except BadRecord:
            pass
        else:
            return "json_object" if _is_keyed(value, whole_is_record) else "json_document"
    scanner = MemberScanner("json_values")
    first = next(iter(scanner.feed(text)), None)
    if first is not None and text[first.end :].strip():
        return "json_values"
    values = _first_members(text, "json_object")
    if whole_is_record is not None and values and all(map(whole_is_record, values)):
        return "json_object"
    return "json_document"


def _framing_of_endless_line(
    prefix: Prefix, text: bytes, whole_is_record: Callable[[Any], bool] | None
) -> Framing:
    """Framing where the first line is longer than a record may be: one document, or a line."""
    opens = text[:1]
    last = text.rstrip()[-1:]
    while not prefix.ended:
        before, newline, after = prefix.next().partition(b"\n")
        last = before.rstrip()[-1:] or last
        if newline:
            while not after.lstrip() and not prefix.ended:
                after = prefix.next()
            if last in (b"}", b"]") and after.lstrip()[:1] == opens:
                return "lines"
            break
    if opens == b"[":
        return "json_array"
    values = _first_members(text, "json_object")
    if whole_is_record is not None and values and all(map(whole_is_record, values)):
        return "json_object"
    return "lines"


def _first_members(text: bytes, framing: Framing) -> list[Any]:
    values: list[Any] = []
    for span in islice(MemberScanner(framing).feed(text), _SAMPLED_MEMBERS):
        value = _value(member_text(text[span.start : span.end], framing))
        if framing == "json_object":
            value = next(iter(value.values())) if isinstance(value, dict) and value else None
        values.append(value)
    return values


def member_text(raw: bytes, framing: Framing) -> bytes:
    """A member as JSON text: `"id": {...}` of a keyed object becomes an object of one key."""
    return b"{" + raw + b"}" if framing == "json_object" else raw


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of one member, counted from the first byte that was fed."""

    start: int
    end: int


class MemberScanner:
    """Spans of the members of a document, fed chunk by chunk.

    inside: the bytes begin within the document, at a member, as those of a slice do.

    >>> scanner = MemberScanner("json_array")
    >>> list(scanner.feed(b'[{"a": 1}, {"b"')), list(scanner.feed(b': 2}]'))
    ([Span(start=1, end=9)], [Span(start=11, end=19)])
    >>> scanner.fault()
    """

    def __init__(self, framing: Framing, *, inside: bool = False) -> None:
        from tracekit.kernels import jsonscan

        self._kernel = jsonscan
        self._framing = framing
        self._inside = inside
        self._shift = 0
        self._state = jsonscan.start(values=framing == "json_values")
        self.last_end = 0
        """End of the last member that was found."""
        if inside and framing != "json_values":
            jsonscan.scan(b"{" if framing == "json_object" else b"[", self._state)
            self._shift = 1

    def feed(self, chunk: bytes) -> Iterator[Span]:
        """Members that end in the next bytes."""
        spans = self._kernel.scan(chunk, self._state)
        starts = spans.key_start_E if self._framing == "json_object" else spans.start_E
        for start, end in zip(starts.tolist(), spans.end_E.tolist(), strict=True):
            self.last_end = end - self._shift
            yield Span(start - self._shift, end - self._shift)

    def pending(self) -> int:
        """Keep the bytes from here on: a later member may begin there."""
        return int(self._kernel.pending(self._state)) - self._shift

    def fault(self) -> tuple[str, str] | None:
        """(code, detail) where the bytes so far are no whole document; ask after the last byte.

        A bare number at the very end is a member only with something behind it: feed b"\\n" last.
        """
        problem = self._kernel.problem(self._state)
        if not problem or (self._inside and self._ends_inside()):
            return None
        at = self._kernel.position(self._state) - self._shift
        code = "truncated_json" if "ends before" in problem else "invalid_json"
        return code, f"{problem} (byte {at})"

    def _ends_inside(self) -> bool:
        return "ends before" in self._kernel.problem(self._state)
