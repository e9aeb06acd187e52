"""Tokenizers: equal to the reference on everything, control-token text is text, clear errors."""

import dataclasses
import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracekit import tokenizer_json, tokenizers
from tracekit.errors import InputError, UsageError
from tracekit.stress import stress_texts
from tracekit.tokenizer_json import flat_of
from tracekit.tokenizers import load

GOLDEN = (
    "Let x = 2024; it's naïve.\n\n  日本語 и русский: ปี 😀\t加拿大 e\u0301 <|im_end|>",
    [9764, 830, 283, 220, 17, 15, 17, 19, 26, 424, 579, 91603, 571, 13, 271, 220, 220,
     247359, 7347, 211075, 25, 170827, 87209, 197, 95984, 97048, 95779, 3825, 79790, 316,
     6018, 91, 29],
)  # fmt: skip

any_text = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60)


@pytest.fixture(scope="module")
def qwen():
    return load()


def ids_of(tokenizer, text):
    return tokenizer.encode_flat([text])[0].tolist()


def test_golden_ids_do_not_move(qwen):
    assert ids_of(qwen, GOLDEN[0]) == GOLDEN[1]


def test_the_fast_backend_was_proven_and_is_named(qwen):
    assert qwen.backend.startswith("fastokens ")


def test_the_stress_set_is_encoded_as_the_reference_does(qwen):
    assert qwen.sample_check(stress_texts()) == []


@settings(max_examples=300, deadline=None)
@given(st.lists(any_text, max_size=5))
def test_any_text_is_encoded_as_the_reference_does(texts):
    tokenizer = load()
    assert tokenizer.sample_check(texts) == []
    ids, offsets = tokenizer.encode_flat(texts)
    assert ids.dtype == np.uint32
    assert offsets.dtype == np.int64
    assert tokenizer.count(texts).tolist() == np.diff(offsets).tolist()


@settings(max_examples=300, deadline=None)
@given(any_text)
def test_the_bytes_of_the_ids_are_the_bytes_of_the_text_in_nfc(text):
    tokenizer = load()
    n_bytes = int(tokenizer.bytes_per_id_V[ids_of(tokenizer, text)].sum())
    assert n_bytes == len(unicodedata.normalize("NFC", text).encode())


def test_control_token_text_is_text(qwen):
    for name in qwen.specials:
        ids = ids_of(qwen, f"a {name} b")
        assert not set(ids) & set(qwen.specials.values())
        assert len(ids_of(qwen, name)) > 1


def test_control_tokens_are_found_by_name_and_unknown_ones_are_refused(qwen):
    assert qwen.special("<|im_start|>") == 248045
    with pytest.raises(UsageError, match="no control token"):
        qwen.special("<|nothing|>")


def test_words_that_no_merge_reaches_count_as_the_reference_counts(qwen):
    assert qwen.count(["加拿大"]).tolist() == [3]


@pytest.mark.parametrize("text", ["e\u0301", "\u1100\u1161\u11a8", "\u212b", "q\u0323\u0307"])
def test_text_is_counted_in_nfc(qwen, text):
    assert ids_of(qwen, text) == ids_of(qwen, unicodedata.normalize("NFC", text))


def test_a_lone_surrogate_counts_as_the_replacement_character_and_a_pair_is_joined(qwen):
    assert ids_of(qwen, "ok \ud83d end") == ids_of(qwen, "ok \ufffd end")
    assert ids_of(qwen, "\ud83d\ude00") == ids_of(qwen, "😀")
    assert qwen.sample_check(["ok \ud83d end", "\udc00"]) == []


def test_no_texts_and_empty_texts_are_encoded(qwen):
    assert [x.tolist() for x in qwen.encode_flat([])] == [[], [0]]
    assert [x.tolist() for x in qwen.encode_flat(["", ""])] == [[], [0, 0, 0]]


@pytest.mark.parametrize("unit", [" ", "a", "^", "\n"])
def test_a_million_of_one_character_is_counted(qwen, unit):
    text = unit * 1_000_000
    before, n, after = qwen.count(["x", text, "x"]).tolist()
    assert (before, after) == (1, 1)
    assert 1_000_000 / 200 < n <= 1_000_000


