"""YAML files: where their documents begin and end, and each document as plain JSON values.

Values follow the core schema of YAML 1.2: `off`, `12:30` and `2026-01-02` are text. Built from
parser events, so that no tag constructs anything; `!!binary` gives bytes. Aliases are allowed up
to a size. Records are cut at document marks, which may stand at the beginning of a line only.

Two parsers give the events. PyYAML, compiled where its library was there, is some twenty times as
fast but reads YAML 1.1, so it is asked only where both versions read the same: not where a text
has what `_READ_OTHERWISE` finds. What it cannot read is for ruamel.yaml, whose word counts.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterator
from typing import Any

from tracekit.cutting import Cut, Cuts
from tracekit.errors import BadRecord
from tracekit.jsontext import MAX_DEPTH, MAX_NUMBER_CHARS

MAX_EXPANSION = 10
"""Times that a document may grow when its aliases are written out; a bomb grows for ever."""
FREE_CHARS = 8 << 20
"""Below so many characters and values any growth is fine."""
SNIFFED_CHARS = 1 << 18
"""What is parsed of a file to see whether it is YAML: the slow parser reads 1 MB a second."""

_OPENS = re.compile(
    r"(?:---(?=\s|\Z)|%YAML|- \S|(?:[A-Za-z_][\w.-]*|\"[^\"\n]{1,80}\"|'[^'\n]{1,80}') ?:(?=\s|\Z))"
)
_READ_OTHERWISE = re.compile(
    "[\x85\u2028\u2029\ufeff]"  # line breaks (or nothing) in 1.1, characters in 1.2
    r"|\r(?!\n)|[|>][-+0-9]{0,2}#|&[\w-]*:|!!!"  # parsers differ over what these mean
)
_NULL = re.compile(r"(?:~|null|Null|NULL|)\Z")
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
_INT = re.compile(r"[-+]?[0-9]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z")


def may_begin(text: str) -> bool:
    """May a text be YAML, by its first line that says something: a mark, a key or a list?

    >>> may_begin("# recorded\\ninteractions:\\n- a"), may_begin("Dear all, this is a letter")
    (True, False)
    """
    for line in text.split("\n", 200)[:200]:
        if line.strip() and not line.startswith("#"):
            return _OPENS.match(line) is not None
    return False


def first_value(text: str) -> Any:
    """Value of the first document of a text; as far as it goes where it is cut off or broken.

    None where it is no list or mapping at all.
    """
    documents = Documents()
    taken: list[str] = []
    for line in text[:SNIFFED_CHARS].split("\n"):
        if documents.take(line.encode("utf-8", "replace")):
            break
        taken.append(line)
    head = "\n".join(taken)
    reader = _Reader(SNIFFED_CHARS)
    try:
        return reader.read(head, cut=True)
    except BadRecord:
        # What looks like a key in prose has no list or mapping under it.
        return reader.top if reader.nested else None


def value_of(raw: bytes) -> Any:
    """Value of one document. Raises BadRecord: not_utf8, invalid_yaml, too_deep, and the like."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRecord("not_utf8", f"byte {error.start}: {error.reason}") from None
    return _Reader(len(raw)).read(text)


def _fast_events(text: str) -> Iterator[Any]:
    import yaml

    parse: Callable[..., Iterator[Any]] = yaml.parse
    return parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _sure_events(text: str) -> Iterator[Any]:
    from ruamel.yaml import YAML

    parse: Callable[..., Iterator[Any]] = YAML(typ="safe", pure=True).parse
    return parse(text)


_NODES = frozenset({"ScalarEvent", "SequenceStartEvent", "MappingStartEvent", "AliasEvent"})


