"""The sections of a recipe: what each key may hold, and its default.

Strict and frozen: no text becomes a number by accident, and an unknown key is refused. Field
descriptions are shown by editors, through `schemas/recipe-v1.json`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    WithJsonSchema,
    model_validator,
)

from tracekit.amounts import bytes_of, tokens_of

FLOOR = 0.7
"""Default similarity from which pairs are stored: 25 bands of 5 rows find 0.99 of them there."""

MIN_CONTEXT, MAX_CONTEXT = 4_000, 1_048_576
"""Tokens of a packed row: from 4k, as people write it, to 1M as models count it."""

_T = TypeVar("_T")


def _listed(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _one_or_listed(value: object) -> object:
    return (value,) if isinstance(value, str) else _listed(value)


def _heading(value: object) -> object:
    # `filter:` with nothing under it is a heading, and means its defaults.
    return {} if value is None else value


_AMOUNT_SCHEMA = {
    "anyOf": [
        {"type": "integer", "minimum": 0},
        {"type": "string", "pattern": r"^[0-9][0-9_]*(\.[0-9]+)? ?[A-Za-z]*$"},
    ]
}
Tokens = Annotated[int, BeforeValidator(tokens_of), WithJsonSchema(_AMOUNT_SCHEMA)]
Bytes = Annotated[int, BeforeValidator(bytes_of), Field(ge=1), WithJsonSchema(_AMOUNT_SCHEMA)]
Word = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
CodeName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*(/[a-z][a-z0-9_]*)?$")]
SourceName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=100)
]
Listed = Annotated[tuple[_T, ...], BeforeValidator(_listed)]
NotEmpty = Annotated[tuple[_T, ...], Field(min_length=1), BeforeValidator(_listed)]
OneOrListed = Annotated[
    tuple[Word, ...],
    Field(min_length=1),
    BeforeValidator(_one_or_listed),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Section = Annotated[_T, BeforeValidator(_heading)]


class Model(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        use_attribute_docstrings=True,
        validate_by_name=True,
        validate_by_alias=True,
    )


def _steps(value: str) -> str:
    if value != "." and not re.fullmatch(r"(\\\.|[^.])+(\.(\\\.|[^.])+)*", value):
        raise ValueError("keys with dots between them, such as log.turns; `.` is the record itself")
    return value


DottedPath = Annotated[Word, AfterValidator(_steps)]


class Mapped(Model):
    """Where things stand in a record, by dotted paths: instead of a dialect."""

    messages: DottedPath | None = None
    """The list of messages; `.` where the record is that list."""
    role_key: DottedPath = "role"
    """In a message: who speaks."""
    role: dict[Word, Literal["system", "user", "assistant", "tool"]] = {}
    """Each spelling of a role with what it means; empty: system, user, assistant and tool."""
    content: DottedPath = "content"
    """In a message: what is said, as text or as a list of parts."""
    reasoning: DottedPath | None = None
    """In a message, or beside prompt and response: the thinking text."""
    tool_calls: DottedPath | None = None
    """In a message: its calls, in the shape of OpenAI."""
    tool_call_id: DottedPath | None = None
    """In a message: the id of the call that it answers."""
    name: DottedPath | None = None
    """In a message: the name of the tool or the speaker."""
    weight: DottedPath | None = None
    """In a message: factor of its loss; 0 is not trained on."""
    prompt: DottedPath | None = None
    """The one user message, where there is no list of messages."""
    response: DottedPath | None = None
    """The one assistant message, where there is no list of messages."""
    system: DottedPath | None = None
    """Text of a system message that comes first."""
    tools: DottedPath | None = None
    """Declarations of the tools that were offered."""
    answer: DottedPath | None = None
    """The reference answer."""
    id: DottedPath | None = None
    session: DottedPath | None = None
    task: DottedPath | None = None
    """Id of the task, the same for all attempts at it."""
    model: DottedPath | None = None
    outcomes: dict[
        DottedPath,
        Literal["tests", "environment", "exact_match", "human", "judge", "claimed", "exit_status"],
    ] = {}
    """Verdicts on the record, each with who gave it."""

    @model_validator(mode="after")
    def _one_conversation(self) -> Self:
        pair = (self.prompt is not None, self.response is not None)
        if (self.messages is not None) == any(pair) or pair[0] != pair[1]:
            raise ValueError("`messages`, or both `prompt` and `response`")
        return self


INFERRED = "inferred"
"""Instead of a catalogue: tools are declared by what a trace calls."""


class ToolsFrom(Model):
    """A catalogue of tools, and how many of them a trace gets."""

    catalogue: Word
    """JSON file: a list of declarations, or an object with such a list for each harness."""
    offer: Literal["all", "called"] = "all"
    """called: only the tools that the trace calls."""


def _word_or_keys(value: object) -> str:
    return "word" if isinstance(value, str) else "keys"


class Source(Model):
    """One set of input files, read by one dialect."""

    path: OneOrListed
    """Files, folders or globs, relative to the recipe's folder; `-` is standard input."""
    dialect: Word | None = None
    """Name of a dialect or path of a Python file that holds one; null: recognised by structure."""
    mapping: Mapped | None = None
    """Where things stand in a record, for records that no dialect reads."""
    framing: (
        Literal["lines", "json_array", "json_object", "json_document", "parquet", "arrow"] | None
    ) = None
    """How records stand in the file; null: seen from its first bytes."""
    options: dict[Word, str | int | float | bool | None] = {}
    """Options of the dialect."""
    tools_from: (
        Annotated[
            Annotated[Word, Tag("word")] | Annotated[ToolsFrom, Tag("keys")],
            Discriminator(_word_or_keys),
        ]
        | None
    ) = None
    """Tools of traces that record none: a JSON file of declarations, or `inferred` from the calls.
    null: they stay unknown."""
    use: Literal["train", "eval-only"] = "train"
    """eval-only: measured and compared, never in the shards."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Read only the first so many records; the result is marked as partial."""

    @model_validator(mode="after")
    def _one_reader(self) -> Self:
        if self.dialect is not None and self.mapping is not None:
            raise ValueError("a dialect or a mapping, not both")
        return self


