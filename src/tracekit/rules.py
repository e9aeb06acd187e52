"""Rules: thresholds and expressions over evidence. A rule never sees text, so it can be moved.

Rules are made from a recipe, in one declared order: findings of validity, then findings of
quality, then measures, then the user's own. Defaults flag; they drop only what cannot be rendered
or trained.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from tracekit import structure_codes, template_lint
from tracekit.codes import Code
from tracekit.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from tracekit.recipe import Recipe

Action: TypeAlias = Literal["drop", "flag"]

LOOP_SHARE = 0.3
"""Default threshold of `loop`: endless answers of a public set score 0.69 to 0.88, right ones at
most 0.28 (one repeated stretch of tokens, three repeats and 200 tokens or more)."""

CODES = (
    Code(
        name="too_long",
        kind="drop",
        what="A sample has more tokens than filter.max_tokens.",
        why="Trainers cut such rows in silence, and then train the cut.",
        default="drop",
        fix="filter: {max_tokens: ...}; off where it is not given",
    ),
    Code(
        name="longer_than_context",
        kind="drop",
        what="A sample has more tokens than shard.context, so no packed row can hold it.",
        why="A cut sample ends in the middle of a thought; here none is ever cut.",
        default="drop",
        fix="shard: {context: ...}; off but for shard: {profile: packed}",
    ),
    Code(
        name="too_short",
        kind="drop",
        what="A trace has fewer tokens than filter.min_tokens.",
        default="drop",
        fix="filter: {min_tokens: ...}; off where it is not given",
    ),
    Code(
        name="loop",
        kind="drop",
        what="One repeated stretch of tokens takes more than max_loop_share of a field.",
        why="A few endless rows can hold a large share of the tokens, and teach never to stop.",
        default="flag",
        fix="filter: {max_loop_share: 0.3} or {drop: [loop]}; {off: [loop]} turns it off",
        source="period on tokens, three repeats and 200 tokens or more; threshold see rules.py",
    ),
    Code(
        name="unmeasured",
        kind="drop",
        what="A rule met a null: the value named in the detail was not measured.",
        why="A null must not keep or drop by accident.",
        default="drop",
        fix="null: keep in a rule of your own lets such traces pass",
    ),
    Code(
        name="unmeasurable",
        kind="drop",
        what="Measuring this trace killed its worker, ran out of time or of memory.",
        why="Nothing is known about it, so nothing can be promised.",
        default="drop",
        fix="the detail names the cause; raise the memory of a worker, or mend the record",
    ),
    Code(
        name="eval_only",
        kind="drop",
        what="The source is marked use: eval-only, so it is measured and never trained on.",
        default="drop",
        fix="sources: {NAME: {use: train}}",
    ),
    Code(
        name="exact_duplicate",
        kind="drop",
        what="Another trace says exactly the same; the winner is named.",
        why="Repeated rows are memorised.",
        default="drop",
        fix="dedupe: false turns it off",
    ),
    Code(
        name="near_duplicate",
        kind="drop",
        what="A kept trace has a task and a target that are both at least the threshold alike.",
        why="Repeated rows are memorised.",
        default="drop",
        fix="dedupe: {threshold: ...}, or dedupe: false",
        source="exact Jaccard of 5-word shingles, per scope; MinHash only proposes",
    ),
    Code(
        name="contained",
        kind="drop",
        what="A longer trace begins with this whole conversation and trains it; it is named.",
        why="Growing snapshots of one session repeat all earlier turns in each.",
        default="drop",
        fix="dedupe: {shared_prefixes: each} keeps and trains every copy",
        source="hashes of all that was said up to each message; a stated parent is no snapshot",
    ),
    Code(
        name="shared_prefix",
        kind="mask",
        what="Messages that another kept trace begins with too are trained there, and not here.",
        why="A fork replays its parent; the replayed turns would be trained once a child.",
        fix="dedupe: {shared_prefixes: each} trains every copy",
        source="hashes of all that was said up to each message, reasoning included where given",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. A rule of kind `finding` speaks where a finding of its code is; one of kind
    `measure` where its expression does not hold."""

    code: str
    action: Action
    stage: Literal["validate", "filter"]
    kind: Literal["finding", "measure"]
    keep: str | None = None
    """SQL expression over measures that holds for traces that pass."""
    column: str | None = None
    """The measure that is shown as the value; with `threshold`, what --what-if moves."""
    threshold: float | None = None
    bound: Literal["<=", ">="] | None = None
    null: Literal["keep", "unmeasured"] = "unmeasured"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """Everything that `decide` needs beside evidence."""

    rules: tuple[Rule, ...]
    eval_only: frozenset[str] = frozenset()
    threshold: float | None = None
    """Similarity of near duplicates; null: no dedupe."""
    keep: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    """By priority, first wins."""
    shared_once: bool = False
    """Is a message that several traces begin with trained in one of them only?"""


_FINDINGS = (*structure_codes.CODES, *template_lint.CODES)
_QUALITY = ("truncated", "empty_answer")
_VALIDITY = tuple(c.name for c in _FINDINGS if c.name not in _QUALITY)
_REFUSED = ("no_user_message", "system_not_first", "arguments_not_object", "unrenderable")
"""Findings that name why a template refuses a trace; some templates do not."""