def small_tokenizer(folder, *, added=(), normalizer=None, name="tokenizer.json"):
    """A byte-level tokenizer.json made here: bytes, and one merge."""
    from tracekit.vocabulary import byte_alphabet

    vocab = {c: k for k, c in enumerate(byte_alphabet())}
    vocab["th"] = 256
    value = {
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst",
                       "stride": 0},
        "padding": None,
        "added_tokens": [
            {"id": 257 + k, "content": c, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": False}
            for k, c in enumerate(added)
        ],
        "normalizer": normalizer,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                          "use_regex": True},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                    "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": vocab, "merges": [["t", "h"]]},
    }  # fmt: skip
    path = folder / name
    path.write_text(json.dumps(value), "utf-8")
    return path


def test_a_tokenizer_file_or_its_folder_can_be_named(tmp_path):
    path = small_tokenizer(tmp_path, added=["<|end|>", "   "])
    by_file, by_folder = load(str(path)), load(str(tmp_path))
    assert ids_of(by_file, "the") == [256, ord("e")]
    assert ids_of(by_file, "the") == ids_of(by_folder, "the")
    assert by_file.sha256 == by_folder.sha256
    assert by_file.exact == ""
    assert not by_file.nfc


def test_control_tokens_of_a_file_are_text_and_ordinary_added_words_stay_words(tmp_path):
    tokenizer = load(str(small_tokenizer(tmp_path, added=["<|end|>", "   "])))
    assert tokenizer.specials == {"<|end|>": 257}
    assert 257 not in ids_of(tokenizer, "a<|end|>")
    assert ids_of(tokenizer, "a   b")[1] == 258


def test_a_backend_that_differs_is_not_used_and_the_handle_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACEKIT_CACHE", str(tmp_path / "cache"))
    path = small_tokenizer(tmp_path, added=["<|a|>"])

    class Wrong:
        @staticmethod
        def from_json_str(text):
            return Wrong()

        def encode_batch_flat(self, texts, split_special_tokens):
            return b"\x01\0\0\0" * len(texts), np.arange(len(texts) + 1, dtype=np.uint64).tobytes()

    import fastokens._native

    monkeypatch.setattr(fastokens._native, "Tokenizer", Wrong)
    tokenizer = tokenizers._from_json("x", source="x", document=path.read_bytes())
    assert tokenizer.backend.startswith("tokenizers ")
    assert "differ" in tokenizer.backend
    assert ids_of(tokenizer, "the") == [256, ord("e")]
    (proof,) = (tmp_path / "cache").iterdir()
    assert not proof.read_text().startswith("0 of ")


def test_a_sample_that_differs_is_named(qwen):
    texts = ["same", "other", "same"]

    def wrong(batch):
        return qwen.encoder(["x" if t == "other" else t for t in batch])

    assert dataclasses.replace(qwen, encoder=wrong).sample_check(texts) == [1]


def test_a_panic_of_the_fast_backend_falls_back_to_the_reference(qwen, caplog):

    class PanicException(BaseException):
        pass

    def panics(batch):
        raise PanicException("stack")

    assert ids_of(dataclasses.replace(qwen, encoder=panics), "the end") == ids_of(qwen, "the end")
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"model": {}}', '{"model": {"vocab": {"a": 0}}}']
)
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        load(str(path))
    assert str(path) in str(caught.value)


def test_names_that_are_nothing_are_refused_with_the_ways_out(tmp_path):
    with pytest.raises(UsageError, match=r"Did you mean 'qwen3\.5'"):
        load("qwen3_5")
    with pytest.raises(InputError, match="no tokenizer file"):
        load(str(tmp_path))
    with pytest.raises(InputError, match="no tokenizer file"):
        load("missing/tokenizer.json")


def test_tiktoken_without_network_and_files_says_what_to_do(monkeypatch):
    import tiktoken

    def fails(name):
        raise OSError("no network")

    monkeypatch.setattr(tiktoken, "get_encoding", fails)
    with pytest.raises(InputError, match="TIKTOKEN_CACHE_DIR"):
        load("cl100k_base")


def test_the_hub_without_network_names_the_file_form(monkeypatch):
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.hf_hub_download", _no_network)
    with pytest.raises(InputError, match=r"path/to/tokenizer\.json"):
        load("hf:org/name@main")


def _no_network(*args, **kwargs):
    raise OSError("no network")


