"""Dialect `toolalpaca`: runs of ToolAlpaca, as built (`Instances`) and as a judge saw them.

{"Name": "Rain", "Function_Description": {"getRain": "Rain of a day.\\nParameters: {...}"},
 "Instances": [{"input": "Is it wet in Rome?", "output": "Yes.", "Final Thought": "I know it now.",
  "intermediate_steps": [[["getRain", "{\\"city\\": \\"Rome\\"}", "\\nI need it.\\nAction: getRain
   \\nAction Input: {\\"city\\": \\"Rome\\"}"], "Status Code: 200. Response: ..."]]}]}
{"Rain": [{"id": 0, "input": [{"role": "user", "content": "Given the documentation ... ## AI
   Assistant's Solution\\n1. Function: getRain\\nParameters: {}\\nRetruns: ..."}], "output": "...",
   "process_correctness": "Yes", "final_response_correctness": "No"}], "statistics": {...}}

Decided here: (1) A file of judgements is one record and gives a trace an entry. By default that is
the judge's own conversation, since that is what its messages say: `viewpoint: judged` parses the
judged run out of the prompt, with the verdicts as outcomes of kind `judge` and the standard answer
as the reference. (2) Both are an evaluation set of simulated APIs. (3) Of an instance, the thought
before `Action:` is lifted reasoning; functions are declared in words only, so without parameters.
(4) Entries where the agent made no step hold no conversation; they are counted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import conversation, record_keys
from tracekit.dialects.dialect import Dialect, Notes, Option, Record
from tracekit.errors import BadRecord

CODES = (
    Code(
        name="empty_run_skipped",
        kind="repair",
        what="An entry of a record holds no run: the agent made no step. It gives no trace.",
    ),
    Code(
        name="run_skipped",
        kind="repair",
        what="One of the runs that a record holds cannot be read; the others are traces.",
        why="A record with a hundred runs must not be lost for one of them.",
        fix="The count says how many; where no run can be read the record is refused.",
    ),
    Code(
        name="bad_run",
        kind="reject",
        what="The record holds no run that its dialect can read; the detail names the first.",
    ),
)
VIEWPOINT = Option(
    name="viewpoint",
    choices=("judge", "judged"),
    what="Of a file of judgements: the conversation of the judge, or the run that it judged.",
)

MARKUP = ("\nAction: ", "\nAction Input: ")
"""What reading takes out of a step that the model wrote."""
_VERDICTS = ("process_correctness", "final_response_correctness")
_ENTRY_USED = frozenset(("id", "input", "output", *_VERDICTS))
_INSTANCE_USED = frozenset(("input", "output", "Final Thought", "intermediate_steps"))
_SECTIONS = (
    "## Documentation\n",
    "## Task Instruction\n",
    "## Standard Answer\n",
    "## AI Assistant's Solution\n",
    "## Analysis",
)
_STEP = re.compile(r"^(\d+)\. (Function|Final Response): ?", re.MULTILINE)
_FUNCTION = re.compile(r"^([\w.]+): ", re.MULTILINE)


def fits(value: Any) -> str:
    """Evidence that a record holds runs of ToolAlpaca, or judgements on them.

    >>> fits({"Rain": [{"id": 0, "input": "", "output": ""}], "statistics": {"num": 1}})
    'lists of judgements with statistics'
    """
    if not isinstance(value, dict):
        return ""
    if isinstance(value.get("statistics"), dict) and len(value) > 1:
        lists = [v for name, v in value.items() if name != "statistics"]
        if all(isinstance(v, list) and all(map(_is_entry, v)) for v in lists):
            return "lists of judgements with statistics"
    known = isinstance(value.get("Instances"), list) and "Function_Description" in value
    return "Instances with Function_Description" if known else ""


def _is_entry(value: Any) -> bool:
    return isinstance(value, dict) and {"id", "input", "output"} <= value.keys()


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """A trace for each run of a record."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    traces = _instances(value, notes) if "Instances" in value else _judged(value, notes, options)
    if not traces:
        raise BadRecord("no_messages", "no entry of the record holds a run")
    return traces


# Judgements.


