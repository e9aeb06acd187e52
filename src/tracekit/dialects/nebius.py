r"""Dialect `nebius`: SWE-agent runs as Nebius publishes them, with text turns and training masks.

    {"instance_id": "octo__plumb-366_17", "model_name": "swe-agent-llama-70b", "target": true,
     "trajectory": [{"role": "system", "system_prompt": "SETTING: ...", "text": null,
                     "mask": false, "cutoff_date": "01.01.2023"},
                    {"role": "user", "text": "We're currently solving ...", "mask": false},
                    {"role": "ai", "text": "Look.\n```\nls\n```", "mask": true},
                    {"role": "user", "text": "a.py\n(Open file: n/a)\nbash-$", "mask": false}],
     "exit_status": "submitted", "generated_patch": "diff ...", "eval_logs": "..."}

Decided here:

- `mask: true` means that the message is trained on. The word means the opposite elsewhere, so the
  polarity is an option, and a record whose users are all trained and whose replies are all not is
  refused (`mask_polarity_reversed`) instead of read the wrong way round.
- `target` is the verdict of the tests; `exit_status` says only that the run ended.
- The number after the last `_` of `instance_id` is the attempt: the task is what stands before it.
- The block is lifted to a call of `bash`, the turn after it is its result, as in `swe_agent`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.dialects import agent_text, conversation, masks, record_keys
from tracekit.dialects.dialect import Dialect, Notes, Option, Record
from tracekit.errors import BadRecord

_ROLES = {"system": "system", "user": "user", "ai": "assistant"}
_READ = frozenset(("role", "text", "system_prompt", "mask"))
_MASK = "mask"


def fits(value: Any) -> str:
    """Evidence that a record is such a run.

    >>> fits({"trajectory": [{"role": "ai", "text": "Look.", "mask": True}]})
    'trajectory of text with mask'
    """
    turns = value.get("trajectory") if isinstance(value, dict) else None
    first = turns[0] if isinstance(turns, list) and turns else None
    if not isinstance(first, dict) or not isinstance(first.get("role"), str):
        return ""
    return "trajectory of text with mask" if _MASK in first and "text" in first else ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The one trace of a run."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    turns = value.get("trajectory")
    if not isinstance(turns, list):
        raise BadRecord("no_messages", f"trajectory is {type(turns).__name__}")
    trained = options.get(_MASK) != "true_masks"
    messages = [_message(turn, k, trained) for k, turn in enumerate(turns)]
    _weigh(messages)
    fields, meta = agent_text.describe(
        value, {"trajectory", "target"}, ("generated_patch", "eval_logs"), notes
    )
    if isinstance(value.get("target"), bool):
        outcome = {"value": jsontext.dump(value["target"]), "kind": "tests", "name": "target"}
        fields.setdefault("outcomes", []).insert(0, outcome)
    elif value.get("target") is not None:
        meta["target"] = value["target"]
    if options.get("calls") != "as_text":
        agent_text.lift_fenced(messages, meta, notes)
        agent_text.mark_refused_edits(messages, notes)
    conversation.finish(messages, notes, meta)
    return [record_keys.trace(messages, None, fields, meta, notes)]


def _message(turn: Any, k: int, trained: bool) -> dict[str, Any]:
    if not isinstance(turn, dict):
        raise conversation.refuse_message(turn, k)
    written = turn.get("role")
    role = _ROLES.get(written) if isinstance(written, str) else None
    if role is None:
        raise BadRecord("unknown_role", f"trajectory[{k}] has the role {written!r:.60}")
    message: dict[str, Any] = {"role": role}
    texts = []
    for key in ("system_prompt", "text"):
        text = turn.get(key)
        if isinstance(text, str):
            texts.append(text)
        elif text is not None:
            raise BadRecord("content_not_text", f"trajectory[{k}].{key} is {type(text).__name__}")
    content = conversation.texts_joined(texts)
    if content is not None:
        message["content"] = content
    mask = turn.get(_MASK)
    if isinstance(mask, bool):
        message["_trained"] = mask is trained
    agent_text.keep_rest(message, {key: v for key, v in turn.items() if key not in _READ})
    return message


def _weigh(messages: list[dict[str, Any]]) -> None:
    """Sets the weights of replies. BadRecord where the masks say the opposite of sense."""
    for message in messages:
        flag = message.pop("_trained", None)
        if flag is not None:
            message["weight"] = float(flag)
    masks.check(messages)
    for message in messages:
        if message["role"] != "assistant":
            message.pop("weight", None)


dialect = Dialect(
    name="nebius",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=(
        *conversation.CODES,
        *record_keys.CODES,
        *agent_text.CODES,
        *masks.CODES,
    ),
    options=(
        agent_text.CALLS,
        Option(
            name=_MASK,
            choices=("true_trains", "true_masks"),
            what="What `mask: true` says of a message: it is trained on, or it is masked out.",
        ),
    ),
)