@pytest.fixture
def tiny_tiktoken(monkeypatch):
    import tiktoken

    encoding = tiktoken.Encoding(
        "tiny",
        pat_str=r"""\p{L}+|\s+(?!\S)|\s+|[^\p{L}\s]+""",
        mergeable_ranks={bytes([b]): b for b in range(256)} | {b"th": 256, b"  ": 257},
        special_tokens={"<|endoftext|>": 258},
    )
    monkeypatch.setattr(tiktoken, "get_encoding", lambda name: encoding)
    return tokenizers._from_tiktoken("cl100k_base")


def test_tiktoken_is_used_as_it_is(tiny_tiktoken):
    assert ids_of(tiny_tiktoken, "the") == [256, ord("e")]
    assert 258 not in ids_of(tiny_tiktoken, "<|endoftext|>")
    assert tiny_tiktoken.bytes_per_id_V[[0, 256, 258]].tolist() == [1, 2, 13]
    assert ids_of(tiny_tiktoken, "\ud83d") == list("\ufffd".encode())


def test_a_long_run_of_spaces_does_not_panic_tiktoken_and_is_marked_inexact(tiny_tiktoken):
    text = "a" + " " * 1_000_000 + "b"
    assert tiny_tiktoken.count([text]).tolist()[0] >= 500_000
    assert tiny_tiktoken.inexact(["a b", text]) == [1]


def test_lists_of_ids_become_one_flat_array():
    ids, offsets = tokenizer_json.flat_of([[1, 2], [], [3]])
    assert (ids.tolist(), offsets.tolist()) == ([1, 2, 3], [0, 2, 2, 3])


def traces_folder():
    named = os.environ.get("TRACEKIT_TRACES")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "traces"
    if not folder.is_dir():
        pytest.skip("no folder of real traces: set TRACEKIT_TRACES")
    return folder


@pytest.mark.slow
def test_real_text_is_encoded_as_the_reference_does(qwen):
    files = sorted(p for p in traces_folder().rglob("*") if p.is_file())
    texts = []
    for path in files:
        raw = path.read_bytes()[:60_000]
        if b"\0" not in raw:
            texts.append(raw.decode("utf-8", "replace"))
    assert len(texts) > 100
    assert qwen.sample_check(texts) == []


@pytest.mark.slow
def test_a_loaded_tokenizer_encodes_in_a_forked_child(tmp_path):
    code = """
import os, signal
from tracekit.tokenizers import load
tokenizer = load()
tokenizer.encode_flat(["warm it up"] * 100)
child = os.fork()
if child == 0:
    signal.alarm(30)
    n = int(tokenizer.count(["hello world"] * 1000).sum())
    os._exit(0 if n == 2000 else 1)
raise SystemExit(os.waitpid(child, 0)[1])
"""
    # A fresh cache: building and proving run before the fork too.
    env = {**os.environ, "TRACEKIT_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=env, timeout=120)
    assert done.returncode == 0


def test_a_sample_that_differs_makes_the_reference_count_the_whole_part(tmp_path, monkeypatch):
    """A wrong fast encoder must not cost a count: found on real text, told, and counted."""
    import tracekit
    from tracekit import tokens
    from tracekit.recipe import Recipe

    monkeypatch.setenv("TRACEKIT_WORKERS", "0")
    messages = [
        {"role": "user", "content": f"What is nine times {k}, and why is it so?"} for k in range(40)
    ]
    answer = {"role": "assistant", "content": "Ninety nine and some, since nine is a number."}
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"messages": [m, answer]}) + "\n" for m in messages))
    recipe = Recipe.from_dict({"sources": {"a": {"path": str(path)}}, "dedupe": False})
    right = tracekit.run(recipe, work=tmp_path / "w1", out=tmp_path / "s1")
    qwen = load()
    wrong = dataclasses.replace(
        qwen, encoder=lambda texts: flat_of([[1, 2, 3] if "nine" in t else [4] for t in texts])
    )
    monkeypatch.setattr(tokenizers, "load", lambda name="qwen3.5": wrong)
    told = tracekit.run(recipe, work=tmp_path / "w2", out=tmp_path / "s2")
    assert told.law == right.law
    counted = [json.loads((tmp_path / s / "manifest.json").read_bytes()) for s in ("s1", "s2")]
    assert counted[0]["n_tokens"] == counted[1]["n_tokens"] > 0
    assert any("counted by its reference" in note for note in told.notes)
    assert not any("counted by its reference" in note for note in right.notes)
    with pytest.raises(tokenizers.FastDiffers):
        tokens.measure([{"messages": [*messages[:1], answer], "tools": None}], wrong)
