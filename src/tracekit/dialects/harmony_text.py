"""Harmony text to segments: role, recipient, channel and text of each message, as generated.

A segment is `<|start|>` header `<|message|>` text, up to `<|end|>`, `<|call|>`, `<|return|>` or the
next `<|start|>`. What a model generates badly is kept as it stands and named by a code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from tracekit.codes import Code
from tracekit.dialects.prefixes import json_key, key_of

CODES = (
    Code(
        name="recipient_before_channel",
        kind="repair",
        what="The recipient of a call stood in the header before the channel, not after it.",
    ),
    Code(
        name="constrain_missing",
        kind="repair",
        what="The type of a call's text (`json`) stood in the header without `<|constrain|>`.",
    ),
    Code(
        name="call_on_analysis",
        kind="repair",
        what="A call was made on the channel of the reasoning; it is a call like the others.",
    ),
    Code(
        name="bad_header",
        kind="repair",
        what="A generated message has no `<|message|>`, or a header of no known form; its text is "
        "kept as content that is no target.",
        why="The model would learn to break the format.",
    ),
    Code(
        name="assistant_start_implied",
        kind="repair",
        what="The text begins inside of a message, where the prompt ended: an assistant's.",
    ),
    Code(
        name="end_token_missing",
        kind="repair",
        what="A message ends without an end token, at the next message or with the text.",
    ),
)

End: TypeAlias = Literal["end", "call", "return", ""]
_TOKEN = re.compile(r"<\|(start|channel|constrain|message|end|call|return)\|>")
_ENDS = ("end", "call", "return")
_RECIPIENT = re.compile(r"(?:^|\s)to=(\S+)")
_CHANNELS = ("analysis", "commentary", "final")
_OWN_ROLES = ("system", "developer", "user", "assistant")
MARKUP = (
    r"<\|start\|>[^<\n]*(?:<\|channel\|>[^<\n]*)?(?:<\|constrain\|>[^<\n]*)?<\|message\|>"
    r"|<\|start\|>(?:system|developer|user|assistant)?"
    r"|<\|(?:channel|constrain|message|end|call|return)\|>|\n# Tools\n"
)
"""Where a text is cut, as a regular expression: headers, tokens of broken ones, declared tools."""
_FENCE = re.compile(r"^(`{3,})[^\n`]*\n(?=<\|(?:start|channel)\|>)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Segment:
    """One message as it stands in the text."""

    role: str
    """system, developer, user, assistant, or the name of a tool."""
    recipient: str
    channel: str
    text: str
    end: End
    codes: tuple[str, ...] = ()
    """What is odd about it."""

    @property
    def is_call(self) -> bool:
        """Does an assistant speak to a tool?"""
        return self.role == "assistant" and self.recipient not in ("", "assistant", "user", "all")

    def key(self) -> bytes | None:
        """What it is compared by; None for reasoning, which histories leave out, and garbage."""
        if "bad_header" in self.codes or not self.text:
            return None
        if self.is_call:
            return key_of("call", self.recipient, json_key(self.text))
        if self.role == "assistant" and self.channel == "analysis":
            return None
        return key_of(self.role, self.channel, json_key(self.text))


def segments(text: str) -> list[Segment]:
    """Segments of a Harmony text. Linear in its length."""
    found: list[Segment] = []
    pieces = _TOKEN.split(text)  # text, token, text, token, ...
    header: list[tuple[str, str]] = []
    first = pieces[0].strip()
    tokens = list(zip(pieces[1::2], pieces[2::2], strict=True))
    inside = bool(tokens) and tokens[0][0] != "start"
    if inside:
        header = [("start", "assistant")]
    elif first:
        found.append(Segment("assistant", "", "", pieces[0], "", ("bad_header",)))
    started_inside = inside
    for n, (token, after) in enumerate(tokens):
        following = tokens[n + 1][0] if n + 1 < len(tokens) else ""
        if token == "start":
            if header:
                found.append(_without_message(header, ""))
            header = [("start", after)]
        elif token in ("channel", "constrain"):
            if header:
                header.append((token, after))
            else:  # a header that goes on after its end: nobody's
                header = [("start", ""), (token, after)]
        elif token == "message":
            end: Any = following if following in _ENDS else ""
            made = _segment(header, after, end)
            if started_inside:
                made = _with(made, "assistant_start_implied")
                started_inside = False
            found.append(made)
            header = []
        else:
            if header:
                found.append(_without_message(header, token))
                header = []
            if after.strip():
                found.append(Segment("assistant", "", "", after, "", ("bad_header",)))
    if header and (len(header) > 1 or header[0][1].strip() not in _OWN_ROLES):
        found.append(_without_message(header, ""))
    return found  # a role alone at the end is the prompt for the next message


def _with(segment: Segment, code: str) -> Segment:
    return Segment(
        segment.role,
        segment.recipient,
        segment.channel,
        segment.text,
        segment.end,
        (*segment.codes, code),
    )


def _segment(header: list[tuple[str, str]], text: str, end: End) -> Segment:
    codes = [] if end else ["end_token_missing"]
    role, recipient = _role(header[0][1] if header else "")
    channel = ""
    for token, words in header[1:]:
        if token == "channel":
            rest = words.strip()
            found = _RECIPIENT.search(rest)
            if found is not None:
                recipient = found.group(1)
                rest = (rest[: found.start()] + rest[found.end() :]).strip()
            elif recipient not in ("", "assistant"):
                codes.append("recipient_before_channel")
            channel, _, kind = rest.partition(" ")
            if kind.strip():
                codes.append("constrain_missing")
            if channel and channel not in _CHANNELS:
                codes.append("bad_header")
    if not role or (role not in _OWN_ROLES and not _is_tool(role)):
        codes.append("bad_header")
        text = "".join(words for _, words in header) + text
        role = "assistant"
    made = Segment(role, recipient, channel, text, end, tuple(codes))
    if made.is_call and channel == "analysis" and recipient.startswith("functions."):
        return _with(made, "call_on_analysis")
    return made


def _role(words: str) -> tuple[str, str]:
    """(role, recipient) of the beginning of a header."""
    found = _RECIPIENT.search(words)
    recipient = "" if found is None else found.group(1)
    if found is not None:
        words = words[: found.start()] + words[found.end() :]
    return words.strip(), recipient


def _is_tool(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z][\w.:/-]*", name) is not None


def _without_message(header: list[tuple[str, str]], end: str) -> Segment:
    """A header that no `<|message|>` follows: what stands behind the role is kept as text."""
    first = header[0][1]
    role = next((own for own in _OWN_ROLES if first.startswith(own)), "")
    text = "".join([first[len(role) :], *(words for _, words in header[1:])])
    codes = ("bad_header",) if end else ("bad_header", "end_token_missing")
    known: Any = end
    return Segment(role or "assistant", "", "", text.strip("\n"), known, codes)


def blocks(text: str) -> tuple[list[str], str]:
    """(Harmony texts, what stands around them) of a text or of a report in Markdown.

    In a report each fenced block that begins with a Harmony token is one; it ends at the fence
    after its last end token, since a generated answer may hold fences of its own.
    """
    starts = list(_FENCE.finditer(text))
    if not starts:
        return [text], ""
    found: list[str] = []
    around: list[str] = [text[: starts[0].end()]]
    for n, start in enumerate(starts):
        limit = starts[n + 1].start() if n + 1 < len(starts) else len(text)
        region = text[start.end() : limit]
        fence = start.group(1)
        end = -1
        for close in re.finditer(
            rf"(?:<\|(?:end|call|return)\|>|<\|start\|>assistant)\s*\n(?={fence}[ \t]*(?:\n|\Z))",
            region,
        ):
            end = close.end()
        if end < 0:
            cut = re.search(rf"^{fence}[ \t]*$", region, re.MULTILINE)
            end = cut.start() if cut is not None else len(region)
        found.append(region[:end].rstrip("\n"))
        last = n + 1 == len(starts)
        around.append(region[end:] if last else region[end:] + starts[n + 1].group())
    return found, "".join(around)


def is_report(text: str) -> bool:
    """Does a text hold fenced blocks that begin with a Harmony token?"""
    return _FENCE.search(text) is not None
