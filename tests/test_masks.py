"""Training masks: their polarity is said and not guessed, and a reversed one stops and asks."""

from pathlib import Path
from typing import Any

import pytest

from road import lines, travel
from tracekit.errors import InputError


def record(asked: str, user_flag: Any, reply_flag: Any, key: str = "mask") -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": asked, key: user_flag},
            {"role": "assistant", "content": f"{asked} is fine.", key: reply_flag},
        ]
    }


FOUR = [record(f"q{k} what", 0, 1) for k in range(4)]


def weights(road: Any) -> list[Any]:
    return [t["messages"][1]["weight"] for t in road.traces()]


def test_a_mask_that_no_option_explains_changes_nothing_and_is_kept(tmp_path: Path) -> None:
    road = travel(tmp_path, {"a.jsonl": FOUR}, dedupe=False)
    assert weights(road) == [None] * 4
    assert all('"mask":1' in t["messages"][1]["meta"] for t in road.traces())


@pytest.mark.parametrize(("meaning", "trained"), [("true_trains", True), ("true_masks", False)])
def test_the_option_says_what_a_mask_means(tmp_path: Path, meaning: str, trained: bool) -> None:
    mixed = [*FOUR, {**FOUR[0], "messages": [m | {"mask": 1} for m in FOUR[0]["messages"]]}]
    options = {"made": {"options": {"mask": meaning}}}
    if not trained:
        with pytest.raises(InputError, match="every user turn is trained on and no reply is"):
            travel(tmp_path, {"a.jsonl": mixed}, dedupe=False, sources=options)
        assert not (tmp_path / "run" / "work" / "manifest.json").exists()
        return
    road = travel(tmp_path, {"a.jsonl": mixed}, dedupe=False, sources=options)
    assert weights(road) == [1.0] * 5
    assert all(t["n_target_tokens"] > 0 for t in road.evidence("tokens"))


@pytest.mark.parametrize("key", ["weight", "loss", "train"])
@pytest.mark.parametrize("dress", ["messages", "conversations"])
def test_a_source_full_of_reversed_weights_stops_and_asks(
    tmp_path: Path, key: str, dress: str
) -> None:
    found: list[Any] = [record(f"q{k} what", 1, 0, key) for k in range(4)]
    if dress == "conversations":
        names = {"user": "human", "assistant": "gpt"}
        found = [
            {
                "conversations": [
                    {"from": names[m["role"]], "value": m["content"], key: m[key]}
                    for m in one["messages"]
                ]
            }
            for one in found
        ]
    with pytest.raises(InputError) as caught:
        travel(tmp_path, {"a.jsonl": found})
    assert "4 of 4 records" in str(caught.value)
    assert "mask" in str(caught.value)


def test_a_single_reversed_record_is_refused_alone(tmp_path: Path) -> None:
    found = [record(f"q{k} what", 0, 1, "weight") for k in range(4)]
    road = travel(tmp_path, {"a.jsonl": [*found, record("odd", 1, 0, "weight")]}, dedupe=False)
    assert [r["code"] for r in road.rejects()] == ["mask_polarity_reversed"]
    assert len(road.rows()) == 4


def test_untrained_replies_alone_are_no_reversal(tmp_path: Path) -> None:
    untrained = {
        "messages": [
            {"role": "user", "content": "hello there"},
            {"role": "assistant", "content": "not this", "weight": 0},
            {"role": "user", "content": "and now"},
            {"role": "assistant", "content": "this", "weight": 1},
        ]
    }
    road = travel(tmp_path, {"a.jsonl": lines([untrained])})
    assert [m["weight"] for m in road.traces()[0]["messages"]] == [None, 0.0, None, 1.0]
