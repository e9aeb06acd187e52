"""Chat templates: a stored trace as the exact text that a trainer reads, in labelled pieces.

    qwen3.5   Qwen3.5-4B and larger: calls as XML
    qwen3     Qwen3 (2025): calls as JSON
    chatml    roles and content only; a trace with reasoning or calls cannot be rendered

What is rendered is a *sample* (`samples.py`): the whole trace with the thinking of every turn, or
what the model reads at one query, where the thinking of earlier turns is gone. `qwen3.5` and
`qwen3` give, byte for byte, the text of the official Jinja templates as TRL 1.16 ships them, of the
training variants for the former, of the inference ones for the latter; tests compare with those.
Joined, the texts of all pieces are the rendering. A control token is a piece of its own; text of a
message that spells one stays text.

A row is a dict as `table.to_pylist()` gives it, with at least `messages` and `tools`; of a message
the keys role, content, reasoning, tool_calls, train and weight are read and may be absent.

Targets (what is trained on) are those of TRL's assistant mask, but for the line break after the end
token: from the opening `<think>` of an assistant message to its `<|im_end|>`. Flags of `train` take
parts out: `reasoning` the think block, `content` the visible text, `calls` single calls; the
closing `<|im_end|>` goes with the last of them. `weight` 0 takes out the whole message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TypeAlias

from tracekit import jinja_templates, renderers
from tracekit.errors import UsageError, did_you_mean
from tracekit.pieces import END, Piece, Rendering, Row, is_query, spelled_out
from tracekit.samples import History, Sample, samples_of

Render: TypeAlias = Callable[[Row, Sample, Rendering], None]
"""Adds one sample to a rendering. RenderError: refused; the caller takes back what was added."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A named way to render."""

    name: str
    hash: str
    """What manifests and fingerprints carry; another one where any byte of a rendering is."""
    render: Render
    is_query: Callable[[str], bool] | None = is_query
    """Which user texts ask something; null: no thinking, so that every trace is one sample."""
    thinks: Callable[[Sample, int, str | None], bool] | None = renderers.thinks
    """Does the message of this number and reasoning show a think block in the sample? Null: only
    the text tells."""
    end: str = END
    """The token that ends a turn: the last one that is trained on."""

    def samples(self, messages: Sequence[Row], history: History) -> list[Sample]:
        """The samples of a trace."""
        return samples_of(messages, history if self.is_query else "keep", self.is_query or is_query)


def _hash(name: str, version: int) -> str:
    """Hash of a template of ours; its version is raised when any byte of a rendering changes."""
    return hashlib.sha256(f"tracekit template {name} {version}".encode()).hexdigest()


TEMPLATES = {
    t.name: t
    for t in (
        Template(
            name="qwen3.5",
            hash=_hash("qwen3.5", 2),
            render=renderers.qwen3_5,
            is_query=lambda content: is_query(content.strip()),
        ),
        Template(
            name="qwen3",
            hash=_hash("qwen3", 2),
            render=renderers.qwen3,
            thinks=renderers.qwen3_thinks,
        ),
        Template(
            name="chatml",
            hash=_hash("chatml", 2),
            render=renderers.chatml,
            is_query=None,
            thinks=renderers.no_thinking,
        ),
    )
}
DEFAULT = "qwen3.5"


def render_samples(
    row: Row, template: str = DEFAULT, history: History = "keep"
) -> list[list[Piece]]:
    """Pieces of each sample of one trace, in order. RenderError: the template refuses it.

    >>> (pieces,) = render_samples({"messages": [{"role": "user", "content": " hi "}]})
    >>> "".join(piece.text for piece in pieces)
    '<|im_start|>user\\nhi<|im_end|>\\n'
    """
    found = named(template)
    samples = []
    for sample in found.samples(row["messages"], history):
        out = Rendering()
        found.render(row, sample, out)
        samples.append(spelled_out(out))
    return samples


def render_row(row: Row, template: str = DEFAULT) -> list[Piece]:
    """Pieces of one trace with the thinking of every turn. RenderError: it is refused."""
    return render_samples(row, template)[0]


def render_text(row: Row, template: str = DEFAULT) -> str:
    """One trace as the text that the template makes. RenderError: the template refuses it."""
    return "".join(piece.text for piece in render_row(row, template))


def named(template: str = DEFAULT) -> Template:
    """The template of a name, or of a Jinja file or tokenizer folder of the user.

    UsageError: no such name. InputError: the file is missing or is no template.
    """
    if template in TEMPLATES:
        return TEMPLATES[template]
    return _of_user(template, template_hash(template))


@cache
def _of_user(name: str, digest: str) -> Template:
    return Template(
        name=name,
        hash=digest,
        render=partial(jinja_templates.render, name, digest),
        is_query=jinja_templates.query,
        thinks=None,
        end=jinja_templates.manner(name, digest).end,
    )


def template_hash(template: str = DEFAULT) -> str:
    """SHA-256 of the rendering rules of a template; a file is read, but not run.

    Raises as `named`.
    """
    if template in TEMPLATES:
        return TEMPLATES[template].hash
    if jinja_templates.is_template_file(template):
        return jinja_templates.hash_of(template)
    raise UsageError(
        f"unknown template {template!r}.{did_you_mean(template, TEMPLATES)}",
        expected=", ".join(TEMPLATES) + ", path/to/chat_template.jinja or a tokenizer's folder",
        fix="name one of these",
    )
