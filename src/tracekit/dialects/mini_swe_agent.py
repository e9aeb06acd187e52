r"""Dialect `mini_swe_agent`: runs of mini-swe-agent as one object, and data made of them.

    {"info": {"exit_status": "Submitted", "submission": "", "config": {...}},
     "messages": [{"role": "system", "content": "Your response must contain exactly ONE bash ..."},
                  {"role": "user", "content": "Please solve this issue: ..."},
                  {"role": "assistant", "content": "THOUGHT: Look.\n\n```bash\nls\n```",
                   "extra": {"response": {...}}},
                  {"role": "user", "content": "<returncode>0</returncode>\n<output>\n</output>"}],
     "trajectory_format": "mini-swe-agent-1"}

Without the envelope the messages stand in the keys of a data set (`instance_id`, `patch`, `model`).
A list of messages without any envelope is a run too; one message a line is read by `openai_turns`,
in the same way.

Decided here:

- The thought is content, not reasoning: it is what the model says before it acts.
- The block is lifted to a call of `bash`, and the turn after it is its result, as it was shown:
  `<returncode>` and `<output>` stay. A return code other than 0 sets the error flag.
- Sets that mend the form by hand end on `<function=submit>`; that is a call too.
- A reply with no block, or with several, is text, and so is the turn that complains about it.
- The last turn may be empty: it is what the environment said to the command that ends the run.
- `extra.response` repeats the reply; what it says beside (usage, finish reason, id) is in the meta.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.dialects import (
    agent_text,
    conversation,
    function_prompt,
    openai_message,
    record_keys,
)
from tracekit.dialects.conversation import add_meta
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.errors import BadRecord

_RETURNCODE = re.compile(r"<returncode>(-?\d+)</returncode>")
_RESPONSE = frozenset(("choices", "object", "model"))

CODES = (
    *conversation.CODES,
    *openai_message.CODES,
    *record_keys.CODES,
    *agent_text.OWN_CODES,
    *function_prompt.CODES,
)

IGNORES = {
    "*.messages[].extra.response.choices": "the reply once more; its finish reason is kept",
    "*.messages[].extra.response.object": "the name of the API's answer",
}


def fits(value: Any) -> str:
    """Evidence that a record is a run of mini-swe-agent.

    >>> fits({"trajectory_format": "mini-swe-agent-1", "messages": [{"role": "user"}]})
    'trajectory_format mini-swe-agent-1'
    """
    messages = value.get("messages") if isinstance(value, dict) else value
    if not isinstance(messages, list) or not messages:
        return ""
    named = value.get("trajectory_format") if isinstance(value, dict) else None
    if isinstance(named, str) and named.startswith("mini-swe-agent"):
        return f"trajectory_format {named:.40}"
    return (
        "messages that ask for one bash block" if agent_text.asked_for(messages) == "block" else ""
    )


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The one trace of a run."""
    value = records[0].value
    if isinstance(value, list):
        value = {"messages": value}
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    turns = value.get("messages")
    if not isinstance(turns, list):
        raise BadRecord("no_messages", f"messages is {type(turns).__name__}")
    fields, meta = agent_text.describe(
        value, {"messages", "info"}, ("trajectory_format", "patch"), notes
    )
    _read_info(value.get("info"), fields, meta)
    messages = read_turns(turns, meta, notes, options)
    _one_model(messages, fields)
    conversation.finish(messages, notes, meta)
    return [record_keys.trace(messages, None, fields, meta, notes)]


def read_turns(
    turns: Sequence[Any], meta: dict[str, Any], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Unfinished messages of a run, with the actions lifted."""
    messages = []
    for k, turn in enumerate(turns):
        if not isinstance(turn, dict):
            raise conversation.refuse_message(turn, k)
        message = openai_message.read_message(_without_extra(turn), k, notes, options)
        _read_extra(turn.get("extra"), message)
        messages.append(message)
    if options.get("calls") != "as_text":
        agent_text.lift_fenced(messages, meta, notes)
        function_prompt.lift(messages, None, meta, notes)
        for message in messages:
            if message["role"] == "tool":
                code = _RETURNCODE.match(message.get("content") or "")
                if code is not None:
                    message["error"] = code.group(1) != "0"
    return messages


def _without_extra(turn: dict[str, Any]) -> dict[str, Any]:
    return {key: v for key, v in turn.items() if key != "extra"} if "extra" in turn else turn


def _read_extra(extra: Any, message: dict[str, Any]) -> None:
    """The API's answer beside a reply: finish reason, model, usage; other extras as they are."""
    if not isinstance(extra, dict):
        if extra is not None:
            add_meta(message, "extra", extra)
        return
    response = extra.get("response")
    rest = {key: v for key, v in extra.items() if key != "response" and v not in (None, {}, [])}
    if isinstance(response, dict):
        choices = response.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if isinstance(choice, dict) and isinstance(choice.get("finish_reason"), str):
            message["finish_reason"] = choice["finish_reason"]
        for key, v in response.items():
            if key not in ("choices", "object") and v is not None:
                add_meta(message, key, v)
    elif response is not None:
        rest["response"] = response
    if rest:
        add_meta(message, "extra", rest)


def _read_info(info: Any, fields: dict[str, Any], meta: dict[str, Any]) -> None:
    if not isinstance(info, dict):
        if info is not None:
            meta["info"] = info
        return
    info = {key: v for key, v in info.items() if v is not None and v != ""}
    status = info.get("exit_status")
    if isinstance(status, str):
        outcome = {"value": jsontext.dump(status), "kind": "exit_status", "name": "exit_status"}
        fields.setdefault("outcomes", []).append(outcome)
        del info["exit_status"]
    if "submission" in info:
        meta["submission"] = info.pop("submission")
    if info:
        meta["info"] = info


def _one_model(messages: list[dict[str, Any]], fields: dict[str, Any]) -> None:
    """A model that all replies name is the model of the trace."""
    named = [m["meta"]["model"] for m in messages if "model" in (m.get("meta") or {})]
    if named and isinstance(named[0], str) and all(model == named[0] for model in named):
        fields.setdefault("model", named[0])
        if fields["model"] == named[0]:
            for message in messages:
                (message.get("meta") or {}).pop("model", None)


dialect = Dialect(
    name="mini_swe_agent",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=CODES,
    ignores=IGNORES,
    options=(agent_text.CALLS,),
)
