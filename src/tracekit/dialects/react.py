"""Dialect `react`: agents that write thought and action as text (ReAct, FireAct, AgentInstruct).

    {"id": "9", "reward": true, "em": true, "f1": 1.0, "gt": "elm", "pred": "elm", "prompt": [],
     "traj": [{"role": "user", "content": "Which tree is it?"},
      {"role": "assistant", "content": "Thought: I look it up.\\nAction: search[which tree]"},
      {"role": "user", "content": "Observation: An elm."},
      {"role": "assistant", "content": "Thought: It is an elm.\\nAction: finish[Elm]"},
      {"role": "user", "content": "Observation: Episode finished, reward = True"}]}
    {"instruction": "Which tree is it?", "input": "", "output": "Thought: ...\\nAction: ...
     Observation: ...\\nThought: ..."}

Also `messages` or `conversations` of such turns (with `loss`, where a source has it).

Decided here:
- `calls: as_text` is the default: parameters have no names in such a text, and an instruction asks
  for the written form. `calls: lift` makes thoughts reasoning (kind `lifted`), actions calls and
  observations results, with tools that are declared as inferred, and takes the spans that ask for
  the old form out of the instruction (`meta.format_instruction`). Lifted is a whole record or
  none of it: one turn that is no single step of a known form leaves all of it as text.
- `finish[x]` and its like are the answer: x becomes the content. `finish: call` makes it a call.
- A last turn `Observation: Episode finished, reward = ...` is an outcome of the environment and no
  message: it says the reward, and nobody answers it. It is kept in `meta.trimmed`.
- An episode that is one text (`output`) becomes turns, so that observations are no text of the
  assistant. A turn of the assistant that is itself an observation has weight 0.
- An acknowledgement at the beginning ("Ok.") stays: whether to train it is a matter of a rule.
- `gt` is the reference answer, `em` a verdict of comparing with it; `f1` and `pred` are meta.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import conversation, openai_message, react_text, record_keys
from tracekit.dialects.dialect import Dialect, Notes, Option, Record
from tracekit.errors import BadRecord

_LISTS = ("messages", "conversations", "traj")
_TAIL = "Observation: Episode finished, reward = "
_REWARDS = {"True": True, "False": False}

CODES = (
    Code(
        name="steps_lifted",
        kind="repair",
        what="A thought and an action written as text became reasoning and a call, or reasoning "
        "and the answer.",
        fix="Option `calls: as_text` leaves them as they are written.",
    ),
    Code(
        name="steps_left_as_text",
        kind="repair",
        what="A record was not lifted: a turn is no single step of a known form, or the "
        "instruction is not a known one.",
        why="Half lifted, a conversation would be told to write one form and show another.",
    ),
    openai_message.FORMAT_INSTRUCTION_CUT,
    Code(
        name="reward_turn_trimmed",
        kind="repair",
        what="The last turn told the reward of the episode; it became an outcome, and "
        "`meta.trimmed` keeps it.",
        why="Nothing is trained after it, and it gives the verdict away.",
    ),
    Code(
        name="episode_split",
        kind="repair",
        what="An episode that was one text became turns of the assistant and of the environment.",
        why="As one text, the observations would be trained as the model's own words.",
    ),
    Code(
        name="observation_not_trained",
        kind="repair",
        what="A message of the assistant is an observation, which only the environment makes; it "
        "has weight 0.",
    ),
)


def fits(value: Any) -> str:
    """Evidence that a record is an episode of a text agent.

    >>> turn = {"role": "assistant", "content": "Thought: Look.\\nAction: search[elm]"}
    >>> fits({"messages": [{"role": "user", "content": "Which?"}, turn]})
    'messages with thought and action as text'
    """
    if isinstance(value, list):
        return "a list of messages with thought and action" if _agent(value) else ""
    if not isinstance(value, dict):
        return ""
    for key in _LISTS:
        if _agent(value.get(key)) and "tools" not in value:
            return f"{key} with thought and action as text"
    if isinstance(value.get("instruction"), str) and react_text.is_transcript(value.get("output")):
        return "instruction and an output of thoughts, actions and observations"
    return ""


def _agent(turns: Any) -> bool:
    return react_text.is_text_agent(turns)


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The one trace of a record."""
    value = records[0].value
    if isinstance(value, list):
        return [_trace(value, {}, {}, notes, options)]
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    value = {key: v for key, v in value.items() if v != []}
    turns, used = _turns(value, notes)
    rest = dict(value)
    fields: dict[str, Any] = {}
    answer, exact = rest.get("gt"), rest.get("em")
    if isinstance(answer, str) and answer:
        fields["answer"] = rest.pop("gt")
    if isinstance(exact, bool):
        told = {"value": jsontext.dump(rest.pop("em")), "kind": "exact_match", "name": "em"}
        fields["outcomes"] = [told]
    described, meta = record_keys.describe(rest, used, notes)
    outcomes = [*fields.get("outcomes", ()), *described.get("outcomes", ())]
    fields = {**described, **fields}
    if outcomes:
        fields["outcomes"] = outcomes
    return [_trace(turns, fields, meta, notes, options)]


