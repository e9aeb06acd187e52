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
        "`messages` and `tools` come back as plain dicts, each with its own keys only. `id` is the",
        "hash of the content; `tracekit why ID -w WORKSPACE` says where a row came from.",
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
