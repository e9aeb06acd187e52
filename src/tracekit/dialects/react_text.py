"""Text agents: thought and action written as one text, in the spellings of several environments.

Only whole messages of a known form are read as a step; what is written otherwise is text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tracekit import jsontext

OBSERVATION = "Observation: "
MARKUP = ("\nObservation: ", "\nThought: ")
"""Where an episode that is one text is cut."""
_THOUGHT = re.compile(r"\s*(?:Thought|THOUGHT|Think):\s*")
_ACTION = re.compile(r"^ ?(?:Action|ACTION|Act):[ \t]*", re.MULTILINE)
_ENDS = re.compile(r"^ ?(?:Action|ACTION|Act|Final Answer):", re.MULTILINE)
_ANSWERING = re.compile(r"^Action: (?:Operation|Answer)$", re.MULTILINE)
_NAMED = re.compile(r"(\w+)\[(.*)\]", re.DOTALL)
_CALLED = re.compile(r"(\w+)\((.*)\)", re.DOTALL)
_FENCED = re.compile(r"(\w+)\s*```\w*\n(.*?)\n?```", re.DOTALL)


def is_step(text: str) -> bool:
    """Is a message of an assistant a step of a text agent?

    >>> is_step("Thought: Who was it?\\nAction: search[who]"), is_step("Action: none needed.")
    (True, False)
    """
    thought = _THOUGHT.match(text)
    if thought is not None:
        return _ENDS.search(text, thought.end()) is not None
    return text.startswith("ACTION:") or _ANSWERING.search(text) is not None


def is_text_agent(turns: Any) -> bool:
    """Are at least half of the assistant's turns steps, its first one aside?

    The first one may only acknowledge the instruction.
    """
    if not isinstance(turns, list):
        return False
    n = n_steps = 0
    for turn in turns:
        if isinstance(turn, dict) and turn.get("role") in ("assistant", "gpt"):
            content = turn.get("content")
            n += 1
            n_steps += isinstance(content, str) and is_step(content)
    return n_steps > 0 and 2 * n_steps >= n - 1


def is_transcript(text: Any) -> bool:
    """Is a text a whole episode, with the observations in it?"""
    if not isinstance(text, str) or "\n" + OBSERVATION not in text:
        return False
    thought = _THOUGHT.match(text)
    return thought is not None and _ACTION.search(text, thought.end()) is not None


_NEXT = re.compile(rf"\n(?:(?P<seen>{OBSERVATION})|Thought: )")


def split_transcript(text: str) -> list[tuple[str, str]]:
    """(role, text) of each turn of an episode that is one text.

    >>> split_transcript("Thought: a\\nAction: search[b]\\nObservation: c\\nThought: d")
    [('assistant', 'Thought: a\\nAction: search[b]'), ('user', 'Observation: c'), \
('assistant', 'Thought: d')]
    """
    turns: list[tuple[str, str]] = []
    role, start = "assistant", 0
    for found in _NEXT.finditer(text):
        follows = "user" if found["seen"] else "assistant"
        if follows != role:
            turns.append((role, text[start : found.start()]))
            role, start = follows, found.start() + 1
    turns.append((role, text[start:].removesuffix("\n")))
    return turns


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what was thought, then a call (name and arguments) or an answer."""

    thought: str
    name: str | None = None
    arguments: tuple[tuple[str, str], ...] = ()
    answer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """How one environment writes its steps, and where its instruction asks for that form."""

    name: str
    begins: str
    """First words of the instruction; empty where there is none."""
    cuts: tuple[tuple[str, str], ...] = ()
    """Spans of the instruction that ask for the written form: first words, and the words behind
    (empty: to the end)."""
    tools: tuple[tuple[str, tuple[str, ...]], ...]
    """Names of the tools with their parameters."""
    seen: str = ""
    """What a result begins with; empty: any turn that follows a call is its result."""
    read: Callable[[str, str], Step | None]
    """A thought and what stands behind the action mark, to a step."""


def step_of(environment: Environment, text: str) -> Step | None:
    """The step that a text is, or None where it is anything else or more than one."""
    actions = list(_ACTION.finditer(text))
    if len(actions) > 1:
        return None
    if not actions:
        before, mark, answer = text.rpartition("Final Answer:")
        thought = _thought(before)
        if not mark or thought is None:
            return None
        return Step(thought, answer=(mark + answer).strip())
    thought = _thought(text[: actions[0].start()])
    if thought is None and environment.name != "db":
        return None
    thought = text[: actions[0].start()].strip() if thought is None else thought
    return environment.read(thought, text[actions[0].end() :].strip())


def _thought(before: str) -> str | None:
    found = _THOUGHT.match(before)
    if found is None:
        return None if before.strip() else ""
    rest = before[found.end() :].strip()
    return None if "\nThought:" in rest or "\n" + OBSERVATION in rest else rest


def _bracketed(*names: tuple[str, str]) -> Callable[[str, str], Step | None]:
    parameters = dict(names)

    def read(thought: str, action: str) -> Step | None:
        found = _NAMED.fullmatch(action)
        if found is None:
            return None
        name, argument = found.groups()
        if name == "finish" and name in parameters:
            return Step(thought, answer=argument)
        if name not in parameters:
            return None
        return Step(thought, name, ((parameters[name], argument),))

    return read


