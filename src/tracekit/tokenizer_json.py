"""Tokenizer files (tokenizer.json): their vocabulary, the reference encoder and the fast one.

The library `tokenizers` defines what is right. `fastokens` is ten times as fast and is used where
it gave the same ids on a stress set; the proof is made once for each vocabulary and pair of
versions and kept in the user's cache folder.

Shape letters: S texts, N tokens, V vocabulary ids.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tracekit.errors import InputError
from tracekit.stress import stress_texts
from tracekit.vocabulary import read_cached, write_cached

Flat: TypeAlias = tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]
"""(ids_N, offsets_S1): text s has the ids `ids_N[offsets_S1[s]:offsets_S1[s + 1]]`."""
Encoder: TypeAlias = Callable[[Sequence[str]], Flat]

_CONTROL = re.compile(r"<[^<>\s]+>|\[[A-Z][A-Z_0-9]*\]|<\|[^<>]+\|>")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a tokenizer.json says."""

    text: str
    """The document as the encoders load it: control tokens marked special, nothing truncated."""
    sha256: str
    """SHA-256 of the document as it was read."""
    byte_level: bool
    """True where the tokens of a text have the bytes of the (normalised) text."""
    nfc: bool
    bytes_per_id_V: npt.NDArray[np.uint16]
    specials: Mapping[str, int]


def differences(one: Flat, other: Flat) -> list[int]:
    """Indices of texts whose ids differ."""
    return [
        s
        for s in range(len(one[1]) - 1)
        if not np.array_equal(
            one[0][one[1][s] : one[1][s + 1]], other[0][other[1][s] : other[1][s + 1]]
        )
    ]


def flat_of(ids: list[Any]) -> Flat:
    """Lists of ids as one flat array with offsets."""
    offsets = np.zeros(len(ids) + 1, np.int64)
    np.cumsum([len(x) for x in ids], out=offsets[1:])
    arrays = [np.asarray(x, np.uint32) for x in ids]
    return (np.concatenate(arrays) if arrays else np.zeros(0, np.uint32)), offsets


def read(document: bytes, source: str) -> Vocabulary:
    """Vocabulary of a tokenizer.json. InputError: it is no such file."""
    import orjson

    try:
        value = orjson.loads(document)
        altered = _control_tokens_special(value)
        vocab, byte_level = _vocab_of(value)
        added = value.get("added_tokens") or []
        return Vocabulary(
            text=(orjson.dumps(value) if altered else document).decode(),
            sha256=hashlib.sha256(document).hexdigest(),
            byte_level=byte_level,
            nfc=_normalises(value) == "NFC",
            bytes_per_id_V=_byte_lengths(vocab, added, byte_level),
            specials={a["content"]: int(a["id"]) for a in added if a["special"]},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unusable(source, error) from None


def _unusable(source: str, error: Exception) -> InputError:
    return InputError(
        "the tokenizer file cannot be used",
        where=source,
        expected="a tokenizer.json that the library `tokenizers` reads "
        f"({type(error).__name__}: {error})",
        fix="save it again with tokenizers or transformers (save_pretrained)",
    )


def _control_tokens_special(value: dict[str, Any]) -> bool:
    """Mark added tokens that look like control tokens as special; say whether that altered any.

    Only special ones can be told to be plain text. Others (runs of spaces in some vocabularies) are
    ordinary words and stay.
    """
    altered = False
    for key in ("truncation", "padding"):
        if value.get(key) is not None:
            value[key] = None
            altered = True
    for added in value.get("added_tokens") or []:
        if not added["special"] and _CONTROL.fullmatch(added["content"]):
            added["special"] = True
            altered = True
    return altered


def _normalises(value: dict[str, Any]) -> str:
    return str((value.get("normalizer") or {}).get("type", ""))


def _vocab_of(value: dict[str, Any]) -> tuple[dict[str, int], bool]:
    """Vocabulary by token, and whether its tokens are spelt in the byte alphabet."""
    vocab = value["model"]["vocab"]
    if isinstance(vocab, list):  # Unigram: [[token, score], ...]
        vocab = {token: k for k, (token, _) in enumerate(vocab)}
    decoder = value.get("decoder") or {}
    kinds = {decoder.get("type"), *(d.get("type") for d in decoder.get("decoders") or [])}
    plain = _normalises(value) in ("", "NFC", "NFKC", "NFD", "NFKD")
    return vocab, "ByteLevel" in kinds and plain


def _byte_lengths(
    vocab: dict[str, int], added: list[dict[str, Any]], byte_level: bool
) -> npt.NDArray[np.uint16]:
    """UTF-8 bytes of each id, uint16[V]."""
    top = max([*vocab.values(), *(int(a["id"]) for a in added), 0])
    lengths_V = np.zeros(top + 1, np.uint16)
    ids = np.fromiter(vocab.values(), np.int64, len(vocab))
    if byte_level:  # one character of the byte alphabet a byte
        lengths_V[ids] = np.fromiter(map(len, vocab), np.int64, len(vocab))
    else:
        byte = re.compile(r"<0x[0-9A-F]{2}>")
        sizes = (1 if byte.fullmatch(t) else len(t.replace("▁", " ").encode()) for t in vocab)
        lengths_V[ids] = np.fromiter(sizes, np.int64, len(vocab))
    for a in added:
        lengths_V[int(a["id"])] = len(a["content"].encode())
    return lengths_V


def reference_encoder(text: str, source: str) -> Encoder:
    import tokenizers

    try:
        hf = tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # the library raises bare Exception
        raise _unusable(source, error) from None
    hf.encode_special_tokens = True

    def encode(texts: Sequence[str]) -> Flat:
        encoded = hf.encode_batch_fast(list(texts), add_special_tokens=False)
        return flat_of([e.ids for e in encoded])

    return encode


def fast_encoder(vocabulary: Vocabulary, reference: Callable[[], Encoder]) -> tuple[Encoder, str]:
    """(encoder, backend): fastokens where it is proven equal, else the reference."""
    slow = f"tokenizers {version('tokenizers')}"
    try:
        from fastokens._native import Tokenizer as Fast

        fast_version = version("fastokens")
        fast = Fast.from_json_str(vocabulary.text)
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        return reference(), f"{slow} (fastokens cannot load it: {error})"

    def encode(texts: Sequence[str]) -> Flat:
        ids, offsets = fast.encode_batch_flat(list(texts), split_special_tokens=True)
        return np.frombuffer(ids, np.uint32), np.frombuffer(offsets, np.uint64).view(np.int64)

    texts = stress_texts()
    digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:8]
    proof = f"proof-{vocabulary.sha256[:16]}-{digest}-{fast_version}-{version('tokenizers')}.txt"
    verdict = read_cached(proof)
    if verdict is None:
        try:
            unequal = len(differences(encode(texts), reference()(texts)))
        except BaseException as error:
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            unequal = len(texts)
        verdict = f"{unequal} of {len(texts)} differ".encode()
        write_cached(proof, verdict)
    if verdict.startswith(b"0 of "):
        return encode, f"fastokens {fast_version}"
    return reference(), f"{slow} (fastokens {fast_version}: {verdict.decode()} on the stress set)"
