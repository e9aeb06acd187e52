"""Logs whose lines name their parent: the paths from a root to a leaf, in linear time.

A log is only ever appended to, so a parent stands before its children; a line that names a later
line, or none that is here, follows the line before it. Lines of one id are one node. Lines that are
no message are passed through: a message belongs to the nearest message above it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tracekit.dialects.dialect import Notes, Option, Record
from tracekit.dialects.session_log import PARENT_MISSING

BRANCHES = Option(
    name="branches",
    choices=("all", "latest"),
    what="Paths of a forked session: a trace each, or only the one with the latest line.",
)


@dataclass(eq=False, slots=True)
class Line:
    """A line of the log, with the ids by which it is linked."""

    record: Record
    id: str | None
    parent: str | None
    is_message: bool
    speaks: bool
    """Does an assistant speak in it?"""


@dataclass(eq=False, slots=True)
class Node:
    """A message: the lines of one id."""

    lines: list[Line]
    parent: Node | None
    place: int
    children: list[Node] = field(default_factory=list)
    replied: bool = False
    """Does an assistant speak here or below?"""
    answered: bool = False
    """Does an assistant speak below?"""

    def records(self) -> list[Record]:
        """Records of its lines."""
        return [line.record for line in self.lines]


def nodes(lines: Sequence[Line], notes: Notes) -> list[Node]:
    """Nodes of all message lines, each after its parent."""
    linked = any(line.parent for line in lines)
    place_of: dict[str, int] = {}
    node_at: list[Node | None] = []
    found: list[Node] = []
    for k, line in enumerate(lines):
        same = place_of.get(line.id) if line.id else None
        if same is not None and line.is_message and lines[same].is_message:
            node = node_at[same]
            assert node is not None
            node.lines.append(line)
            node_at.append(node)
            continue
        above = None
        if k and (line.parent or not linked):
            at = place_of.get(line.parent) if line.parent else k - 1
            if at is None:
                notes.repair(PARENT_MISSING.name)
                at = k - 1
            above = node_at[at]
        if line.is_message:
            node = Node([line], above, k)
            found.append(node)
            if above is not None:
                above.children.append(node)
            node_at.append(node)
        else:
            node_at.append(above)
        if line.id:
            place_of.setdefault(line.id, k)
    for node in reversed(found):
        node.replied = node.answered or any(line.speaks for line in node.lines)
        if node.replied and node.parent is not None:
            node.parent.answered = True
    return found


def paths(found: Sequence[Node], latest_only: bool, notes: Notes) -> list[list[Node]]:
    """Paths to the leaves, by their last line; nodes that are on none of them become events.

    A conversation that nobody answers at all is a path too: its reader refuses it.
    """
    left: set[int] = set()
    inner: set[int] = set()
    for node in found:
        above = node.parent
        if above is None:
            continue
        alone = len(above.children) == 1 or (not above.answered and node is above.children[-1])
        if id(above) in left or not (node.replied or alone):
            left.add(id(node))  # of a fork that nobody answered, the latest branch stays
        else:
            inner.add(id(above))
    leaves = [node for node in found if id(node) not in left and id(node) not in inner]
    leaves.sort(key=lambda node: node.place)
    kept = leaves[-1:] if latest_only else leaves
    made = []
    on_paths: set[int] = set()
    for leaf in kept:
        path = []
        at: Node | None = leaf
        while at is not None:
            path.append(at)
            at = at.parent
        path.reverse()
        on_paths.update(map(id, path))
        made.append(path)
    for node in found:
        if id(node) not in on_paths:
            kind = "abandoned_prompt" if id(node) in left else "abandoned_branch"
            for record in node.records():
                notes.event(record, kind)
    return made
