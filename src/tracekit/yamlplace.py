"""YAML that remembers where each value stood, read as plain Python values.

Built from parser events, so that nothing is constructed that a recipe has no use for: tags, merge
keys, doubled keys and second documents are refused, aliases are allowed up to a size, and numbers
follow the core schema of YAML 1.2 (`off` and `2026-01-02` are text). Every refusal is an error
with file, line, column and an excerpt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from tracekit.errors import UsageError
from tracekit.output import clean_line, n_columns

MAX_YAML_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_NODES = 20_000
"""Values after aliases are expanded. A recipe has some hundreds; a bomb has billions."""
MAX_DIGITS = 100
EXCERPT_COLUMNS = 100

Path: TypeAlias = tuple[str | int, ...]

_NULL = re.compile(r"(?:~|null|Null|NULL|)\Z")
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
_INT = re.compile(r"(?:[-+]?[0-9](?:_?[0-9])*|0o[0-7]+|0x[0-9a-fA-F]+)\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9](?:_?[0-9])*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z")


class RecipeError(UsageError):
    """A recipe that cannot be read or says something that no recipe can say."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands, counted from 0, and how many characters it takes on that line."""

    line: int
    column: int
    width: int


@dataclass(frozen=True, slots=True)
class Placed:
    """A YAML document as plain values, with the place of every key and value."""

    name: str
    """File name for messages."""
    text: str
    value: Any
    keys: dict[Path, Place]
    values: dict[Path, Place]

    def error(
        self,
        what: str,
        path: Path,
        *,
        at_key: bool = False,
        mark: str = "",
        expected: str | None = None,
        fix: str | None = None,
        more: str = "",
    ) -> RecipeError:
        """An error at a key or value; a path that is not there means its nearest parent."""
        place = self._place(path, at_key=at_key)
        return _error(self.name, self.text, place, what, mark, expected, fix, more)

    def position(self, path: Path, *, at_key: bool = False) -> tuple[int, int]:
        """Line and column of a key or value, counted from 1."""
        place = self._place(path, at_key=at_key)
        return place.line + 1, place.column + 1

    def _place(self, path: Path, *, at_key: bool) -> Place:
        while path:
            order = (self.keys, self.values) if at_key else (self.values, self.keys)
            for places in order:
                if path in places:
                    return places[path]
            path, at_key = path[:-1], True
        return self.values.get((), Place(0, 0, 1))