TEMPLATES = ("qwen3.5", "qwen3", "chatml")
"""Templates of `render.py`, named here so that a recipe loads without it; a test compares."""


def is_template_file(name: str) -> bool:
    """Is this the path of a Jinja file or a tokenizer's folder, and no name?"""
    return "/" in name or name.endswith((".jinja", ".jinja2", ".json"))


def _template(name: str) -> str:
    if name not in TEMPLATES and not is_template_file(name):
        raise ValueError(
            f"one of {', '.join(TEMPLATES)}; "
            "or path/to/chat_template.jinja, or a tokenizer's folder/"
        )
    return name


class Render(Model):
    """The text that is counted: what the trainer will read."""

    template: Annotated[Word, AfterValidator(_template)] = "qwen3.5"
    """`qwen3.5`, `qwen3`, `chatml`; or a Jinja file, or a tokenizer's folder with a template."""
    tokenizer: Word = "qwen3.5"
    """`qwen3.5`, `o200k_base`, `cl100k_base`; a tokenizer.json or its folder; `hf:org/name`."""
    history_thinking: Literal["keep", "strip", "as_is"] = "keep"
    """keep: the reasoning of every turn is rendered, and a trace is one sample. strip: one sample a
    query, without the reasoning of earlier turns, as the model reads it at inference. as_is: one
    sample as the inference template writes it, so earlier reasoning is lost."""


def one_action(actions: Mapping[str, Iterable[str]]) -> None:
    seen: dict[str, str] = {}
    for action, codes in actions.items():
        for code in codes:
            if code in seen:
                both = action if seen[code] == action else f"{seen[code]} and {action}"
                raise ValueError(f"one action a code; {code!r} stands twice, in {both}")
            seen[code] = action


class Validation(Model):
    """What to do with findings of validity, where it differs from the default of the code."""

    drop: Listed[CodeName] = ()
    flag: Listed[CodeName] = ()
    off: Listed[CodeName] = ()

    @model_validator(mode="after")
    def _no_code_twice(self) -> Self:
        one_action({"drop": self.drop, "flag": self.flag, "off": self.off})
        return self