def _turns(value: dict[str, Any], notes: Notes) -> tuple[Sequence[Any], set[str]]:
    """Turns of a record, and the keys that they were read from."""
    key = next((name for name in _LISTS if isinstance(value.get(name), list)), None)
    if key is not None:
        turns = value[key]
        system = value.get("system")
        if isinstance(system, str) and system:
            return [{"role": "system", "content": system}, *turns], {key, "system"}
        return turns, {key}
    asked, written = value.get("instruction"), value.get("output")
    if not isinstance(asked, str) or not isinstance(written, str) or not written:
        raise BadRecord("no_messages", "no turns, and no instruction with an output")
    more = value.get("input")
    used = {"instruction", "output"}
    if more is None or isinstance(more, str):
        used.add("input")
        asked = conversation.texts_joined((asked, more or ""))
    split = react_text.split_transcript(written)
    if len(split) > 1:
        notes.repair("episode_split")
    episode = [{"role": role, "content": text} for role, text in split]
    return [{"role": "user", "content": asked}, *episode], used


def _trace(
    turns: Sequence[Any],
    fields: dict[str, Any],
    meta: dict[str, Any],
    notes: Notes,
    options: Mapping[str, str],
) -> dict[str, Any]:
    messages = [
        openai_message.read_message(turn, k, notes, {"calls": "as_text"})
        for k, turn in enumerate(turns)
    ]
    _trim(messages, fields, meta, notes)
    for message in messages:
        content = message.get("content")
        if message["role"] == "assistant" and (content or "").startswith(react_text.OBSERVATION):
            message["weight"] = 0.0
            notes.repair("observation_not_trained")
    tools = None
    if options.get("calls") == "lift":
        lifted = _lifted(messages, meta, notes, as_call=options.get("finish") == "call")
        if lifted is None:
            notes.repair("steps_left_as_text")
        else:
            messages, tools = lifted
    conversation.finish(messages, notes, meta)
    return record_keys.trace(messages, tools, fields, meta, notes)


def _trim(
    messages: list[dict[str, Any]], fields: dict[str, Any], meta: dict[str, Any], notes: Notes
) -> None:
    """Takes a last turn that tells the reward out of the messages."""
    last = messages[-1] if len(messages) > 1 else {}
    content = last.get("content") or ""
    if last.get("role") != "user" or not content.startswith(_TAIL) or "\n" in content:
        return
    messages.pop()
    meta["trimmed"] = content
    notes.repair("reward_turn_trimmed")
    told = content[len(_TAIL) :].strip()
    reward: Any = _REWARDS.get(told, told)
    spelled = jsontext.compact(told) if told not in _REWARDS else jsontext.dump(reward)
    outcomes = fields.get("outcomes", [])
    if not any(outcome["name"] == "reward" for outcome in outcomes):
        value = jsontext.dump(told) if spelled is None else spelled
        fields["outcomes"] = [
            *outcomes,
            {"value": value, "kind": "environment", "name": "reward"},
        ]


def _lifted(
    messages: list[dict[str, Any]], meta: dict[str, Any], notes: Notes, *, as_call: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]] | None:
    """Messages with calls and results, and the tools; None where a turn cannot be read."""
    if not messages or messages[0]["role"] != "user":
        return None
    environment = react_text.environment_of(messages[0].get("content") or "")
    cut = react_text.without_form(environment, messages[0].get("content") or "")
    if cut is None:
        return None
    lifted: list[dict[str, Any]] = []
    n_steps = 0
    called = False
    for k, message in enumerate(messages):
        content = message.get("content") or ""
        if k == 0:
            lifted.append({**message, "content": cut[0]} if cut[1] else message)
        elif message["role"] == "assistant" and not _is_acknowledgement(k, messages, environment):
            step = react_text.step_of(environment, content)
            if step is None or "reasoning" in message or "tool_calls" in message:
                return None
            lifted.append(_said(message, step, as_call=as_call))
            called = step.name is not None
            n_steps += 1
        elif message["role"] == "user" and called and content.startswith(environment.seen):
            text = content[len(environment.seen) :].removeprefix("\n") or None
            lifted.append({**message, "role": "tool", "content": text})
            called = False
        elif message["role"] == "user" and environment.begins == "":
            return None  # what the environment says without a call was an answer to text
        else:
            lifted.append(message)
            called = False
    if not n_steps:
        return None
    notes.repair("steps_lifted", n_steps)
    if cut[1]:
        meta["format_instruction"] = cut[1]
        notes.repair("format_instruction_cut", len(cut[1]))
    meta["calls"] = "lifted"
    meta["inferred"] = [f"{name}.{p}" for name, ps in environment.tools for p in ps]
    return lifted, react_text.declared(environment, finish=as_call)


def _is_acknowledgement(
    k: int, messages: list[dict[str, Any]], environment: react_text.Environment
) -> bool:
    """Is a turn the reply to a bare instruction, before the task is given?"""
    content = messages[k].get("content") or ""
    return bool(environment.begins) and k == 1 and not react_text.is_step(content)


def _said(message: dict[str, Any], step: react_text.Step, *, as_call: bool) -> dict[str, Any]:
    said = {key: v for key, v in message.items() if key != "content"}
    if step.thought:
        said["reasoning"] = step.thought
        said["reasoning_kind"] = "lifted"
    name, arguments = step.name, step.arguments
    if step.answer is not None and as_call:
        name, arguments = "finish", (("answer", step.answer),)
    if name is not None:
        call = {"id": "", "name": name, "arguments": jsontext.dump(dict(arguments))}
        said["tool_calls"] = [call]
    elif step.answer:
        said["content"] = step.answer
    return said


dialect = Dialect(
    name="react",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=(*conversation.CODES, *openai_message.CODES, *record_keys.CODES, *CODES),
    options=(
        Option(
            name="calls",
            choices=("as_text", "lift"),
            what="Thoughts and actions: left as text, or made reasoning, calls and results.",
        ),
        Option(
            name="finish",
            choices=("content", "call"),
            what="With `calls: lift`, the action that ends an episode: its answer becomes the "
            "content, or it stays a call.",
        ),
    ),
)