def excerpt(text: str, place: Place, mark: str = "") -> str:
    r"""The line of a place with carets under it and a remark after them.

    >>> print(excerpt("a: 1\nfilter: {max_token: 3}", Place(1, 9, 9), "did you mean 'max_tokens'?"))
    2 | filter: {max_token: 3}
      |          ^^^^^^^^^ did you mean 'max_tokens'?
    """
    lines = text.split("\n")
    line = lines[place.line].rstrip("\r") if place.line < len(lines) else ""
    column = min(place.column, len(line))
    # The window keeps the caret in sight where a line is very long.
    first = max(0, column - EXCERPT_COLUMNS // 2)
    last = first + EXCERPT_COLUMNS
    before = ("..." if first else "") + clean_line(line[first:column].replace("\t", " "))
    marked = clean_line(line[column : min(column + place.width, last)].replace("\t", " "))
    after = clean_line(line[column + place.width : last].replace("\t", " "))
    number = str(place.line + 1)
    carets = "^" * max(1, n_columns(marked))
    return (
        f"{number} | {before}{marked}{after}{'...' if last < len(line) else ''}\n"
        f"{' ' * len(number)} | {' ' * n_columns(before)}{carets} {mark}".rstrip()
    )


def load(raw: bytes, name: str) -> Placed:
    """One YAML document as plain dicts, lists, text, numbers, booleans and None.

    name: the file's name, for messages. Raises RecipeError.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    if len(raw) > MAX_YAML_BYTES:
        raise RecipeError(
            f"the recipe is {len(raw):,} bytes long",
            where=name,
            expected=f"a YAML file of at most {MAX_YAML_BYTES:,} bytes",
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise RecipeError(
            "the recipe is not UTF-8 text",
            where=f"{name}:{line}",
            expected=f"UTF-8; byte 0x{raw[error.start]:02x} at offset {error.start} is not",
        ) from error
    reader = _Reader(name, text)
    try:
        return reader.read(YAML(typ="safe", pure=True).parse(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line, mark.column, 1) if mark is not None else Place(0, 0, 1)
        what = f"not YAML: {error.problem or error.context or 'cannot be parsed'}"
        context = f"{error.context}" if error.context and error.problem else ""
        raise _error(name, text, place, what, context, None, None, "") from error
    except YAMLError as error:
        # The character check of the reader runs first and knows an offset, no line.
        at = getattr(error, "position", None)
        offset = at if isinstance(at, int) and 0 <= at <= len(text) else 0
        place = Place(text.count("\n", 0, offset), offset - (text.rfind("\n", 0, offset) + 1), 1)
        first = str(error).splitlines()[0]
        raise _error(name, text, place, f"not YAML: {first}", "", None, None, "") from error


def _error(
    name: str,
    text: str,
    place: Place,
    what: str,
    mark: str,
    expected: str | None,
    fix: str | None,
    more: str,
) -> RecipeError:
    shown = excerpt(text, place, mark)
    return RecipeError(
        what,
        where=f"{name}:{place.line + 1}:{place.column + 1}",
        excerpt=f"{shown}\n{more}" if more else shown,
        expected=expected,
        fix=fix,
        wrote="nothing was read or written",
    )


class _Reader:
    """Events to values. Depth is bounded, so that recursion is safe."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.keys: dict[Path, Place] = {}
        self.values: dict[Path, Place] = {}
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.n_nodes = 0

    def read(self, events: Iterator[Any]) -> Placed:
        value: Any = None
        n_documents = 0
        for event in events:
            kind = type(event).__name__
            if kind == "DocumentStartEvent":
                n_documents += 1
                if n_documents > 1:
                    raise self.refuse(event, "a second document", "one document, without `---`")
                if event.version is not None or event.tags:
                    raise self.refuse(event, "a YAML directive", "a recipe without `%` lines")
            elif kind in ("StreamStartEvent", "StreamEndEvent", "DocumentEndEvent"):
                continue
            else:
                value = self.node(event, events, (), 0)
        return Placed(self.name, self.text, value, self.keys, self.values)

    def node(self, event: Any, events: Iterator[Any], path: Path, depth: int) -> Any:
        kind = type(event).__name__
        place = self.place(event)
        self.values[path] = place
        if depth > MAX_DEPTH:
            raise self.refuse(event, f"nested deeper than {MAX_DEPTH} levels", "a flat recipe")
        if kind == "AliasEvent":
            if event.anchor not in self.anchors:
                raise self.refuse(
                    event, f"no anchor {event.anchor!r} before this alias", f"&{event.anchor} first"
                )
            value, n_nodes = self.anchors[event.anchor]
            self.count(event, n_nodes)
            return value
        if event.tag is not None:
            raise self.refuse(event, f"a tag, {event.tag!r}", "plain values: a recipe has no tags")
        before = self.n_nodes
        self.count(event, 1)
        value = self.content(kind, event, events, path, depth)
        if event.anchor is not None:
            # Known only when complete: an alias inside its own anchor is then unknown.
            self.anchors[event.anchor] = (value, self.n_nodes - before)
        return value

    def content(self, kind: str, event: Any, events: Iterator[Any], path: Path, depth: int) -> Any:
        if kind == "ScalarEvent":
            return self.scalar(event)
        if kind == "SequenceStartEvent":
            items: list[Any] = []
            for inner in events:
                if type(inner).__name__ == "SequenceEndEvent":
                    break
                items.append(self.node(inner, events, (*path, len(items)), depth + 1))
            return items
        mapping: dict[str, Any] = {}
        for inner in events:
            if type(inner).__name__ == "MappingEndEvent":
                break
            key = self.key(inner)
            if key in mapping:
                line = self.keys[(*path, key)].line + 1
                raise self.refuse(
                    inner, f"key {key!r} is given twice", f"once; first in line {line}"
                )
            self.keys[(*path, key)] = self.place(inner)
            mapping[key] = self.node(next(events), events, (*path, key), depth + 1)
        return mapping

    def key(self, event: Any) -> str:
        if type(event).__name__ != "ScalarEvent" or event.tag is not None or event.anchor:
            raise self.refuse(event, "a key that is not plain text", "a word as the key")
        if event.value == "<<" and event.style is None:
            raise self.refuse(event, "a merge key `<<`", "the keys written out")
        # Every key is text as written: `null: keep` names the key "null".
        return str(event.value)

    def scalar(self, event: Any) -> Any:
        text = event.value
        if event.style is not None:
            return text
        if _NULL.match(text):
            return None
        if _BOOL.match(text):
            return text.lower() == "true"
        if _INT.match(text):
            if len(text) > MAX_DIGITS:
                raise self.refuse(event, f"a number of {len(text):,} characters", "a shorter one")
            digits = text.replace("_", "")
            base = {"0x": 16, "0o": 8}.get(digits[:2], 10)
            return int(digits, base)
        if _FLOAT.match(text):
            return float(text.replace("_", ""))
        if _NOT_FINITE.match(text):
            raise self.refuse(event, f"{text} is not a number that a recipe can use", "a number")
        return text

    def count(self, event: Any, n_nodes: int) -> None:
        self.n_nodes += n_nodes
        if self.n_nodes > MAX_NODES:
            raise self.refuse(
                event,
                f"more than {MAX_NODES:,} values once its aliases are expanded",
                "fewer or no aliases",
            )

    def place(self, event: Any) -> Place:
        start, end = event.start_mark, event.end_mark
        if start.line == end.line:
            return Place(start.line, start.column, max(1, end.column - start.column))
        return Place(start.line, start.column, 1)

    def refuse(self, event: Any, what: str, expected: str) -> RecipeError:
        return _error(self.name, self.text, self.place(event), what, "", expected, None, "")
