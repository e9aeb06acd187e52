"""The worked example of docs/tokens.md: its numbers are computed from the conversation on the page.

python tests/token_example.py --write
"""

import ast
import re
import sys
from pathlib import Path

from tracekit import tokenizers, tokens
from tracekit.pieces import SEGMENTS
from tracekit.render import render_samples
from tracekit.samples import HISTORIES

PAGE = Path(__file__).parent.parent / "docs" / "tokens.md"
BEGIN, END = "<!-- worked example: written by `make docs` -->", "<!-- end of worked example -->"


def conversation() -> dict:
    """The conversation that stands on the page, with the fields that a stored message has."""
    block = re.search(r"```python\nCONVERSATION = (.*?)```", PAGE.read_text("utf-8"), re.S)
    assert block is not None
    row = ast.literal_eval(block[1])
    empty = {"reasoning": None, "tool_calls": [], "train": None, "weight": None}
    return {**row, "messages": [{**empty, **m} for m in row["messages"]]}


def measured(row: dict, history: str) -> dict:
    table, refused = tokens.measure([row], tokenizers.load(), "qwen3.5", history)
    assert not refused
    return table.to_pylist()[0]


def example() -> str:
    """The generated part of the page."""
    row = conversation()
    found = {history: measured(row, history) for history in HISTORIES}
    lines = ["| | " + " | ".join(HISTORIES) + " |", "|---|" + "---|" * len(HISTORIES)]
    for name in (
        *(f"n_{segment}_tokens" for segment in SEGMENTS),
        "n_tokens", "sample_tokens", "max_sample_tokens", "n_target_tokens",
    ):  # fmt: skip
        cells = [found[h][name] for h in HISTORIES]
        shown = [" + ".join(map(str, c)) if isinstance(c, list) else str(c) for c in cells]
        lines.append(f"| `{name}` | " + " | ".join(shown) + " |")
    lines += ["", "The second sample under `strip`, its trained text in brackets:", "", "```"]
    second = render_samples(row, history="strip")[1]
    text, before = "", False
    for piece in second:
        if piece.target != before:
            text += "[" if piece.target else "]"
        before = piece.target
        text += piece.text
    # The declarations are long and the same in all.
    text = re.sub(r"(# Tools\n).*?(</IMPORTANT>)", r"\1...\n\2", text, flags=re.S)
    return "\n".join([*lines, text.rstrip("\n"), "```"])


def page() -> str:
    text = PAGE.read_text("utf-8")
    before, rest = text.split(BEGIN, 1)
    return before + BEGIN + "\n" + example() + "\n" + END + rest.split(END, 1)[1]


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    PAGE.write_text(page(), "utf-8")
