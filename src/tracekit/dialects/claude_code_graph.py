"""The lines of a Claude Code session as a graph: replies put together, forks, sub-agents.

A line names its parent. Lines of one `message.id` are one reply; the results of its calls belong to
it, whichever line they name as parent, for parallel calls would look like forks otherwise. Parents
are followed through lines that are no message.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tracekit.dialects.dialect import Notes, Record

Chain = tuple[bool, str]
"""(is it a sub-agent, id of the agent or ""): lines of one speaker's own conversation."""


@dataclass(eq=False, slots=True)
class Line:
    """One line of the log, `place` in the order of reading."""

    record: Record
    place: int
    chain: Chain
    is_message: bool
    repeats: list[Record] = field(default_factory=list)
    """Lines that say the same once more (a resumed session copies its past)."""

    @property
    def value(self) -> dict[str, Any]:
        """The parsed line."""
        value: dict[str, Any] = self.record.value
        return value

    def records(self) -> Iterable[Record]:
        """The records of this line, with its copies."""
        return (self.record, *self.repeats)


@dataclass(eq=False, slots=True)
class Node:
    """A user message, or a reply with the results of its calls."""

    lines: list[Line]
    results: list[Line] = field(default_factory=list)
    parent: Node | None = None
    link: Node | None = None
    """Where another conversation goes on from: the caller of a sub-agent, what was compacted."""
    children: list[Node] = field(default_factory=list)
    replied: bool = False
    """Does an assistant speak here or below?"""

    @property
    def first(self) -> Line:
        """Line that began the node."""
        return self.lines[0]

    @property
    def is_reply(self) -> bool:
        """Did the assistant speak?"""
        return bool(self.first.value["type"] == "assistant")

    def records(self) -> Iterable[Record]:
        """All records of the node."""
        for line in (*self.lines, *self.results):
            yield from line.records()


def blocks(line: Line) -> list[Any]:
    """Content blocks of a message line; a text is one block."""
    content = line.value["message"].get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return content if isinstance(content, list) else []


def _block_ids(line: Line, key: str) -> list[str]:
    return [b[key] for b in blocks(line) if isinstance(b, dict) and isinstance(b.get(key), str)]


def _is_result(line: Line) -> bool:
    return any(isinstance(b, dict) and b.get("type") == "tool_result" for b in blocks(line))


def nodes_of(lines: list[Line], notes: Notes) -> list[Node]:
    """Nodes of all message lines, linked to their parents, in the order of their first lines."""
    by_id = Names()
    messages: list[Line] = []
    for line in lines:
        name = line.value.get("uuid")
        if isinstance(name, str) and name:
            held = by_id.first(name)
            if line.is_message and held is not None and held.is_message and _same(held, line):
                held.repeats.append(line.record)
                continue
            by_id.add(name, line)
        if line.is_message:
            messages.append(line)
    nodes, node_of = _grouped(messages)
    _link_parents(nodes, node_of, by_id, notes)
    _cut_cycles(nodes, notes)
    for node in nodes:
        if node.parent is not None:
            node.parent.children.append(node)
    return nodes


class Names:
    """Lines by their `uuid`. A name means the line of the same file, where there is one: written
    logs never share names, but invented ones (tests, redacted sets) use the same few in each."""

    def __init__(self) -> None:
        self._any: dict[str, Line] = {}
        self._in_file: dict[tuple[str, str], Line] = {}

    def add(self, name: str, line: Line) -> None:
        """Gives a line its name; the first line of a name keeps it."""
        self._any.setdefault(name, line)
        self._in_file.setdefault((line.record.file, name), line)

    def first(self, name: str) -> Line | None:
        """The first line of a name in any file."""
        return self._any.get(name)

    def seen_from(self, line: Line, name: str) -> Line | None:
        """What a name means in a line."""
        return self._in_file.get((line.record.file, name)) or self._any.get(name)


def _same(one: Line, other: Line) -> bool:
    """Is one line a copy of the other? A resumed session may spell a text as a block."""
    rest = [{**line.value["message"], "content": None} for line in (one, other)]
    return rest[0] == rest[1] and blocks(one) == blocks(other) and one.chain == other.chain


def _grouped(messages: list[Line]) -> tuple[list[Node], dict[int, Node]]:
    """Nodes with their lines, and the node of each line by its place."""
    nodes: list[Node] = []
    node_of: dict[int, Node] = {}
    replies: dict[tuple[Chain, str, str], Node] = {}
    owners: dict[tuple[Chain, str, str], Node] = {}
    for line in messages:
        if line.value["type"] != "assistant":
            continue
        reply_id = line.value["message"].get("id")
        reply = (line.chain, line.record.file, reply_id if isinstance(reply_id, str) else "")
        node = replies.get(reply)
        if node is None:
            node = Node([line])
            nodes.append(node)
            if reply[2]:
                replies[reply] = node
        else:
            node.lines.append(line)
        node_of[line.place] = node
        for call_id in _block_ids(line, "id"):
            owners.setdefault((line.chain, line.record.file, call_id), node)
            owners.setdefault((line.chain, "", call_id), node)
    for line in messages:
        if line.value["type"] == "assistant":
            continue
        owner = None
        if _is_result(line):
            owner = next(
                (
                    owners[line.chain, file, call_id]
                    for call_id in _block_ids(line, "tool_use_id")
                    for file in (line.record.file, "")
                    if (line.chain, file, call_id) in owners
                ),
                None,
            )
        if owner is None:
            owner = Node([line])
            nodes.append(owner)
        else:
            owner.results.append(line)
        node_of[line.place] = owner
    nodes.sort(key=lambda node: node.first.place)
    return nodes, node_of


