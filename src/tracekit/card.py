"""The data-set card of a product: what `load_dataset(folder)` reads, and what a person does."""

from __future__ import annotations

from typing import Any


def card(manifest: dict[str, Any]) -> str:
    """README.md of a product, from its manifest. Nothing in it that the manifest does not say."""
    tokens, target = manifest["n_tokens"], manifest["n_target_tokens"]
    share = target / tokens if tokens else 0.0
    lines = [
        "---",
        "configs:",
        "- config_name: default",
        # `datasets` keys its cache by the name of the folder and by this text, not by the files:
        # without the fingerprint it would give back an older product of the same name.
        f"  description: tracekit {manifest['fingerprint']}",
        "  data_files:",
        "  - split: train",
        "    path: data/train-*.parquet",
        "---",
        "",
        f"# {_plain(manifest['name'])}",
        "",
        f"{manifest['traces']:,} traces, {tokens:,} tokens, {target:,} of them trained on "
        f"({share:.1%}). Counted with tokenizer `{_plain(manifest['tokenizer']['name'])}` on the "
        f"text of template `{_plain(manifest['template']['name'])}`.",
        "",
        "```python",
        "from datasets import load_dataset",
        "",
        'rows = load_dataset("FOLDER", split="train")  # this folder; datasets 4.7 or newer',
        "```",
        "",
        *_reading(manifest),
        "",
        "## Where every record went",
        "",
        *[f"- {line}" for line in manifest["law"]],
        *[f"- partial run: {_plain(p)}" for p in manifest["partial"]],
        "",
        "| source | traces | tokens | trained on |",
        "|---|---:|---:|---:|",
        *[
            f"| {_plain(s['source'])} | {s['traces']:,} | {s['n_tokens']:,} "
            f"| {s['n_target_tokens']:,} |"
            for s in manifest["sources"]
        ],
        "",
        "| left out because | traces |",
        "|---|---:|",
        *[f"| {_plain(code)} | {n:,} |" for code, n in manifest["dropped"].items()],
        "",
        f"{len(manifest['shards'])} files; rows, tokens, bytes, SHA-256 and row digest of each are "
        "in `manifest.json` (`tracekit verify FOLDER` checks them).",
        "",
    ]
    return "\n".join(lines)


def profile_line(profile: dict[str, Any]) -> str:
    """What the rows of a token profile are, in numbers."""
    samples = f"{profile['n_samples']:,} samples, the longest of "
    samples += f"{profile['longest_sample_tokens']:,} tokens"
    if profile["rows_without_target"]:
        samples += f"; {profile['rows_without_target']:,} rows have no token that is trained on"
    if profile["name"] == "tokenized":
        return f"tokenized: {samples}"
    return (
        f"packed to {profile['context']:,} tokens: {profile['n_packs']:,} packs, "
        f"{profile['fill_share']:.1%} filled; {samples}"
    )


_MESSAGES = (
    "`messages` and `tools` come back as plain dicts, each with its own keys only. `id` is the",
    "hash of the content; `tracekit why ID -w WORKSPACE` says where a row came from.",
)
_LABELS = (
    "`labels` are the ids that are trained on and -100 elsewhere; the shift by one is the model's.",
    "Nothing is to be rendered, tokenized, masked or cut again. Name no limit: `max_length=None`,",
    "since TRL cuts rows at 1,024 tokens unasked.",
)
_TOKENIZED = (
    "A row is a sample: what the trainer reads at once of a trace. `id` is the hash of the content",
    "of the trace, `sample` the number of the sample in it; `tracekit why ID -w WORKSPACE` says",
    "where it came from.",
    *_LABELS,
    "",
    "```python",
    "from trl import SFTConfig, SFTTrainer",
    "",
    "SFTTrainer(MODEL, args=SFTConfig(max_length=None), train_dataset=rows).train()",
    "```",
    "",
    "Axolotl takes tokenized rows that have an `attention_mask` too; it packs them itself",
    "(`sample_packing: true`):",
    "",
    "```python",
    'masked = rows.map(lambda row: {"attention_mask": [1] * row["n_tokens"]})',
    'masked.to_parquet("axolotl/train.parquet")  # datasets: [{path: axolotl, ds_type: parquet}]',
    "```",
)
_PACKED = (
    "A row holds whole samples one after the other, none of them cut. `seq_lengths` says how long",
    "each is, `position_ids` begin at 0 in each; `ids` and `samples` name them: the hash of the",
    "content of a trace and the number of the sample in it (`tracekit why ID -w WORKSPACE` says",
    "where it came from).",
    *_LABELS,
    "",
    "TRL keeps the samples of a row apart by `seq_lengths`, with `padding_free`. For the linear",
    "layers of Qwen3.5 that needs `causal_conv1d` and `flash-linear-attention`; without them",
    "`transformers` refuses packed rows, and `tokenized` ones are the way:",
    "",
    "```python",
    "from trl import SFTConfig, SFTTrainer",
    "",
    "config = SFTConfig(max_length=None, padding_free=True, per_device_train_batch_size=1)",
    "SFTTrainer(MODEL, args=config, train_dataset=rows).train()",
    "```",
    "",
    "Axolotl packs by itself: give it the profile `tokenized`.",
)


_WITHOUT_TARGET = (
    "",
    "Of rows without a target the targets are trained in other rows, or have weight 0. A batch of",
    "nothing else has no loss, so leave them out where batches are small:",
    "",
    "```python",
    'rows = rows.filter(lambda row: row["n_target_tokens"] > 0)',
    "```",
)


_FLOATS = (
    "`datasets` reads numbers with a fraction to 15 digits (1.0052302974394993 comes back as",
    "1.005230297439499); pyarrow and the profile `tokenized` have them as they were counted.",
)


def _reading(manifest: dict[str, Any]) -> tuple[str, ...]:
    """What the columns are and how trainers read them, for the profile of a product."""
    profile = manifest["profile"]
    if profile["name"] == "messages":
        return (*_MESSAGES, "", *_FLOATS)
    told: tuple[str, ...] = _PACKED if profile["name"] == "packed" else _TOKENIZED
    if profile["rows_without_target"]:
        told = (*told, *_WITHOUT_TARGET)
    return (f"Profile {profile_line(profile)}.", "", *told)


def _plain(text: str) -> str:
    """Text from data as inline Markdown that cannot leave its place."""
    kept = "".join(c if c.isprintable() else "\ufffd" for c in str(text))
    for sign in "\\`|<>[]*_#&":
        kept = (
            kept.replace(sign, f"\\{sign}")
            if sign in "\\`|[]*_#"
            else kept.replace(sign, {"<": "&lt;", ">": "&gt;", "&": "&amp;"}[sign])
        )
    return kept