_QUERIES = (
    ("get_relations", ("variable",)),
    ("get_neighbors", ("variable", "relation")),
    ("intersection", ("variable1", "variable2")),
    ("get_attributes", ("variable",)),
    ("argmax", ("variable", "attribute")),
    ("argmin", ("variable", "attribute")),
    ("count", ("variable",)),
)


def _query(thought: str, action: str) -> Step | None:
    found = _CALLED.fullmatch(action)
    parameters = dict(_QUERIES).get(found[1]) if found is not None else None
    if found is None or parameters is None:
        return None
    given = found[2].rsplit(", ", len(parameters) - 1) if len(parameters) > 1 else [found[2]]
    if len(given) != len(parameters):
        return None
    return Step(thought, found[1], tuple(zip(parameters, given, strict=True)))


def _household(thought: str, action: str) -> Step | None:
    return Step(thought, "act", (("action", action),)) if action and "\n" not in action else None


def _shell(thought: str, action: str) -> Step | None:
    if action == "finish":
        return Step(thought, "finish")
    answer = _CALLED.fullmatch(action)
    if answer is not None and answer[1] == "answer":
        return Step(thought, answer=answer[2])
    found = _FENCED.fullmatch(action)
    if found is None or found[1] != "bash":
        return None
    return Step(thought, "bash", (("command", found[2]),))


def _database(thought: str, action: str) -> Step | None:
    head, _, rest = action.partition("\n")
    if head.strip() == "Answer" and rest.startswith("Final Answer:"):
        return Step(thought, answer=rest.removeprefix("Final Answer:").strip())
    found = _FENCED.fullmatch(action)
    if found is None or found[1] != "Operation":
        return None
    return Step(thought, "sql", (("query", found[2]),))


ENVIRONMENTS = (
    Environment(
        name="household",
        begins="Interact with a household to solve a task.",
        cuts=((" You should choose from two actions", " After your each turn"),),
        tools=(("act", ("action",)),),
        read=_household,
    ),
    Environment(
        name="shell",
        begins="You are an assistant that will act like a person",
        cuts=(
            ("For each of your turn, you should first think", "If the output is too long"),
            (" Once again, you should take only exact one", "\n\nNow, my problem is"),
        ),
        tools=(("bash", ("command",)), ("finish", ())),
        seen="The output of the OS:",
        read=_shell,
    ),
    Environment(
        name="db",
        begins="I will ask you a question, then you should help me operate a MySQL",
        cuts=(
            ("your operation should be like this", "Every time you can only execute"),
            (" I will only execute the statement in the first", " Every time you write a SQL"),
            ("If you are done operating, and you want to commit", "I expect an accurate"),
            ("If your response cannot match any pattern", "Your input will be raw"),
        ),
        tools=(("sql", ("query",)),),
        read=_database,
    ),
    Environment(
        name="knowledge",
        begins="You are an agent that answers questions based on the knowledge stored",
        tools=_QUERIES,
        seen=OBSERVATION,
        read=_query,
    ),
    Environment(
        name="shop",
        begins="You are web shopping.",
        cuts=(
            ("An action should be of the following structure", "If the action is not valid"),
            ("\nYour response should use the following format", ""),
        ),
        tools=(("search", ("keywords",)), ("click", ("value",))),
        read=_bracketed(("search", "keywords"), ("click", "value")),
    ),
    Environment(
        name="search",
        begins="",
        tools=(("search", ("query",)), ("finish", ("answer",))),
        seen=OBSERVATION,
        read=_bracketed(("search", "query"), ("finish", "answer")),
    ),
)


def environment_of(first: str) -> Environment:
    """The environment whose instruction a first message begins with; else that without one."""
    return next(e for e in ENVIRONMENTS if first.startswith(e.begins))


def without_form(environment: Environment, instruction: str) -> tuple[str, list[str]] | None:
    """An instruction without what asks for the written form, and the spans that were taken out.

    None where a span is not there: then the instruction is not the known one.
    """
    removed: list[str] = []
    for first, behind in environment.cuts:
        start = instruction.find(first)
        end = instruction.find(behind, start) if behind else len(instruction)
        if start < 0 or end < 0:
            return None
        removed.append(instruction[start:end])
        instruction = instruction[:start] + instruction[end:]
    return instruction, removed


def declared(environment: Environment, *, finish: bool) -> list[dict[str, Any]]:
    """Declarations of the tools of an environment; inferred, for the source writes none.

    `finish`: the answer is a call of that name, in every environment.
    """
    tools = dict(environment.tools)
    if finish:
        tools["finish"] = ("answer",)
    return [_declaration(name, parameters) for name, parameters in tools.items()]


def _declaration(name: str, parameters: Sequence[str]) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {parameter: {"type": "string"} for parameter in parameters},
        "required": list(parameters) if name != "finish" else [],
    }
    return {
        "name": name,
        "parameters": jsontext.dump(schema),
        "extra": jsontext.dump({"inferred": True}),
    }
