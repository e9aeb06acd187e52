"""Container `dialogs`: text files of dialogues, one after the other, a blank line between them.

    %dialogs 1
    human: 9*4?
    bot: 36

    human: And 9*5?
    bot: 45

A line that begins with no speaker belongs to the one before it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tracekit import Container

MAGIC = b"%dialogs 1\n"


def fits(path: Path, head: bytes) -> str:
    """Evidence in words that a file is of this kind, or an empty string."""
    return "begins with %dialogs 1" if head.startswith(MAGIC) else ""


def records(path: Path) -> Iterator[Any]:
    """The dialogues of a file; what is no dialogue raises, and becomes one reject."""
    text = path.read_bytes().removeprefix(MAGIC).decode("utf-8")
    for block in text.split("\n\n"):
        turns: list[dict[str, str]] = []
        for line in filter(None, block.split("\n")):
            who, colon, said = line.partition(": ")
            if colon and who in ("human", "bot"):
                turns.append({"who": who, "said": said})
            elif turns:
                turns[-1]["said"] += "\n" + line
            else:
                raise ValueError(f"nobody says {line!r}")
        if turns:
            yield {"dialog": turns}


container = Container(name="dialogs", version=1, fits=fits, records=records)