class _Reader:
    """Events to values. Depth is bounded, so that recursion is safe."""

    def __init__(self, n_chars: int) -> None:
        self.max_chars = max(FREE_CHARS, n_chars * MAX_EXPANSION)
        self.begin()

    def begin(self) -> None:
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.n_chars = 0
        self.top: Any = None
        """The outermost list or mapping, as far as it was read."""
        self.nested = False
        """Does a list or mapping stand inside of it?"""

    def read(self, text: str, *, cut: bool = False) -> Any:
        """Value of a document; a fault in the last line of a text that is cut needs no second look.

        Raises BadRecord.
        """
        from yaml import YAMLError

        if _READ_OTHERWISE.search(text) is None:
            try:
                return self.document(_fast_events(text))
            except (YAMLError, ValueError, StopIteration, RecursionError) as error:
                place = getattr(error, "problem_mark", None)
                if cut and self.nested and place and place.line >= text.count("\n"):
                    raise BadRecord("invalid_yaml", "the text is cut off") from None
                self.begin()
        return self.read_surely(text)

    def read_surely(self, text: str) -> Any:
        from ruamel.yaml.error import YAMLError

        try:
            return self.document(_sure_events(text))
        except (YAMLError, ValueError, StopIteration) as error:
            said = " ".join(str(error).split())[:200]
            raise BadRecord("invalid_yaml", said) from None
        except RecursionError:
            raise BadRecord("too_deep", "the parser gave up") from None

    def document(self, events: Iterator[Any]) -> Any:
        found = None
        for event in events:
            if type(event).__name__ in _NODES:
                value = self.node(event, events, 0)
                if found is not None and value is not None:
                    raise BadRecord("invalid_yaml", "text behind the end of the document")
                # None: marks with nothing but a comment between them.
                found = value if value is not None else found
        return found

    def node(self, event: Any, events: Iterator[Any], depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise BadRecord("too_deep", f"more than {MAX_DEPTH} nested lists or mappings")
        kind = type(event).__name__
        if kind == "AliasEvent":
            # Known only when complete: an alias inside its own anchor is unknown here.
            if event.anchor not in self.anchors:
                raise BadRecord("invalid_yaml", f"no anchor {event.anchor!r} before its alias")
            value, n_chars = self.anchors[event.anchor]
            self.count(n_chars)
            return value
        before = self.n_chars
        self.nested = self.nested or (depth > 0 and kind != "ScalarEvent")
        self.count(1 + len(event.value) if kind == "ScalarEvent" else 1)
        if kind == "ScalarEvent":
            value = _scalar(event)
        elif kind == "SequenceStartEvent":
            value = self.sequence(events, depth)
        else:
            value = self.mapping(events, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = (value, self.n_chars - before)
        return value

    def sequence(self, events: Iterator[Any], depth: int) -> list[Any]:
        items: list[Any] = []
        if depth == 0:
            self.top = items
        for inner in events:
            if type(inner).__name__ == "SequenceEndEvent":
                break
            items.append(self.node(inner, events, depth + 1))
        return items

    def mapping(self, events: Iterator[Any], depth: int) -> dict[str, Any]:
        held: dict[str, Any] = {}
        if depth == 0:
            self.top = held
        for inner in events:
            if type(inner).__name__ == "MappingEndEvent":
                break
            if type(inner).__name__ != "ScalarEvent":
                raise BadRecord("invalid_yaml", "a key that is no plain text")
            self.count(len(inner.value))
            value = next(events)
            held[str(inner.value)] = None
            held[str(inner.value)] = self.node(value, events, depth + 1)
        return held

    def count(self, n_chars: int) -> None:
        """Counts characters and values, with each alias what it stands for."""
        self.n_chars += n_chars
        if self.n_chars > self.max_chars:
            raise BadRecord(
                "expansion_limit", f"its aliases expand to more than {self.max_chars:,} characters"
            )


def _scalar(event: Any) -> Any:
    text: str = event.value
    tag = str(event.tag) if event.tag is not None else ""
    if tag.endswith(":binary") or tag == "!!binary":
        try:
            return binascii.a2b_base64(text.encode("ascii"))
        except (binascii.Error, UnicodeEncodeError) as error:
            raise BadRecord("invalid_yaml", f"binary that is no base64: {error}") from None
    if event.style or tag:
        return text
    if _NULL.match(text):
        return None
    if _BOOL.match(text):
        return text.lower() == "true"
    if len(text) > MAX_NUMBER_CHARS:
        return text
    if _INT.match(text):
        return int(text)
    if _FLOAT.match(text):
        number = float(text)
        return number if abs(number) != float("inf") else text
    return None if _NOT_FINITE.match(text) else text


# Documents in a stream of lines.


def _is_mark(line: bytes, mark: bytes) -> bool:
    return line.startswith(mark) and line[3:4] in (b"", b" ", b"\t", b"\r", b"\n")


def _says_something(line: bytes) -> bool:
    """Has a line more than white space, a mark, a comment or a directive?"""
    text = line[3:] if _is_mark(line, b"---") or _is_mark(line, b"...") else line
    text = text.strip()
    return bool(text) and text[:1] != b"#" and not line.startswith(b"%YAML")


class Documents:
    """Borders of documents, line by line: `take` says where a document begins.

    A mark `---` begins a document, and `...` ends one. What is blank or a comment belongs to no
    record of its own, so a file may begin and end with marks.
    """

    def __init__(self) -> None:
        self.filled = False
        self._ended = False

    def take(self, line: bytes) -> bool:
        """Does this line begin a document behind one that says something?"""
        says = _says_something(line)
        new = self.filled and (_is_mark(line, b"---") or (self._ended and says))
        self._ended = _is_mark(line, b"...") or (self._ended and not new)
        self.filled = (self.filled and not new) or says
        return new


class YamlCutter:
    """One record a document, cut about every `part_bytes`."""

    def __init__(self, part_bytes: int) -> None:
        self._part_bytes = part_bytes
        self._documents = Documents()
        self._cuts: list[Cut] = []
        self._rest = b""
        self._at = 0  # behind the last whole line
        self._start = self._start_row = 0
        self._n_rows = 0

    def feed(self, chunk: bytes) -> None:
        lines = (self._rest + chunk).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            self._line(line, 1)

    def _line(self, line: bytes, n_end_bytes: int) -> None:
        if self._documents.take(line):
            self._n_rows += 1
            if self._at - self._start >= self._part_bytes:
                self._cuts.append(Cut(self._start_row, self._start, self._at))
                self._start, self._start_row = self._at, self._n_rows
        self._at += len(line) + n_end_bytes

    def finish(self, fault: tuple[str, str] | None = None) -> Cuts:
        if self._rest:
            self._line(self._rest, 0)
        if self._documents.filled:
            self._n_rows += 1
        if self._n_rows > self._start_row:
            self._cuts.append(Cut(self._start_row, self._start, self._at))
        if fault is not None:
            self._cuts.append(Cut(self._n_rows, self._at, self._at, fault))
            self._n_rows += 1
        return Cuts(tuple(self._cuts), self._n_rows)
