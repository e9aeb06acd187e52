"""Dialect `toolbench`: answers of ToolBench, a search tree over thoughts and calls.

{"win": true, "tree": {"size": 4, "tree": {"node_type": "Action Input", "description": "",
  "children": [{"node_type": "Action", "description": "rain", "children": [
    {"node_type": "Action Input", "description": "{}", "observation": "{\\"error\\": \\"\\", ...}",
     "observation_code": 0, "pruned": false, "expand_num": 1, "children": []}]}]}},
 "answer_generation": {"query": "...", "function": [...], "finish_type": "give_answer",
  "final_answer": "...", "train_messages": [[...], ...]}}

Also the nested answers of ToolEval: `query`, `available_tools`, `answer.answer_details`.

Decided here: (1) The path is read from the tree, from the root to the leaf that gave the final
answer; `train_messages` (growing copies, with user turns that the search planted) serves only for
the first system and user text and, where the run gave up, to tell which leaf was exported.
(2) A node that is not the first child was generated after a planted "this is not the first time"
turn. The turn is dropped and counted; the text that answers it is no target, its call is. (3) A
thought is the content beside the call, as the model wrote it, not reasoning. (4) `Finish` stays a
call, with no result; `finish: to_content` makes its final answer the reply. (5) `win` says that
`Finish` was called with an answer, no more: outcome `claimed`. (6) Other leaves are no traces;
`branches: all` gives them, with the outcome false.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import conversation, declarations, declared_schemas, record_keys
from tracekit.dialects import tooleval as nested
from tracekit.dialects.dialect import Dialect, Notes, Option, Record
from tracekit.dialects.tooleval import observed_error
from tracekit.errors import BadRecord

CODES = (
    Code(
        name="no_tree",
        kind="reject",
        what="The record holds no search tree, or its tree has no step.",
    ),
    Code(
        name="planted_turn_dropped",
        kind="repair",
        what="The search planted a user turn that lists failed tries; it is no part of the trace, "
        "and the text of the reply to it is no target.",
        why="A model would learn to answer a remark that no user makes.",
    ),
    Code(
        name="finish_to_content",
        kind="repair",
        what="The final answer of a `Finish` call became the text of the reply.",
        fix="Option `finish: call` keeps the call.",
    ),
)
FINISH = Option(
    name="finish",
    choices=("call", "to_content"),
    what="The closing `Finish` call: kept as a call, or its final answer as the reply.",
)
BRANCHES = Option(
    name="branches",
    choices=("best", "all"),
    what="The path of the final answer, or every path of the search tree.",
)
IGNORES = {
    "answer_generation.train_messages": "copies of the path, and planted turns",
    "compare_candidates": "copies of nodes of the tree",
    "tree": "nodes off the path of the answer; option `branches: all` gives them",
}

Node = dict[str, Any]
_FINAL, _GAVE_UP = 3, 4
"""`observation_code` of a final answer and of giving up; 0 is a result without an error."""
_MAX_DEPTH = 150


def fits(value: Any) -> str:
    """Evidence that a record is a search tree with its answer, or a nested answer.

    >>> fits({"win": True, "tree": {"tree": {}}, "answer_generation": {}})
    'tree and answer_generation'
    """
    if not isinstance(value, dict):
        return ""
    tree = value.get("tree")
    if isinstance(tree, dict) and isinstance(tree.get("tree"), dict):
        found = isinstance(value.get("answer_generation"), dict)
        return "tree and answer_generation" if found else ""
    return nested.fits(value)


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The trace of the exported path, or one for each leaf."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    if "answer_generation" not in value and "answer" in value:
        return [nested.read(value, notes, options, finish_to_content)]
    tree = value.get("tree")
    root = tree.get("tree") if isinstance(tree, dict) else None
    about = value.get("answer_generation")
    if not isinstance(root, dict) or not isinstance(about, dict):
        raise BadRecord("no_tree", "tree or answer_generation is missing")
    leaves = _paths(root)
    if not leaves:
        raise BadRecord("no_tree", "the tree has no step")
    n_nodes = len({id(node) for path in leaves for node, _ in path})
    n_pruned = len({id(n) for path in leaves for n, _ in path if n.get("pruned") is True})
    exported = _exported(leaves, about)
    chosen = leaves if options.get("branches") == "all" else [leaves[exported]]
    traces = []
    for path in chosen:
        meta = {"n_nodes": n_nodes, "n_pruned_nodes": n_pruned}
        best = path is leaves[exported]
        traces.append(_trace(value, about, path, best, meta, notes, options))
    return traces


# Paths: the nodes from below the root to a leaf, each with its place among the children.

Path = list[tuple[Node, int]]


def _paths(root: Node) -> list[Path]:
    """Paths to all leaves in the order of the search."""
    found: list[Path] = []
    path: Path = []

    def walk(node: Node) -> None:
        if len(path) > _MAX_DEPTH:
            raise BadRecord("no_tree", f"more than {_MAX_DEPTH} steps deep")
        children = node.get("children") or []
        if not isinstance(children, list):
            raise BadRecord("no_tree", "children are no list")
        if not children and path:
            found.append(list(path))
        for k, child in enumerate(children):
            if not isinstance(child, dict):
                raise BadRecord("no_tree", "a node is no object")
            path.append((child, k))
            walk(child)
            path.pop()

    walk(root)
    return found


def _exported(leaves: list[Path], about: dict[str, Any]) -> int:
    """Number of the path that the source exported as its answer."""
    for k, path in enumerate(leaves):
        if path[-1][0].get("observation_code") == _FINAL:
            return k
    runs = about.get("train_messages")
    wanted = _train_steps(runs[-1]) if isinstance(runs, list) and runs else []
    scores = [_n_equal(_steps_of(path), wanted) for path in leaves]
    return max(range(len(leaves)), key=lambda k: (scores[k], -k))


def _train_steps(messages: Any) -> list[Any]:
    steps = []
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict) and message.get("role") == "assistant":
            call = message.get("function_call")
            if isinstance(message.get("content"), str):
                steps.append(message["content"])
            if isinstance(call, dict):
                steps.extend((call.get("name"), call.get("arguments")))
    return steps


def _steps_of(path: Path) -> list[Any]:
    return [node.get("description") for node, _ in path]


def _n_equal(first: list[Any], second: list[Any]) -> int:
    n = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        n += 1
    return n


# One path as a trace.


def _trace(
    value: dict[str, Any],
    about: dict[str, Any],
    path: Path,
    best: bool,
    meta: dict[str, Any],
    notes: Notes,
    options: Mapping[str, str],
) -> dict[str, Any]:
    tools = declarations.read_tools(about.get("function"))
    messages = _opening(about)
    messages.extend(_messages(path, meta, notes))
    _describe(value, about, meta, notes)
    if options.get("finish") == "to_content":
        tools = finish_to_content(messages, tools, meta, notes)
    declared_schemas.normalise(tools, notes, meta)
    conversation.finish(messages, notes, meta)
    fields: dict[str, Any] = {}
    if isinstance(value.get("win"), bool):
        won = value["win"] and best
        fields["outcomes"] = [{"value": jsontext.dump(won), "kind": "claimed", "name": "win"}]
    query = about.get("query")
    if isinstance(query, str) and query:
        fields["task_key"] = nested.task_key(query)
    if not best:
        meta["path"] = "other leaf"
    return record_keys.trace(messages, tools, fields, meta, notes)


_ABOUT_USED = frozenset(("function", "train_messages"))
_USED = frozenset(("win", "tree", "answer_generation", "compare_candidates"))


def _describe(
    value: dict[str, Any], about: dict[str, Any], meta: dict[str, Any], notes: Notes
) -> None:
    meta |= {k: v for k, v in about.items() if k not in _ABOUT_USED and v not in (None, [])}
    for key, v in value.items():
        if key not in _USED and v is not None:
            notes.unknown(key)
            meta[key] = v


def _opening(about: dict[str, Any]) -> list[dict[str, Any]]:
    """System and user text, which stand before every path; else the bare query."""
    runs = about.get("train_messages")
    first = runs[0] if isinstance(runs, list) and runs else None
    opening = []
    for message in first if isinstance(first, list) else ():
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ("system", "user") or message.get("valid") is False:
            break
        text = message.get("content")
        if text is not None and not isinstance(text, str):
            raise BadRecord("content_not_text", f"a {role} message is {type(text).__name__}")
        opening.append({"role": role, "content": text or None})
    query = about.get("query")
    if not any(m["role"] == "user" for m in opening) and isinstance(query, str) and query:
        opening.append({"role": "user", "content": query})
    return opening


def _messages(path: Path, meta: dict[str, Any], notes: Notes) -> list[dict[str, Any]]:
    """Messages of a path. A thought and the call after it are one reply, unless the search asked
    the model again in between (`expand_num` of the thought counts that)."""
    messages: list[dict[str, Any]] = []
    thought: Node | None = None
    name = ""
    for node, place in path:
        kind, text = node.get("node_type"), node.get("description")
        if text is not None and not isinstance(text, str):
            raise BadRecord("content_not_text", f"a node has {type(text).__name__}")
        planted = place > 0
        if kind == "Thought":
            message: dict[str, Any] = {"role": "assistant", "content": text or None}
            messages.append(message)
            thought = node
        elif kind == "Action":
            name = text or ""
            message = messages[-1] if thought is not None and not thought.get("expand_num") else {}
            if not message:
                message = {"role": "assistant"}
                messages.append(message)
            thought = None
        elif kind == "Action Input":
            if not name or not messages or messages[-1]["role"] != "assistant":
                raise BadRecord("bad_tool_call", "an input without an action")
            arguments = conversation.arguments_text(text or "{}", notes)
            messages[-1]["tool_calls"] = [{"id": "", "name": name, "arguments": arguments}]
            _observe(node, name, messages, meta)
            name = ""
            continue
        else:
            raise BadRecord("unknown_role", f"a node of type {kind!r:.60}")
        if planted:
            notes.repair("planted_turn_dropped")
            message["train"] = {"reasoning": True, "content": False, "calls": None}
    if name:  # the path ends on a name that got no input
        conversation.add_meta(messages[-1], "action", name)
    return messages


def _observe(node: Node, name: str, messages: list[dict[str, Any]], meta: dict[str, Any]) -> None:
    text, code = node.get("observation"), node.get("observation_code")
    if text is None:
        return
    if not isinstance(text, str):
        text = jsontext.dump(text)
    if name == "Finish" and not node.get("children"):
        meta["finish_observation"] = text
        return
    result: dict[str, Any] = {"role": "tool", "name": name, "content": text or None}
    known = isinstance(code, int) and not isinstance(code, bool)
    failed = observed_error(text)  # a harness gives code 0 to failures of its own, too
    result["error"] = bool(failed) or code not in (0, _FINAL, _GAVE_UP) if known else failed
    if known and code:
        result["meta"] = {"observation_code": code}
    messages.append(result)


def finish_to_content(
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None,
    meta: dict[str, Any],
    notes: Notes,
) -> list[dict[str, Any]] | None:
    """Makes the answer of a closing `Finish` call the reply; gives the tools without `Finish`."""
    last = messages[-1] if messages else {}
    calls = last.get("tool_calls") or [{"name": None}]
    if calls[-1]["name"] != "Finish":
        return tools
    given = nested.finished(calls[-1]["arguments"])
    answer = given.get("final_answer")
    if not isinstance(answer, str) or not answer:
        return tools
    meta["finish"] = calls[-1]["arguments"]
    del last["tool_calls"]
    last["content"] = "\n\n".join(piece for piece in (last.get("content"), answer) if piece)
    last.pop("train", None)
    notes.repair("finish_to_content")
    return None if tools is None else [tool for tool in tools if tool["name"] != "Finish"]


dialect = Dialect(
    name="toolbench",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=(
        *conversation.CODES,
        *declarations.CODES,
        *declared_schemas.CODES,
        *record_keys.CODES,
        *nested.CODES,
        *CODES,
    ),
    ignores=IGNORES,
    options=(FINISH, BRANCHES),
)
