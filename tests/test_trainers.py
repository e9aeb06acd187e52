"""TRL trains a tiny Qwen3.5 on the token profiles, called as the card of the product says."""

import importlib.util
import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from road import Road, says, travel, user
from tracekit import vocabulary

pytestmark = [pytest.mark.slow, pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]

FULL = ["full_attention"] * 4
"""Layers that keep packed samples apart without compiled kernels."""


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "transformers", "trl", "accelerate"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: pip install torch accelerate transformers trl")
    monkeypatch.setenv("TRACEKIT_WORKERS", "0")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def chat(k: int) -> dict[str, Any]:
    return {
        "messages": [
            user(f"What is {k} and {k}?"), says(f"{2 * k}.", reasoning=f"Twice {k} is {2 * k}."),
            user("And one more?"), says(f"{2 * k + 1}.", reasoning=f"One after {2 * k}."),
        ]
    }  # fmt: skip


def product(folder: Path, profile: str, **recipe: Any) -> Road:
    shard = {"profile": profile, "context": 4_000}
    files = {"openai/a.jsonl": [chat(k) for k in range(5)]}
    return travel(folder, files, dedupe=False, shard=shard, **recipe)


def model(layers: list[str] | None) -> Any:
    """A Qwen3.5 of 16 million parameters, nearly all of them its vocabulary."""
    import torch
    from transformers import Qwen3_5ForCausalLM, Qwen3_5TextConfig

    torch.manual_seed(3)
    config = Qwen3_5TextConfig(
        hidden_size=32, num_hidden_layers=4, intermediate_size=64, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, linear_num_value_heads=2, linear_num_key_heads=2,
        linear_key_head_dim=8, linear_value_head_dim=8, layer_types=layers,
    )  # fmt: skip
    return Qwen3_5ForCausalLM(config)


def tokenizer() -> Any:
    import tokenizers
    from transformers import PreTrainedTokenizerFast

    value = tokenizers.Tokenizer.from_str(vocabulary.qwen3_5_json().decode())
    return PreTrainedTokenizerFast(
        tokenizer_object=value, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )


def arguments(out: Path) -> dict[str, Any]:
    """What the card says, as it says it: the keywords of its `SFTConfig(...)`."""
    card = (out / "README.md").read_text("utf-8")
    inside = card.split("SFTConfig(", 1)[1].split(")", 1)[0]
    return eval(f"dict({inside})", {})


def trained(road: Road, layers: list[str] | None) -> Any:
    """The trainer after two steps over the rows that `load_dataset` gives."""
    from datasets import load_dataset
    from trl import SFTConfig, SFTTrainer

    rows = load_dataset(str(road.out), split="train", cache_dir=str(road.out.parent / "cache"))
    config = SFTConfig(
        output_dir=str(road.out.parent / "trained"), max_steps=2, logging_steps=1,
        learning_rate=1e-2, report_to=[], use_cpu=True, save_strategy="no", bf16=False,
        disable_tqdm=True, **arguments(road.out),
    )  # fmt: skip
    trainer = SFTTrainer(
        model(layers), args=config, train_dataset=rows, processing_class=tokenizer()
    )
    trainer.train()
    manifest = road.manifest()
    assert len(trainer.train_dataset) == manifest["profile"].get(
        "n_packs", manifest["profile"]["n_samples"]
    )
    return trainer


def losses(trainer: Any) -> list[float]:
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


@pytest.mark.parametrize("history", ["keep", "strip"])
def test_trl_takes_steps_on_tokenized_rows(tmp_path, history):
    road = product(tmp_path, "tokenized", render={"history_thinking": history})
    trainer = trained(road, None)
    first, second = losses(trainer)
    print(f"tokenized, {history}: losses {first:.4f}, {second:.4f}")
    assert abs(first - math.log(248_320)) < 1
    assert second < first


def test_trl_takes_steps_on_packed_rows(tmp_path):
    road = product(tmp_path, "packed", render={"history_thinking": "strip"})
    kernels = all(map(importlib.util.find_spec, ("causal_conv1d", "fla")))
    trainer = trained(road, None if kernels else FULL)
    first, second = losses(trainer)
    print(f"packed: losses {first:.4f}, {second:.4f}, {'linear and full' if kernels else 'full'}")
    assert abs(first - math.log(248_320)) < 1
    assert second < first


def test_a_packed_row_trains_on_what_its_samples_train_on_alone(tmp_path):
    """Same model: the summed loss of a pack in TRL's collator is that of the samples one by one."""
    import torch
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    rows = {}
    for profile in ("tokenized", "packed"):
        road = product(tmp_path / profile, profile, render={"history_thinking": "strip"})
        rows[profile] = [r for s in road.shards for r in pq.read_table(s).to_pylist()]
    (pack,) = rows["packed"]
    assert len(pack["seq_lengths"]) == len(rows["tokenized"]) == 10
    small = model(FULL).eval()

    def summed(batch: Any, n_targets: int) -> float:
        with torch.no_grad():
            # A cache hides the borders of a pack; TRL trains without one too.
            return float(small(**batch, use_cache=False).loss) * n_targets

    alone = 0.0
    for row in rows["tokenized"]:
        batch = {k: torch.tensor([row[k]]) for k in ("input_ids", "labels")}
        alone += summed(batch, row["n_target_tokens"])
    packed = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)([pack])
    assert packed["position_ids"][0].tolist() == pack["position_ids"]
    assert packed["labels"][0].tolist() == pack["labels"]
    together = summed(packed, pack["n_target_tokens"])
    print(f"loss of {pack['n_target_tokens']} targets: alone {alone:.4f}, packed {together:.4f}")
    assert together == pytest.approx(alone, rel=1e-5)
    # Without its borders the same row gives another loss, so this test can tell.
    borderless = {k: packed[k] for k in ("input_ids", "labels")}
    assert summed(borderless, pack["n_target_tokens"]) != pytest.approx(alone, rel=1e-5)