def _judged(
    value: dict[str, Any], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    held: list[tuple[str, dict[str, Any]]] = []
    for name, entries in value.items():
        if name == "statistics":
            continue
        if not isinstance(entries, list):
            raise BadRecord("bad_run", f"{name!r:.60} is {type(entries).__name__}")
        for k, entry in enumerate(entries):
            if not isinstance(entry, dict):
                raise BadRecord("bad_run", f"{name!r:.60}[{k}] is {type(entry).__name__}")
            if entry.get("input"):
                held.append((name, entry))
            else:
                notes.repair("empty_run_skipped")
    return each_run(lambda run: _judgement(run[0], run[1], notes, options), held, notes)


def each_run(
    read_run: Callable[[Any], dict[str, Any]], runs: Iterable[Any], notes: Notes
) -> list[dict[str, Any]]:
    """Traces of the runs that can be read; raises the first error where none can be."""
    traces: list[dict[str, Any]] = []
    errors: list[BadRecord] = []
    for run in runs:
        try:
            traces.append(read_run(run))
        except BadRecord as error:
            errors.append(error)
    if errors and not traces:
        raise errors[0]
    if errors:
        notes.repair("run_skipped", len(errors))
    return traces


def _judgement(
    name: str, entry: dict[str, Any], notes: Notes, options: Mapping[str, str]
) -> dict[str, Any]:
    asked = entry["input"]
    if not isinstance(asked, list):
        raise BadRecord("bad_run", f"input of {name!r:.60} is {type(asked).__name__}")
    prompt: list[dict[str, Any]] = []
    for k, message in enumerate(asked):
        text = message.get("content") if isinstance(message, dict) else None
        if not isinstance(text, str) or message.get("role") not in ("user", "system"):
            raise BadRecord("bad_run", f"input[{k}] of {name!r:.60}")
        prompt.append({"role": message["role"], "content": text})
    verdict = entry.get("output")
    if not isinstance(verdict, str):
        raise BadRecord("content_not_text", f"output is {type(verdict).__name__}")
    meta: dict[str, Any] = {"api": name}
    meta |= {k: v for k, v in entry.items() if k not in _ENTRY_USED and v is not None}
    fields: dict[str, Any] = {"source_id": f"{name}/{jsontext.dump(entry.get('id'))}"}
    given = {key: entry[key] for key in _VERDICTS if entry.get(key) not in (None, "")}
    tools = None
    if options.get("viewpoint") == "judged":
        messages, tools = _solution(prompt[-1]["content"], fields, meta)
        meta["judgement"] = verdict
        fields["outcomes"] = [
            {"value": jsontext.dump(v), "kind": "judge", "name": key} for key, v in given.items()
        ]
    else:
        messages = [*prompt, {"role": "assistant", "content": verdict or None}]
        meta |= {"viewpoint": "judge", **given}
    conversation.finish(messages, notes, meta)
    return record_keys.trace(messages, tools, fields, meta, notes)


def _solution(
    prompt: str, fields: dict[str, Any], meta: dict[str, Any]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Messages and tools of the judged run; what else the prompt says goes to fields and meta."""
    pieces = []
    place = 0
    for mark in _SECTIONS[:-1]:
        found = prompt.find(mark, place)
        if found < 0:
            raise BadRecord("bad_run", f"the prompt has no section {mark.strip()!r}")
        pieces.append(prompt[place:found])
        place = found + len(mark)
    end = prompt.rfind(_SECTIONS[-1])
    pieces.append(prompt[place : end if end > place else len(prompt)])
    meta["guidelines"] = pieces[0].strip()
    fields["answer"] = pieces[3].strip()
    messages: list[dict[str, Any]] = [{"role": "user", "content": pieces[2].strip() or None}]
    for kind, text in _steps(pieces[4]):
        if kind == "Final Response":
            messages.append({"role": "assistant", "content": text.strip() or None})
            continue
        function, _, rest = text.partition("\nParameters: ")
        arguments, returned, result = rest.partition("\nRetruns: ")
        call = {"id": "", "name": function.strip(), "arguments": _arguments(arguments)}
        if not call["name"]:
            raise BadRecord("bad_tool_call", "a step without the name of its function")
        messages.append({"role": "assistant", "tool_calls": [call]})
        if returned:
            messages.append(_result(result.strip()))
    return messages, _documented(pieces[1])


def _arguments(text: str) -> str:
    spelled = jsontext.compact(text.strip())
    return text.strip() if spelled is None else spelled


def _result(text: str) -> dict[str, Any]:
    """A result of the simulated API; its status says whether the call failed."""
    result: dict[str, Any] = {"role": "tool", "content": text or None}
    status = re.match(r"Status Code: (\d{3})\.", text)
    if status is not None:
        result["error"] = int(status.group(1)) >= 400
    return result


def _steps(text: str) -> list[tuple[str, str]]:
    """(kind, text) of the numbered steps; a number that does not follow is text of a result."""
    starts: list[re.Match[str]] = []
    for mark in _STEP.finditer(text):
        if mark.group(1) == str(len(starts) + 1):
            starts.append(mark)
    ends = [mark.start() for mark in starts[1:]] + [len(text)]
    return [
        (mark.group(2), text[mark.end() : end].strip("\n"))
        for mark, end in zip(starts, ends, strict=True)
    ]


def _documented(text: str) -> list[dict[str, Any]]:
    """Tools of a documentation in words: `name: what it does`, then its parameters."""
    starts: list[re.Match[str]] = [
        mark
        for mark in _FUNCTION.finditer(text)
        if mark.group(1) not in ("Parameters", "Output")
        and text.find("\nParameters: ", mark.end(), mark.end() + _MAX_WORDS) >= 0
    ]
    ends = [mark.start() for mark in starts[1:]] + [len(text)]
    return [
        _tool(mark.group(1), text[mark.end() : end].strip())
        for mark, end in zip(starts, ends, strict=True)
    ]


_MAX_WORDS = 4000
"""Characters between the name of a function and its parameters."""


def _tool(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "description": description, "parameters": None, "extra": None}


# Instances.


def _instances(value: dict[str, Any], notes: Notes) -> list[dict[str, Any]]:
    entries = value["Instances"]
    if not isinstance(entries, list):
        raise BadRecord("bad_run", f"Instances is {type(entries).__name__}")
    described = value.get("Function_Description")
    tools = None
    if isinstance(described, dict):
        words = {k: v for k, v in described.items() if k and isinstance(v, str)}
        shared = words.pop("components", "")  # no function: the agent sees it after the last one
        tools = [_tool(name, text) for name, text in words.items()]
        if tools and shared:
            tools[-1]["description"] += "\n" + shared
    answers = value.get("Golden_Answers")
    about = {k: v for k, v in value.items() if k not in _RECORD_USED and v is not None}
    for key in about:
        notes.unknown(key)
    held: list[tuple[int, dict[str, Any]]] = []
    for k, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise BadRecord("bad_run", f"Instances[{k}] is {type(entry).__name__}")
        if entry.get("intermediate_steps"):
            held.append((k, entry))
        else:
            notes.repair("empty_run_skipped")

    def read_run(pair: tuple[int, dict[str, Any]]) -> dict[str, Any]:
        k, entry = pair
        meta: dict[str, Any] = {key: v for key, v in entry.items() if key not in _INSTANCE_USED}
        fields: dict[str, Any] = {"source_id": f"{value.get('Name')}/{k}"}
        if isinstance(answers, list) and k < len(answers) and answers[k]:
            fields["answer"] = jsontext.dump(answers[k])
        messages = _run(entry, k, notes)
        conversation.finish(messages, notes, meta)
        return record_keys.trace(messages, tools, fields, meta, notes)

    traces = each_run(read_run, held, notes)
    if traces and about:  # once a record: what is said of the API, not of one run
        first = traces[0].get("meta")
        traces[0]["meta"] = jsontext.dump({**(json.loads(first) if first else {}), **about})
    return traces


_RECORD_USED = frozenset(("Instances", "Function_Description", "Golden_Answers", "Name"))


def _run(entry: dict[str, Any], k: int, notes: Notes) -> list[dict[str, Any]]:
    texts = {}
    for key in ("input", "output", "Final Thought"):
        texts[key] = entry.get(key)
        if texts[key] is not None and not isinstance(texts[key], str):
            raise BadRecord("content_not_text", f"{key} of Instances[{k}]")
    messages: list[dict[str, Any]] = [{"role": "user", "content": texts["input"] or None}]
    steps = entry["intermediate_steps"]
    for step in steps if isinstance(steps, list) else [steps]:
        messages.extend(_taken(step, k, notes))
    last: dict[str, Any] = {"role": "assistant", "content": texts["output"] or None}
    if texts["Final Thought"]:
        last |= {"reasoning": texts["Final Thought"], "reasoning_kind": "lifted"}
    return [*messages, last]


def _taken(step: Any, k: int, notes: Notes) -> list[dict[str, Any]]:
    """Messages of one step: ((function, input, what the model wrote), observation)."""
    made = step[0] if isinstance(step, list) and len(step) == 2 else None
    if not isinstance(made, list) or len(made) < 2 or not isinstance(made[0], str) or not made[0]:
        raise BadRecord("bad_run", f"a step of Instances[{k}]")
    arguments = conversation.arguments_text(made[1], notes)
    message: dict[str, Any] = {"role": "assistant"}
    written = made[2] if len(made) > 2 else None
    if isinstance(written, str):
        thought, acts, rest = written.partition("\nAction:")
        if thought.strip():
            message |= {"reasoning": thought.strip(), "reasoning_kind": "lifted"}
        if acts and (made[0] not in rest or str(made[1]) not in rest):
            message["meta"] = {"written": rest}
    elif len(made) > 2:
        message["meta"] = {"step": made[2:]}
    message["tool_calls"] = [{"id": "", "name": made[0], "arguments": arguments}]
    seen = step[1] if isinstance(step[1], str) else jsontext.dump(step[1])
    return [message, _result(seen)]


dialect = Dialect(
    name="toolalpaca",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=(*conversation.CODES, *record_keys.CODES, *CODES),
    options=(VIEWPOINT,),
)