class Dedupe(Model):
    """Which traces count as the same, and which of them stays."""

    threshold: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.8
    """Jaccard similarity from which two traces count as the same, in every scope."""
    floor: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = FLOOR
    """Similarity from which pairs are stored: the threshold moves above it without a new sketch."""
    scopes: NotEmpty[Literal["task", "target"]] = ("task", "target")
    """Texts that must all be alike: what was asked, what is trained on."""
    keep: NotEmpty[
        Literal["verified", "complete", "reasoning", "longer", "source", "shorter", "content"]
    ] = (
        "verified",
        "complete",
        "reasoning",
        "longer",
        "source",
        "shorter",
        "content",
    )
    """Which one stays, first difference decides: verified right, not truncated and not looping,
    full reasoning, longer (more assistant messages: the later snapshot of a growing session),
    source named earlier, shorter reasoning, content hash."""

    shared_prefixes: Literal["once", "each"] = "once"
    """once: of traces that begin with the same conversation, a contained one goes and one trains
    each shared message. each: every copy is kept and trained."""

    @model_validator(mode="before")
    @classmethod
    def _floor_follows(cls, values: Any) -> Any:
        # A lower threshold alone means: store pairs from there on.
        if isinstance(values, dict) and "floor" not in values:
            threshold = values.get("threshold")
            if isinstance(threshold, float) and threshold < FLOOR:
                return {**values, "floor": threshold}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.floor > self.threshold:
            raise ValueError(f"floor at most threshold ({self.threshold:g}), is {self.floor:g}")
        if "task" not in self.scopes:
            raise ValueError("scopes with `task`: equal answers alone do not make duplicates")
        for name, words in (("scopes", self.scopes), ("keep", self.keep)):
            if len(set(words)) < len(words):
                raise ValueError(f"each word of {name} once")
        return self


class Rule(Model):
    """A rule of the user's own, over measures."""

    code: CodeName
    """Name under which the ledger says what the rule did."""
    keep: Annotated[str, StringConstraints(min_length=1, max_length=4000)]
    """SQL expression over measures that is true for traces to keep: `n_tokens < 4096`."""
    action: Literal["drop", "flag"] = "drop"
    null: Literal["keep", "unmeasured"] = "unmeasured"
    """What to do where the expression is null because something was not measured."""


class Filter(Model):
    """Rules on single traces: length, loops, findings, and rules of the user's own."""

    profile: Literal["default", "none"] = "default"
    """default: each code acts as `tracekit explain CODE` says. none: only what is named here."""
    min_tokens: Tokens | None = None
    max_tokens: Tokens | None = None
    max_loop_share: Share | None = None
    """Largest share of a field's tokens that one repeated stretch may take."""
    drop: Listed[CodeName] = ()
    flag: Listed[CodeName] = ()
    off: Listed[CodeName] = ()
    rules: Listed[Rule] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        one_action({"drop": self.drop, "flag": self.flag, "off": self.off})
        if None not in (self.min_tokens, self.max_tokens) and self.min_tokens > self.max_tokens:  # type: ignore[operator]
            raise ValueError("min_tokens at most max_tokens")
        one_action({"rules": [rule.code for rule in self.rules]})
        return self


class Shard(Model):
    """The product: Parquet files of whole traces, as text or as the tokens that are trained on."""

    profile: Literal["messages", "tokenized", "packed"] = "messages"
    """What a row is: messages, one a trace; tokenized, ids and labels of a sample; packed, samples
    put together up to a context."""
    context: Annotated[Tokens, Field(ge=MIN_CONTEXT, le=MAX_CONTEXT)] = 32_768
    """Most tokens of a row of profile packed; a trace with a longer sample is dropped, not cut."""
    out: Word | None = None
    """Folder of the shards, relative to the recipe's folder; null: `shards` where the command
    is run."""
    tokens_per_shard: Annotated[Tokens, Field(ge=1)] = 10_000_000
    max_bytes: Bytes = 512 << 20
    """Plain bytes from which a shard ends even with fewer tokens."""
    row_group_bytes: Bytes = 8 << 20
    """Plain bytes of a row group: what a reader must hold at once."""


class Ingest(Model):
    """How input is cut and bounded."""

    part_bytes: Bytes = 64 << 20
    """Plain bytes that one worker does at a time."""
    record_bytes: Bytes = 64 << 20
    """A longer record becomes a reject."""


def is_off(value: object) -> str:
    return "off" if value is False else "on"


def true_means_defaults(value: object) -> object:
    return {} if value is None or value is True else value
