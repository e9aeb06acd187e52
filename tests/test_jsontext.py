"""JSON text in and out."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit import jsontext
from tracekit.errors import BadRecord
from tracekit.jsontext import CODES, compact, compact_counted, dump, parse, parse_counted

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**25), 10**25)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)


def code_of(raw: bytes) -> str:
    with pytest.raises(BadRecord) as caught:
        parse(raw)
    return caught.value.code


# Text of tokens in any spelling, so that odd numbers, doubled keys and escapes are common.
NUMBERS = st.sampled_from(["0", "-0", "1", "12", "1.0", "1.50", "1e5", "1E+5", "-1.5e-3", "1e400"])
LONG = st.integers(-(10**30), 10**30).map(str)
PIECES = st.sampled_from(
    ["a", "é", " ", "\\n", "\\t", '\\"', "\\\\", "\\/", "\\u00e9", "\\u0041", "\\ud83d", "\\ude00"]
    + ["\\u001b", "\\u2028", "\u2028", "\x7f", "茶", "\\\\u0041", "{", "}", "[", ",", ":"]
)
STRINGS = st.lists(PIECES, max_size=5).map(lambda pieces: '"' + "".join(pieces) + '"')
SPACES = st.sampled_from(["", "", " ", "\n", "\t ", "\r\n"])


def _join(opens: str, closes: str, items: list[str], space: str) -> str:
    return opens + space + f",{space}".join(items) + space + closes


SPELLED = st.recursive(
    NUMBERS | LONG | STRINGS | st.sampled_from(["true", "false", "null"]),
    lambda inner: (
        st.builds(_join, st.just("["), st.just("]"), st.lists(inner, max_size=4), SPACES)
        | st.builds(
            _join,
            st.just("{"),
            st.just("}"),
            st.lists(
                st.builds(lambda k, s, v: k + s + ":" + s + v, STRINGS, SPACES, inner), max_size=4
            ),
            SPACES,
        )
    ),
    max_leaves=10,
)


def rewritten(text: str) -> str:
    """The promise of `compact`, once more and slowly: one character after the other."""
    out, at = [], 0
    while at < len(text):
        if text[at] == '"':
            end = at + 1
            while text[end] != '"':
                end += 2 if text[end] == "\\" else 1
            plain = json.loads(text[at : end + 1])
            plain = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in plain)
            out.append(json.dumps(plain, ensure_ascii=False))
            at = end + 1
        else:
            out.append("" if text[at] in " \t\r\n" else text[at])
            at += 1
    return "".join(out)


@given(SPELLED, SPACES)
def test_compact_is_the_token_rewriter_whichever_path_it_takes(text, space):
    assert compact(space + text + space) == rewritten(text)


@given(SPELLED)
def test_compact_text_is_a_fixed_point_and_means_the_same(text):
    once = compact(text)
    assert once is not None
    assert compact(once) == once
    plain = json.loads(text)
    if not any("\ud800" <= c <= "\udfff" for c in json.dumps(plain, ensure_ascii=False)):
        assert json.loads(once) == plain


@given(st.text(alphabet='{}[]":,\\u0123456789aeE+-. \n\tdtrufalsn\ud800é', max_size=20))
def test_compact_takes_exactly_what_strict_json_takes(text):
    def refuse(word):
        raise ValueError(word)

    try:
        json.loads(text, parse_constant=refuse, parse_int=str, parse_float=str)
        whole = True
    except ValueError:
        whole = False
    assert (compact(text) is not None) == whole


@given(st.text(max_size=30))
def test_compact_never_raises(text):
    compact(text)


def test_numbers_key_order_and_doubled_keys_stay_as_written():
    text = '{ "b" : 1.50 , "a" : 1E5, "b": 123456789012345678901234567890, "z":-0 }'
    assert compact(text) == '{"b":1.50,"a":1E5,"b":123456789012345678901234567890,"z":-0}'


def test_string_and_object_arguments_become_the_same_text():
    assert compact('{"place": "Lyon", "k": 3}') == dump({"place": "Lyon", "k": 3})


def test_compact_counts_lone_surrogates_also_in_keys():
    assert compact_counted('{"\\ud800": "\\ud83d\\ude00 \\ude00"}') == (
        '{"�": "😀 �"}'.replace(" ", "", 1),
        2,
    )


@pytest.mark.parametrize("text", ["", "{", '{"a": }', "[NaN]", "{'a': 1}", "[1] x", '"\n"'])
def test_compact_leaves_what_does_not_parse(text):
    assert compact(text) is None


def test_compact_refuses_depth_on_both_paths():
    assert compact("[" * 200 + "]" * 200) == "[" * 200 + "]" * 200
    assert compact("[" * 201 + "]" * 201) is None
    assert compact("[" * 201 + " 1E5" + "]" * 201) is None
    assert compact("[" * 100_000 + "]" * 100_000) is None


@given(VALUES)
def test_dump_and_parse_are_inverse(value):
    text = dump(value)
    again = parse(text.encode())
    assert again == value
    assert dump(again) == text
    assert compact(text) == text


@given(VALUES)
def test_the_careful_path_agrees_with_the_fast_one(value):
    raw = json.dumps(value).encode()
    try:
        fast = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return
    if jsontext._has_long_run(raw):
        return
    assert jsontext._parse_carefully(raw).value == fast


def test_integers_beyond_64_bits_stay_exact():
    raw = b'{"n": [18446744073709551616, -9999999999999999999, 18446744073709551615]}'
    assert (
        dump(parse(raw)) == '{"n":[18446744073709551616,-9999999999999999999,18446744073709551615]}'
    )


def test_a_long_float_keeps_its_spelling_in_text():
    value = parse(b'{"p": 0.1234567890123456789012, "q": 1e999}')
    assert value["p"] == 0.1234567890123456789012
    assert math.isinf(value["q"])
    assert dump(value) == '{"p":0.1234567890123456789012,"q":1e999}'


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 40))
def test_no_run_of_nineteen_digits_is_missed(before, after, n):
    raw = b"x" * before + b"7" * n + b"x" * after
    assert jsontext._has_long_run(raw) == (n >= 19)


def test_lone_surrogates_are_replaced_once_and_counted_pairs_stay():
    parsed = parse_counted(rb'{"a": "ok \ud83d end", "b": "ok \ud83d\ude00 end", "\udc00": []}')
    assert parsed.value == {"a": "ok \ufffd end", "b": "ok \U0001f600 end", "\ufffd": []}
    assert parsed.repairs == (("lone_surrogate", 2),)


def test_nan_becomes_null_and_is_counted():
    parsed = parse_counted(b'{"loss": NaN, "x": [Infinity, -Infinity]}')
    assert parsed.value == {"loss": None, "x": [None, None]}
    assert parsed.repairs == (("non_finite_number", 3),)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "invalid_json"),
        (b"{'a': 1}", "invalid_json"),
        (b'{"a": 1} {"b": 2}', "invalid_json"),
        (b'"a\x00b"', "invalid_json"),
        (b'"a\nb"', "invalid_json"),
        (b"[1,]", "invalid_json"),
        (b'{"a": "caf\xe9"}', "not_utf8"),
        (b'{"a": "caf\xc3', "truncated_json"),
        (b"[" * 100_000, "too_deep"),
        (b"[" * 201 + b"]" * 201, "too_deep"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "too_deep"),
        (b'{"n": ' + b"7" * 5000 + b"}", "number_too_long"),
        (b'{"n": 0.' + b"7" * 5000 + b"}", "number_too_long"),
    ],
)
def test_bad_bytes_have_a_code(raw, code):
    assert code_of(raw) == code


@given(st.integers(1, 100))
def test_every_beginning_of_a_record_is_called_truncated(n):
    whole = b'{"id": 7, "t": [true, null, -1.5e3], "s": "\\u00e9 \\n x", "o": {"k": false}}'
    if n < len(whole):
        assert code_of(whole[:n]) == "truncated_json"


@given(st.binary(max_size=40))
def test_any_bytes_give_a_value_or_a_declared_code(raw):
    declared = {code.name for code in CODES if code.kind == "reject"}
    try:
        parse(raw)
    except BadRecord as error:
        assert error.code in declared


def test_two_hundred_levels_are_read():
    assert parse(b"[" * 200 + b"]" * 200)


def test_a_byte_order_mark_is_no_part_of_the_value():
    assert parse(b"\xef\xbb\xbf[1]") == [1]


def test_values_of_columnar_files_become_text():
    when = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    value = {"d": Decimal("1.10"), "b": b"ok", "x": b"\xff", "t": when, "n": float("nan")}
    assert dump(value) == '{"d":1.10,"b":"ok","x":"ff","t":"2026-01-02T03:04:05+00:00","n":null}'
