"""Programs that a model wrote and an interpreter ran, as text: ```` ```python ```` and
```` ```output ````.

One text holds what three speakers said in turn: the model its words and its program, the
interpreter its output, the model its conclusion. Only a program with its output right behind it
was run, so only such a pair is a call; every other fence is text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects.dialect import Notes, Option

PROGRAM = "```python\n"
OUTPUT = "```output\n"
FENCE = "```"
MARKUP = (PROGRAM, OUTPUT, FENCE)
"""What lifting takes out of a text."""

TOOL = "python"
ARGUMENT = "code"
"""Names that the text does not give: the fence names a language, the interpreter takes a text."""

CODES = (
    Code(
        name="programs_lifted",
        kind="repair",
        what="A program and its output, written as two fenced blocks into one text, became a call "
        "of `python` and its result.",
        why="The output is the interpreter's: as text of the assistant it would be trained, and "
        "the model would learn to make outputs up.",
        fix="Option `calls: as_text` leaves the text as it is.",
    ),
    Code(
        name="harness_note_moved",
        kind="repair",
        what="A note of the harness (`<system>`) between a program and its output became a user "
        "message behind the output.",
        why="In the text of the assistant the model would learn to write it.",
    ),
)

_NOTE, _NOTE_END = "<system>", "</system>"

CALLS = Option(
    name="calls",
    choices=("lift", "as_text"),
    what="Programs with their output: calls and results, or left in the text of the assistant.",
)

TOOLS = [
    {
        "name": TOOL,
        "parameters": jsontext.dump(
            {
                "type": "object",
                "properties": {ARGUMENT: {"type": "string"}},
                "required": [ARGUMENT],
            }
        ),
        "inferred": True,
    }
]
"""Declaration of the interpreter; inferred, since such a text declares nothing."""


@dataclass(frozen=True, slots=True)
class Run:
    """What was said before a program, the program, and what it printed."""

    before: str
    program: str
    output: str
    note: str = ""
    """What the harness put between the two, as it stands there."""


def runs(text: str) -> tuple[list[Run], str]:
    """The programs of a text that were run, in order, and what is said after the last one.

    Linear in the length of the text. `unlift` gives the text back.

    >>> found, rest = runs("Add.\\n```python\\nshow(3 + 4)\\n```\\n```output\\n7\\n```\\nSeven.")
    >>> found[0], rest
    (Run(before='Add.\\n', program='show(3 + 4)\\n', output='7\\n', note=''), 'Seven.')
    """
    found: list[Run] = []
    place = 0  # what is before is taken
    search = 0
    while True:
        output = text.find(OUTPUT, search)
        if output < 0:
            return found, text[place:]
        printed = output + len(OUTPUT)
        end = text.find(FENCE, printed)
        closed = _note_start(text, search, output) - len(FENCE) - 1
        start = text.rfind(PROGRAM, search, max(closed, search))
        inside = start + len(PROGRAM)
        alone = end >= 0 and (end + 3 == len(text) or text[end + 3] == "\n")
        follows = closed >= search and text.startswith(FENCE + "\n", closed)
        if start < 0 or not alone or not follows or text.find(FENCE, inside, closed) >= 0:
            search = printed
            continue
        note = text[closed + len(FENCE) + 1 : output]
        found.append(Run(text[place:start], text[inside:closed], text[printed:end], note))
        place = search = min(end + len(FENCE) + 1, len(text))


def _note_start(text: str, search: int, output: int) -> int:
    """Where a note of the harness directly before an output begins; the output where none is."""
    end = output
    while end > search and text[end - 1] == "\n":
        end -= 1
    if not text.endswith(_NOTE_END, search, end):
        return output
    start = text.rfind(_NOTE, search, end)
    return output if start < 0 else start


def unlift(found: list[Run], rest: str) -> str:
    """The text that `runs` read, but for a line break at its very end.

    >>> text = "```python\\n1\\n```\\n```output\\n1\\n```\\n"
    >>> unlift(*runs(text)) == text
    True
    """
    pieces = [
        f"{run.before}{PROGRAM}{run.program}{FENCE}\n{run.note}{OUTPUT}{run.output}{FENCE}\n"
        for run in found
    ]
    return "".join(pieces) + rest


def messages(text: str, notes: Notes) -> list[dict[str, Any]]:
    """Assistant and tool messages of one text; one assistant message where nothing was run."""
    found, rest = runs(text)
    turns: list[dict[str, Any]] = []
    for run in found:
        arguments = jsontext.dump({ARGUMENT: run.program.removesuffix("\n")})
        call = {"id": "", "name": TOOL, "arguments": arguments}
        turns.append({"role": "assistant", "tool_calls": [call]})
        said = run.before.strip("\n")
        if said:
            turns[-1]["content"] = said
        turns.append(
            {"role": "tool", "name": TOOL, "content": run.output.removesuffix("\n") or None}
        )
        if run.note:
            told = {"role": "user", "content": run.note.strip(), "meta": {"injected": True}}
            turns.append(told)
            notes.repair("harness_note_moved")
    if found:
        notes.repair("programs_lifted", len(found))
        rest = rest.strip("\n")
    if rest or not found:
        turns.append({"role": "assistant", "content": rest} if rest else {"role": "assistant"})
    return turns
