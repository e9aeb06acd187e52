"""Tools that a source rendered into the system text with the template of Kimi models.

The data set Toucan keeps `<|im_system|>tool_declare<|im_middle|>[...]<|im_end|>` as its system
message, beside the same tools as `available_tools`.
"""

from __future__ import annotations

from typing import Any

from tracekit.codes import Code
from tracekit.dialects.dialect import Notes

CODES = (
    Code(
        name="rendered_tools_cut",
        kind="repair",
        what="The system message was the tools in the control tokens of a chat template; it was "
        "cut, the tools are declared beside it, and the meta keeps the text.",
        why="Rendered again the tokens of one template would be words in another.",
    ),
)

_OPEN, _END = "<|im_system|>tool_declare<|im_middle|>", "<|im_end|>"


def cut_rendered_tools(
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None,
    meta: dict[str, Any],
    notes: Notes,
) -> None:
    """Takes the rendered tools out of the first message, where the tools are declared too."""
    first = messages[0] if messages else {}
    text = first.get("content")
    if tools is None or first.get("role") != "system" or not isinstance(text, str):
        return
    end = text.find(_END)
    if not text.startswith(_OPEN) or end < 0:
        return
    meta["rendered_tools"] = text[: end + len(_END)]
    notes.repair("rendered_tools_cut")
    rest = text[end + len(_END) :].strip("\n")
    if rest:
        first["content"] = rest
    elif "meta" in first:
        del first["content"]
    else:
        del messages[0]
