"""What was said: the canonical trace, as frozen values. Standard library only, no input or output.

A `Trace` is one row of a trace part. Everything that is *known about* a trace (counts, findings,
sketches) lives beside it as evidence; a trace is only what its source recorded. Open JSON
(`arguments`, `parameters`, `meta`) is kept as JSON text: Arrow has no map of mixed values, and a
struct inferred from data pads every call with the keys of all other calls.

pydantic validates these very classes at the door (`schema.TRACES`); building one inside costs no
validation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

SCHEMA_VERSION = 1
"""Version of the stored trace. Raised only when an older reader would be wrong."""

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
ReasoningKind: TypeAlias = Literal["full", "summary", "withheld", "rationale", "lifted", "post_hoc"]
OutcomeKind: TypeAlias = Literal[
    "tests", "environment", "exact_match", "human", "judge", "claimed", "exit_status"
]

_CONFIG: dict[str, Any] = {"extra": "forbid", "use_attribute_docstrings": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """One call that an assistant message makes."""

    __pydantic_config__: ClassVar[Any] = _CONFIG

    id: str
    """Unique within its message; a tool message answers it by this id."""
    name: str
    """Name of the called tool, as written."""
    arguments: str
    """JSON text. Parses: white space is compact, the rest as written. Does not: untouched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainFlags:
    """What of an assistant message is trained on, where the source says so."""

    __pydantic_config__: ClassVar[Any] = _CONFIG

    reasoning: bool = True
    content: bool = True
    calls: tuple[bool, ...] | None = None
    """One flag a call, in order; null means all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message. Interleaved thinking and calling is several assistant messages, in order."""

    __pydantic_config__: ClassVar[Any] = _CONFIG

    role: Role
    content: str | None = None
    """Visible text, never the reasoning; null when empty."""
    reasoning: str | None = None
    """Thinking text without its tags. null: not given; "": given and empty."""
    reasoning_kind: ReasoningKind | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    """For role `tool`: the call that this answers."""
    name: str | None = None
    """For role `tool`: the tool's name; elsewhere the speaker's, where recorded."""
    error: bool | None = None
    """For role `tool`: did the call fail; null where not recorded."""
    weight: float | None = None
    """Factor of this message's loss as the source states it; null: not stated."""
    train: TrainFlags | None = None
    """null: the default of the role (assistant: all, others: nothing)."""
    finish_reason: str | None = None
    attachments: tuple[str, ...] = ()
    """Hashes or references of images and files that are not text."""
    meta: str | None = None
    """JSON object, as text: what the dialect kept and did not understand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool that was offered to the model."""

    __pydantic_config__: ClassVar[Any] = _CONFIG

    name: str
    description: str | None = None
    parameters: str | None = None
    """JSON Schema of the arguments, as JSON text; null: not recorded."""
    extra: str | None = None
    """JSON object, as text: other keys of the declaration (`strict`, `type`, ...)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A verdict that the source recorded, with who gave it."""

    __pydantic_config__: ClassVar[Any] = _CONFIG

    value: str
    """JSON text of the recorded value: `true`, `0.5`, `"submitted"`."""
    kind: OutcomeKind
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Rows of one input file, `first` to `last` inclusive, counted from 0."""

    __pydantic_config__: ClassVar[Any] = _CONFIG

    file: str
    """Path below the source's root, with `/`."""
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One reasoning trace: tools, messages, reference answer, outcome, provenance."""

    __pydantic_config__: ClassVar[Any] = _CONFIG

    id: str
    """`source:path-below-the-root#row`, `/k` for the k-th trace of a unit. Unique."""
    source: str
    source_id: str | None = None
    """The record's own id; not required to be unique."""
    provenance: tuple[Origin, ...]
    session_id: str | None = None
    parent_id: str | None = None
    """Session that this one continues, forks or works for, as the source states it."""
    task_key: str | None = None
    """Recorded id of the task, without attempt suffix."""
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] | None = None
    """null: not recorded. Empty: none were offered."""
    answer: str | None = None
    """Reference answer, where the source gives one. Never shown to a model."""
    outcomes: tuple[Outcome, ...] = ()
    model: str | None = None
    meta: str | None = None
    """JSON object, as text."""
