"""Amounts as people write them: `10M` tokens, `64MiB` bytes, exactly or not at all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

_DECIMAL = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12}
_BYTES = {
    "": 1,
    "B": 1,
    "k": 10**3,
    "K": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_AMOUNT = re.compile(r"([0-9](?:_?[0-9])*(?:\.[0-9]+)?) ?([A-Za-z]*)\Z")
_MAX_AMOUNT = 2**63 - 1


def _amount(value: object, units: Mapping[str, int], example: str) -> int:
    """An exact whole number from `10M`, `1_000` or 1000; raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"a whole number such as {example}")
    if isinstance(value, float):
        if not value.is_integer() or abs(value) > 2**53:
            raise ValueError(f"a whole number such as {example}")
        value = int(value)
    if isinstance(value, int):
        amount = Decimal(value)
    else:
        match = _AMOUNT.match(value.strip()[:64])
        if match is None or match[2] not in units:
            known = ", ".join(u for u in units if u)
            raise ValueError(f"a whole number such as {example}; known units: {known}")
        try:
            amount = Decimal(match[1].replace("_", "")) * units[match[2]]
        except InvalidOperation:
            raise ValueError(f"a whole number such as {example}") from None
    if amount != amount.to_integral_value():
        raise ValueError(f"a whole number such as {example}; this one is {amount.normalize()}")
    if not 0 <= amount <= _MAX_AMOUNT:
        raise ValueError("a number from 0 to 9,223,372,036,854,775,807")
    return int(amount)


def tokens_of(value: object) -> int:
    """Token count from `10M`, `32k`, `10_000_000` or an int, exactly. Raises ValueError.

    >>> tokens_of("10M"), tokens_of("1.5k"), tokens_of(7)
    (10000000, 1500, 7)
    """
    return _amount(value, _DECIMAL, "10M or 10_000_000")


def bytes_of(value: object) -> int:
    """Byte count from `64MiB`, `500MB`, `1_000` or an int, exactly. Raises ValueError.

    >>> bytes_of("64MiB"), bytes_of("1 kB")
    (67108864, 1000)
    """
    return _amount(value, _BYTES, "64MiB or 500MB")