def finding_codes() -> tuple[str, ...]:
    """Codes of findings that a recipe can drop, flag or switch off."""
    return (*_VALIDITY, *_QUALITY)


def of_recipe(recipe: Recipe) -> RuleSet:
    """The rules of a recipe, in declared order. Raises UsageError for an unknown code."""
    checks, quality = recipe.validation, recipe.filter
    known = {*finding_codes(), "loop"}
    for code in (
        *checks.drop,
        *checks.flag,
        *checks.off,
        *quality.drop,
        *quality.flag,
        *quality.off,
    ):
        if code not in known:
            raise UsageError(
                f"unknown code {code!r}.{did_you_mean(code, known)}",
                expected=", ".join(sorted(known)),
                fix="tracekit explain lists every code",
                wrote="nothing was written",
            )
    default = {c.name: c.default for c in _FINDINGS}
    loop_default = "flag"
    if quality.profile == "none":
        default = {code: "drop" if d == "drop" else "none" for code, d in default.items()}
        loop_default = "none"
    for section in (checks, quality):
        default |= dict.fromkeys(section.flag, "flag")
        default |= dict.fromkeys(section.drop, "drop")
        default |= dict.fromkeys(section.off, "none")
    loop_default = default.pop(
        "loop", "drop" if quality.max_loop_share is not None else loop_default
    )
    rules: list[Rule] = []
    for code in finding_codes():
        action = default[code]
        if action != "none":
            rules.append(
                Rule(
                    code=code,
                    action="drop" if action == "drop" else "flag",
                    stage="validate" if code in _VALIDITY else "filter",
                    kind="finding",
                )
            )
    if any(default[code] != "drop" for code in _REFUSED):
        # Flagged or off, but what the template refuses has no text to train on.
        rules.append(
            Rule(
                code="unrenderable",
                action="drop",
                stage="validate",
                kind="measure",
                keep="n_tokens IS NOT NULL",
            )
        )
    if quality.min_tokens is not None:
        rules.append(_bound("too_short", "n_tokens", ">=", quality.min_tokens, "drop"))
    if quality.max_tokens is not None:
        rules.append(_bound("too_long", "max_sample_tokens", "<=", quality.max_tokens, "drop"))
    if recipe.shard.profile == "packed":
        rules.append(
            _bound("longer_than_context", "max_sample_tokens", "<=", recipe.shard.context, "drop")
        )
    if loop_default != "none":
        share = LOOP_SHARE if quality.max_loop_share is None else quality.max_loop_share
        rules.append(
            _bound("loop", "loop_share", "<=", share, "drop" if loop_default == "drop" else "flag")
        )
    rules.extend(
        Rule(
            code=rule.code,
            action=rule.action,
            stage="filter",
            kind="measure",
            keep=rule.keep,
            null=rule.null,
        )
        for rule in quality.rules
    )
    return RuleSet(
        rules=tuple(rules),
        eval_only=frozenset(n for n, s in recipe.sources.items() if s.use == "eval-only"),
        threshold=recipe.dedupe.threshold if recipe.dedupe is not False else None,
        keep=tuple(recipe.dedupe.keep) if recipe.dedupe is not False else (),
        sources=tuple(recipe.sources),
        shared_once=recipe.dedupe is not False and recipe.dedupe.shared_prefixes == "once",
    )


def _bound(
    code: str, column: str, bound: Literal["<=", ">="], threshold: float, action: Action
) -> Rule:
    return Rule(
        code=code,
        action=action,
        stage="filter",
        kind="measure",
        keep=f"{column} {bound} {threshold}",
        column=column,
        threshold=float(threshold),
        bound=bound,
    )


THRESHOLDS = {
    "loop_share": ("loop", "loop_share", "<="),
    "max_loop_share": ("loop", "loop_share", "<="),
    "max_tokens": ("too_long", "max_sample_tokens", "<="),
    "context": ("longer_than_context", "max_sample_tokens", "<="),
    "min_tokens": ("too_short", "n_tokens", ">="),
}
"""Names that --what-if moves -> (code, column, bound); `threshold` is dedupe's."""


def moved(rules: RuleSet, name: str, value: float) -> RuleSet:
    """The rule set with one threshold set, its rule dropping. Raises UsageError."""
    if name == "threshold":
        if rules.threshold is None:
            raise UsageError("dedupe is off in this recipe, so its threshold cannot be moved")
        return replace(rules, threshold=value)
    if name not in THRESHOLDS:
        known = [*THRESHOLDS, "threshold"]
        raise UsageError(
            f"unknown threshold {name!r}.{did_you_mean(name, known)}", expected=", ".join(known)
        )
    code, column, bound = THRESHOLDS[name]
    rule = _bound(code, column, "<=" if bound == "<=" else ">=", value, "drop")
    others = tuple(r for r in rules.rules if r.code != code)
    place = next((i for i, r in enumerate(rules.rules) if r.code == code), len(others))
    return replace(rules, rules=(*others[:place], rule, *others[place:]))