def _place(node: Node) -> tuple[Chain, str, str]:
    """Where the order of the lines may stand for links: one speaker, one file, one session."""
    session = node.first.value.get("sessionId")
    return node.first.chain, node.first.record.file, session if isinstance(session, str) else ""


def _link_parents(nodes: list[Node], node_of: dict[int, Node], by_id: Names, notes: Notes) -> None:
    linked = {
        _place(node)
        for node in nodes
        if any(line.value.get("parentUuid") for line in (*node.lines, *node.results))
    }
    before: dict[tuple[Chain, str, str], Node] = {}
    for node in nodes:
        place = _place(node)
        parent, state = _parent(node, node_of, by_id, notes)
        # Where no line at all names a parent, null says nothing: the order of the file counts.
        if state == "missing" or (state == "root" and place not in linked):
            parent = before.get(place)
            if parent is not None and "parentUuid" in node.first.value:
                notes.repair("parent_missing")
        before[place] = node
        if parent is None or parent is node:
            continue
        summary = node.first.value.get("isCompactSummary") is True
        if parent.first.chain != node.first.chain or summary or state == "compacted":
            node.link = parent
        else:
            node.parent = parent


def _parent(
    node: Node, node_of: dict[int, Node], by_id: Names, notes: Notes
) -> tuple[Node | None, str]:
    """Node that this one answers: the first parent outside of the node, through other lines."""
    state = "root"
    for line in node.lines:
        name = line.value.get("parentUuid")
        if "parentUuid" not in line.value:
            return None, "missing"  # an old log without links: the order of the file counts
        state = "root"
        at, seen = line, set[str]()
        while isinstance(name, str) and name:
            if name in seen:
                notes.repair("parent_cycle")
                return None, "root"
            seen.add(name)
            up = by_id.seen_from(at, name)
            if up is None:
                state = "missing"
                break
            found = node_of.get(up.place)
            if found is not None:
                if found is not node:
                    return found, state
                break
            at, name = up, up.value.get("parentUuid")
            if name is None and up.value.get("subtype") == "compact_boundary":
                name, state = up.value.get("logicalParentUuid"), "compacted"
        else:
            return None, "root"
        if state == "missing":
            return None, "root" if seen and "compacted" in state else "missing"
    return None, state


def _cut_cycles(nodes: list[Node], notes: Notes) -> None:
    done: set[int] = set()
    for node in nodes:
        path: list[Node] = []
        on_path: set[int] = set()
        at: Node | None = node
        while at is not None and id(at) not in done:
            if id(at) in on_path:
                cycle = path[path.index(at) :]
                min(cycle, key=lambda n: n.first.place).parent = None
                notes.repair("parent_cycle")
                break
            path.append(at)
            on_path.add(id(at))
            at = at.parent
        done.update(map(id, path))


@dataclass(frozen=True, slots=True)
class Trajectories:
    """Paths from a root to a leaf, and the nodes that are on none of them."""

    paths: list[list[Node]]
    prompts: list[Node]
    """User messages that nobody answered, beside a branch that somebody did."""
    branches: list[Node]
    """Nodes of branches that were left out by the option."""
    unanswered: list[Node]
    """Nodes of conversations without any assistant."""


def trajectories(nodes: list[Node], latest_only: bool) -> Trajectories:
    """Maximal paths, by their last line; of each root all, or only the one with the latest line."""
    order = _children_first(nodes)
    for node in order:
        node.replied = node.is_reply or any(child.replied for child in node.children)
    found = Trajectories([], [], [], [])
    for root in nodes:
        if root.parent is not None:
            continue
        if not root.replied:
            found.unanswered.extend(_subtree(root))
            continue
        leaves: list[Node] = []
        stack = [root]
        while stack:
            node = stack.pop()
            children = node.children
            if len(children) > 1 and any(child.replied for child in children):
                for child in children:
                    if not child.replied:
                        found.prompts.extend(_subtree(child))
                children = [child for child in children if child.replied]
            stack.extend(children)
            if not children:
                leaves.append(node)
        leaves.sort(key=lambda node: node.first.place)
        kept = leaves[-1:] if latest_only else leaves
        paths = [_path(leaf) for leaf in kept]
        found.paths.extend(paths)
        if len(kept) < len(leaves):
            on_paths = {id(node) for path in paths for node in path}
            left = {id(n): n for leaf in leaves for n in _path(leaf) if id(n) not in on_paths}
            found.branches.extend(left.values())
    return found


def _children_first(nodes: list[Node]) -> list[Node]:
    order: list[Node] = []
    stack = [node for node in nodes if node.parent is None]
    while stack:
        node = stack.pop()
        order.append(node)
        stack.extend(node.children)
    order.reverse()
    return order


def _subtree(root: Node) -> list[Node]:
    found = []
    stack = [root]
    while stack:
        node = stack.pop()
        found.append(node)
        stack.extend(node.children)
    return found


def _path(leaf: Node) -> list[Node]:
    path = []
    at: Node | None = leaf
    while at is not None:
        path.append(at)
        at = at.parent
    path.reverse()
    return path
