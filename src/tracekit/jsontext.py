"""JSON text in and out: records to values, values to canonical text, arguments to one spelling.

Three functions carry the subject. `parse` reads the bytes of a record and accepts nothing
silently: what it changes it counts, what it cannot read it names by a code. `compact` rewrites
JSON text token by token, so that numbers, key order and doubled keys stay as written. `dump`
writes a value.

Both `compact` and `dump` give the same text for the same content: no white space, only the escapes
that JSON demands, lone surrogates replaced by U+FFFD.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn

import orjson

from tracekit.codes import Code
from tracekit.errors import BadRecord

MAX_DEPTH = 200
"""Nested arrays and objects; parsers stop anywhere between 250 and a few thousand."""
MAX_NUMBER_CHARS = 4300
"""Characters of one number; the standard library reads no longer integer either."""

CODES = (
    Code(
        name="invalid_json",
        kind="reject",
        what="The bytes of the record are no JSON; the detail says where.",
        fix="Look at the stored raw record with `tracekit why --raw`, or at the file and row.",
    ),
    Code(
        name="truncated_json",
        kind="reject",
        what="The record is the beginning of a JSON value and ends too early.",
        why="The writer was interrupted, or a line was cut at a size limit.",
    ),
    Code(name="not_utf8", kind="reject", what="The record holds bytes that are no UTF-8."),
    Code(
        name="too_deep",
        kind="reject",
        what=f"Arrays and objects are nested more than {MAX_DEPTH} deep.",
        why="Such depth is no trace; it exhausts the stack of whoever reads it.",
    ),
    Code(
        name="number_too_long",
        kind="reject",
        what=f"A number of the record has more than {MAX_NUMBER_CHARS:,} characters.",
    ),
    Code(
        name="lone_surrogate",
        kind="repair",
        what="An escape names half of a surrogate pair; the half became U+FFFD. Whole pairs stay.",
        why="Half a pair is no character: tokenizers and Parquet writers fail on it.",
    ),
    Code(
        name="non_finite_number",
        kind="repair",
        what="NaN or Infinity, which JSON does not have, became null.",
    ),
)

_SURROGATE = re.compile("[\ud800-\udfff]")
_SPACES = str.maketrans("", "", " \t\n\r")
# Digits become 0 and all other bytes 1, so that a run of digits is a substring search.
_DIGITS_AS_ZERO = bytes(48 if 48 <= byte < 58 else 1 for byte in range(256))
_LONG_RUN = 19  # up to 18 digits, any integer fits 64 bits


class LongFloat(float):
    """A float that is spelled with more digits than a float holds; `dump` writes the spelling."""

    __slots__ = ("text",)
    text: str

    def __reduce__(self) -> tuple[Any, ...]:
        return (_long_float, (self.text,))


def _long_float(text: str) -> LongFloat:
    number = LongFloat(text)
    number.text = text
    return number


@dataclass(frozen=True, slots=True)
class Parsed:
    """A value with what was changed to read it."""

    value: Any
    repairs: tuple[tuple[str, int], ...] = ()
    """(code, how often), without zeros."""


def parse(raw: bytes) -> Any:
    """Value of the JSON text of one record.

    Integers of any size up to MAX_NUMBER_CHARS digits stay exact; of two equal keys the last wins.
    Raises BadRecord: invalid_json, truncated_json, not_utf8, too_deep, number_too_long.

    >>> parse(b'{"n": 18446744073709551616}')
    {'n': 18446744073709551616}
    """
    return parse_counted(raw).value


def parse_counted(raw: bytes) -> Parsed:
    """`parse`, with the repairs that it made: lone_surrogate, non_finite_number.

    >>> parse_counted(rb'["\\ud83d", "\\ud83d\\ude00"]').repairs
    (('lone_surrogate', 1),)
    """
    if _has_long_run(raw):
        # orjson reads integers beyond 64 bits as floats, without a word.
        return _parse_carefully(raw)
    try:
        value = orjson.loads(raw)
    except (orjson.JSONDecodeError, TypeError, RecursionError):
        return _parse_carefully(raw)
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH:
        _refuse_depth(value)
    return Parsed(value)


def _has_long_run(raw: bytes) -> bool:
    # A run of 19 digits covers four neighbours in every fourth byte: a quarter of the work.
    if b"0000" not in raw[3::4].translate(_DIGITS_AS_ZERO):
        return False
    return b"0" * _LONG_RUN in raw.translate(_DIGITS_AS_ZERO)


class _TooLong(ValueError):
    pass


def _parse_carefully(raw: bytes) -> Parsed:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        ends_early = error.reason == "unexpected end of data"
        raise BadRecord(
            "truncated_json" if ends_early else "not_utf8", f"byte {error.start}: {error.reason}"
        ) from None
    text = text.removeprefix("\ufeff")
    non_finite: list[str] = []

    def integer(digits: str) -> int:
        if len(digits) > MAX_NUMBER_CHARS:
            raise _TooLong
        return int(digits)

    def fraction(digits: str) -> float:
        if len(digits) > MAX_NUMBER_CHARS:
            raise _TooLong
        number = float(digits)
        if number in (float("inf"), float("-inf")) or _has_long_run(digits.encode()):
            return _long_float(digits)
        return number

    decoder = json.JSONDecoder(
        parse_int=integer, parse_float=fraction, parse_constant=non_finite.append
    )
    try:
        value = decoder.decode(text)
    except json.JSONDecodeError as error:
        _refuse_text(text, error)
    except RecursionError:
        raise BadRecord("too_deep", f"more than {MAX_DEPTH} nested arrays or objects") from None
    except ValueError:
        raise BadRecord("number_too_long", f"more than {MAX_NUMBER_CHARS} characters") from None
    _refuse_depth(value)
    repairs: list[tuple[str, int]] = []
    if "\\ud" in text or "\\uD" in text:
        counts: list[int] = []
        value = _without_surrogates(value, counts)
        if counts:
            repairs.append(("lone_surrogate", sum(counts)))
    if non_finite:
        repairs.append(("non_finite_number", len(non_finite)))
    return Parsed(value, tuple(repairs))


def _refuse_text(text: str, error: json.JSONDecodeError) -> NoReturn:
    whole = text.rstrip()
    if not whole:
        raise BadRecord("invalid_json", "no text") from None
    rest = whole[error.pos :]
    ends_early = (
        not rest
        or error.msg.startswith("Unterminated string")
        or (error.msg.startswith("Invalid \\") and len(rest) < 6)
        or (error.msg.startswith("Expecting value") and _begins_a_word(rest))
        # A comma or bracket that stands last: what should follow is missing.
        or _NUMBER_END.fullmatch(rest) is not None
        or (rest == "," and error.msg.startswith(("Expecting", "Illegal trailing comma")))
    )
    place = f"{error.msg} at line {error.lineno} column {error.colno} (character {error.pos})"
    raise BadRecord("truncated_json" if ends_early else "invalid_json", place) from None


_NUMBER_END = re.compile(r"[.eE][+-]?")


def _begins_a_word(rest: str) -> bool:
    return rest == "-" or any(word.startswith(rest) for word in ("true", "false", "null"))


def deeper_than(value: Any, depth: int) -> bool:
    """Are arrays and objects of a value nested more than `depth` deep?

    >>> deeper_than([{"a": 1}], 1), deeper_than([{"a": 1}], 2)
    (True, False)
    """
    level = [value] if type(value) in (dict, list) else []
    while level:
        if depth <= 0:
            return True
        depth -= 1
        below: list[Any] = []
        for container in level:
            children = container.values() if type(container) is dict else container
            below.extend([child for child in children if type(child) in (dict, list)])
        level = below
    return False


def _refuse_depth(value: Any) -> None:
    if deeper_than(value, MAX_DEPTH):
        raise BadRecord("too_deep", f"more than {MAX_DEPTH} nested arrays or objects")


def _without_surrogates(value: Any, counts: list[int]) -> Any:
    if type(value) is str:
        if value.isascii() or not (found := _SURROGATE.findall(value)):
            return value
        counts.append(len(found))
        return _SURROGATE.sub("\ufffd", value)
    if type(value) is list:
        return [_without_surrogates(child, counts) for child in value]
    if type(value) is dict:
        return {
            _without_surrogates(key, counts): _without_surrogates(child, counts)
            for key, child in value.items()
        }
    return value


def compact(text: str) -> str | None:
    """JSON text in its one spelling, or None where it does not parse.

    White space goes, string escapes are decoded where JSON allows it, lone surrogates become
    U+FFFD. Numbers, key order and doubled keys stay as written.

    >>> compact('{"b": 1.50, "a": "\\\\u00e9",  "b": 1E5}')
    '{"b":1.50,"a":"é","b":1E5}'
    """
    found = compact_counted(text)
    return None if found is None else found[0]


def compact_counted(text: str) -> tuple[str, int] | None:
    """`compact`, with the number of lone surrogates that were replaced."""
    if "\\u" not in text and "\\/" not in text:
        try:
            spelled = orjson.dumps(orjson.loads(text)).decode()
        except (orjson.JSONDecodeError, TypeError, RecursionError):
            return _rewrite(text)
        # Without those escapes a string token is spelled as it stood, so only numbers and doubled
        # keys can differ. Blanks aside, equal characters are equal tokens: the text as written.
        if (spelled == text or spelled.translate(_SPACES) == text.translate(_SPACES)) and (
            text.count("[") + text.count("{") <= MAX_DEPTH
        ):
            return spelled, 0
    return _rewrite(text)


_STRING_OR_SPACE = re.compile(r'"([^"\\]*+(?:\\.[^"\\]*+)*+)"|[ \t\n\r]++', re.DOTALL)


def _rewrite(text: str) -> tuple[str, int] | None:
    """The token rewriter that `compact` promises, for text of any spelling."""
    try:
        value = _GRAMMAR.decode(text)
    except (ValueError, RecursionError):
        return None
    if deeper_than(value, MAX_DEPTH):
        return None
    n_replaced = 0

    def spell(token: re.Match[str]) -> str:
        nonlocal n_replaced
        inner = token.group(1)
        if inner is None:
            return ""
        if "\\" not in inner and _SURROGATE.search(inner) is None:
            return token.group()
        decoded, n = _SURROGATE.subn("\ufffd", json.loads(token.group()))
        n_replaced += n
        return orjson.dumps(decoded).decode()

    return _STRING_OR_SPACE.sub(spell, text), n_replaced


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(word)


# Only the grammar is asked for: numbers are left as text, so their length does not matter.
_GRAMMAR = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse_constant)


def dump(value: Any) -> str:
    """Canonical JSON text of a value: compact, keys in their order, numbers exact.

    Takes what `parse` and the columnar readers give: also integers beyond 64 bits, `LongFloat`,
    Decimal, dates and times (ISO text), bytes (UTF-8 text, else hexadecimal). NaN becomes null.
    Raises TypeError for other types: a bug of ours, never of the data.

    >>> dump({"k": [1, 2.5, None], "n": 18446744073709551616})
    '{"k":[1,2.5,null],"n":18446744073709551616}'
    """
    try:
        return orjson.dumps(value).decode()
    except (TypeError, RecursionError):
        out: list[str] = []
        _write(value, out)
        return "".join(out)


def _write(value: Any, out: list[str]) -> None:
    if isinstance(value, LongFloat):
        out.append(value.text)
    elif isinstance(value, dict):
        out.append("{")
        for k, (key, child) in enumerate(value.items()):
            out.append("," if k else "")
            _write(str(key), out)
            out.append(":")
            _write(child, out)
        out.append("}")
    elif isinstance(value, (list, tuple)):
        out.append("[")
        for k, child in enumerate(value):
            out.append("," if k else "")
            _write(child, out)
        out.append("]")
    elif isinstance(value, str):
        out.append(orjson.dumps(_SURROGATE.sub("\ufffd", value)).decode())
    elif isinstance(value, int) and not isinstance(value, bool):
        out.append(str(value))
    elif isinstance(value, Decimal):
        out.append(str(value) if value.is_finite() else "null")
    elif isinstance(value, (bytes, bytearray, memoryview)):
        _write(_text_of_bytes(bytes(value)), out)
    elif hasattr(value, "total_seconds"):
        out.append(dump(value.total_seconds()))
    else:
        out.append(orjson.dumps(value).decode())


def _text_of_bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.hex()
