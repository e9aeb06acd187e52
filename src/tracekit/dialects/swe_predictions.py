"""Dialect `swe_predictions`: predictions for SWE-bench: patches, without the talk that made them.

    {"instance_id": "octo__plumb-366", "model_patch": "diff --git ...",
     "model_name_or_path": "openhands"}

Harnesses write such a file beside their trajectories (`all_preds.jsonl`). It is known so that its
records are refused for what they are, and not as a file that nobody can read. The trajectories
hold the same patches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit.dialects import conversation, no_conversation
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.errors import BadRecord

CODES = (
    next(code for code in conversation.CODES if code.name == "not_an_object"),
    *no_conversation.CODES,
)


def fits(value: Any) -> str:
    """Evidence that a record is a prediction.

    >>> fits({"instance_id": "octo__plumb-366", "model_patch": "", "model_name_or_path": "m"})
    'instance_id with model_patch'
    """
    if not isinstance(value, dict):
        return ""
    known = "instance_id" in value and "model_patch" in value and "model_name_or_path" in value
    return "instance_id with model_patch" if known else ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Refuses the record, with what it is."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    instance = value.get("instance_id")
    raise BadRecord("holds_no_conversation", f"a patch for {instance!r:.80}")


dialect = Dialect(
    name="swe_predictions", version=1, unit="record", fits=fits, read=read, codes=CODES
)
