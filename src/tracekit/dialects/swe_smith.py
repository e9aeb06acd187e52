r"""Dialect `swe_smith`: messages whose prompt prints functions and whose calls are text.

    {"messages": [{"role": "system", "content": "... You have access to the following functions:\n
                   \n---- BEGIN FUNCTION #1: bash ----\nDescription: Run.\n\nParameters:\n
                     (1) command (string, required): The command.\n---- END FUNCTION #1 ----\n..."},
                  {"role": "user", "content": "<uploaded_files> ..."},
                  {"role": "assistant", "content": "Look.\n\n<function=bash>\n<parameter=command>ls
                   </parameter>\n</function>"},
                  {"role": "user", "content": "OBSERVATION:\na.py"}],
     "instance_id": "arrow-py__arrow.1d70d009.lm_rewrite__nuz", "resolved": true, "patch": "..."}

SWE-smith and other sets of OpenHands without calls of its own are written so.

Decided here:

- The calls are lifted, and the turn after one is its result, as it was shown: `OBSERVATION:` stays.
- The functions that the prompt prints become declarations (`tools_from_prompt`): they say exactly
  name, description, type, allowed values and what is required, and nothing else is made up.
- The list and what asks for calls as text are cut out of the prompt: `meta.format_instruction`.
- Calls of a record are lifted all or none: a reply that does not parse leaves all of it as text.
- `calls: as_text` leaves all of it as it is, and declares nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit.dialects import (
    agent_text,
    conversation,
    function_prompt,
    openai_message,
    record_keys,
)
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.errors import BadRecord


def fits(value: Any) -> str:
    """Evidence that a prompt of messages prints functions.

    >>> fits({"messages": [{"role": "system", "content": "---- BEGIN FUNCTION #1: ls ----"}]})
    'messages whose prompt prints functions'
    """
    turns = value.get("messages") if isinstance(value, dict) else None
    if not isinstance(turns, list) or "tools" in value:
        return ""
    prints = agent_text.asked_for(turns) == "functions"
    return "messages whose prompt prints functions" if prints else ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The one trace of a record."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    turns = value.get("messages")
    if not isinstance(turns, list):
        raise BadRecord("no_messages", f"messages is {type(turns).__name__}")
    messages = [openai_message.read_message(t, k, notes, options) for k, t in enumerate(turns)]
    fields, meta = agent_text.describe(value, {"messages"}, ("patch", "traj_id"), notes)
    tools = None
    if options.get("calls") != "as_text":
        tools = function_prompt.lift(messages, None, meta, notes)
    conversation.finish(messages, notes, meta)
    return [record_keys.trace(messages, tools, fields, meta, notes)]


dialect = Dialect(
    name="swe_smith",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=(
        *conversation.CODES,
        *openai_message.CODES,
        *record_keys.CODES,
        *agent_text.OWN_CODES,
        *function_prompt.CODES,
    ),
    options=(agent_text.CALLS,),
)
