r"""Dialect `web_agent`: runs of WebArena agents, states and actions in one list.

    {"task_id": 0, "intent": "What is the best-selling product?", "source": "gpt-4o",
     "trajectory": [{"url": "http://...", "axtree": "Tab 0 ...", "screenshot_path": "0_0.png"},
                    {"metadata": {"cot": "Let's think step-by-step. ..."},
                     "action": {"action_type": 6, "element_id": "1121", "text": [],
                                "raw_prediction": "", "action_name": "click"}}]}

Decided here:

- The first state is what the user shows: a user turn after the task. A later state is the result of
  the action before it. Screenshots are attachments.
- `cot` is the thought before the action, parsed out of the model's reply: reasoning, `lifted`.
- The call has the name of the action and those of its arguments that say anything; the numbers of
  the enumeration (`action_type`, `page_number` 0) and what is empty are not arguments.
- `stop` ends the run; its `answer` stays in the call.
- `source` is the model that acted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.dialects import agent_text, conversation, record_keys
from tracekit.dialects.conversation import add_meta
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.errors import BadRecord

_STATE = ("axtree", "html", "observation")
_NO_ARGUMENTS = frozenset(("action_type", "action_name", "raw_prediction"))


def fits(value: Any) -> str:
    """Evidence that a record is such a run.

    >>> fits({"intent": "Buy.", "trajectory": [{"url": "http://a", "axtree": "Tab 0"}]})
    'intent and trajectory of states'
    """
    if not isinstance(value, dict) or not isinstance(value.get("intent"), str):
        return ""
    steps = value.get("trajectory")
    first = steps[0] if isinstance(steps, list) and steps else None
    seen = isinstance(first, dict) and "url" in first and any(key in first for key in _STATE)
    return "intent and trajectory of states" if seen else ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The one trace of a run."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    steps = value.get("trajectory")
    if not isinstance(steps, list):
        raise BadRecord("no_messages", f"trajectory is {type(steps).__name__}")
    messages: list[dict[str, Any]] = []
    if isinstance(value.get("intent"), str) and value["intent"]:
        messages.append({"role": "user", "content": value["intent"]})
    for k, step in enumerate(steps):
        if not isinstance(step, dict):
            raise conversation.refuse_message(step, k)
        if "action" in step:
            messages.append(_action(step, k))
        else:
            answers = bool(messages) and "tool_calls" in messages[-1]
            messages.append(_state(step, k, answers))
    fields, meta = record_keys.describe(value, {"trajectory", "intent", "source"}, notes)
    if isinstance(value.get("source"), str) and value["source"]:
        fields.setdefault("model", value["source"])
    elif value.get("source") is not None:
        meta["source"] = value["source"]
    if value.get("intent") is not None and not isinstance(value["intent"], str):
        meta["intent"] = value["intent"]
    conversation.finish(messages, notes, meta)
    return [record_keys.trace(messages, None, fields, meta, notes)]


def _state(step: dict[str, Any], k: int, answers: bool) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "tool" if answers else "user"}
    rest = dict(step)
    for key in _STATE:
        text = rest.pop(key, None)
        if text is None or text == "":
            continue
        if not isinstance(text, str):
            raise BadRecord("content_not_text", f"trajectory[{k}].{key} is {type(text).__name__}")
        if "content" in message:
            add_meta(message, key, text)
        else:
            message["content"] = text
    screenshot = rest.get("screenshot_path")
    if isinstance(screenshot, str) and screenshot:
        message["attachments"] = [rest.pop("screenshot_path")]
    agent_text.keep_rest(message, rest)
    return message


def _action(step: dict[str, Any], k: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant"}
    rest = {key: v for key, v in step.items() if key not in ("action", "metadata")}
    metadata = step.get("metadata")
    if isinstance(metadata, dict):
        metadata = dict(metadata)
        thought = metadata.get("cot")
        if isinstance(thought, str):
            del metadata["cot"]
            if thought:
                message["reasoning"] = thought
                message["reasoning_kind"] = "lifted"
    if metadata:
        rest["metadata"] = metadata
    action = step["action"]
    name = action.get("action_name") if isinstance(action, dict) else None
    if not isinstance(name, str) or not name:
        raise BadRecord("bad_tool_call", f"trajectory[{k}] has an action without action_name")
    arguments = {
        key: v
        for key, v in action.items()
        if key not in _NO_ARGUMENTS and v is not None and v not in ("", [], {}, 0)
    }
    message["tool_calls"] = [{"id": "", "name": name, "arguments": jsontext.dump(arguments)}]
    raw = action.get("raw_prediction")
    if raw:
        rest["raw_prediction"] = raw
    agent_text.keep_rest(message, rest)
    return message


dialect = Dialect(
    name="web_agent",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=(*conversation.CODES, *record_keys.CODES),
)
