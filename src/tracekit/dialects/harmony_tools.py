"""Tools as Harmony declares them, in namespaces of TypeScript types, to JSON Schema.

    namespace functions {

    // Rain of a day in millimetres.
    type rain = (_: {
    // Name of the city
    city: string,
    unit?: "mm" | "in", // default: mm
    }) => any;

    } // namespace functions

What is not understood is kept: a type that has no JSON Schema stands as text in `$typescript` of
its schema, and a whole declaration that does not parse is in `extra` of its tool.
"""

from __future__ import annotations

import re
from typing import Any

from tracekit import jsontext

_NAMESPACE = re.compile(r"^namespace (\S+) \{\n", re.MULTILINE)
_PYTHON = re.compile(r"^## python\n\n(.*?)(?=\n\n#|\Z)", re.MULTILINE | re.DOTALL)
_TYPE = re.compile(r"^type ([^\s=]+) = ", re.MULTILINE)
_TOKEN = re.compile(
    r"""\s+|(?P<comment>//[^\n]*)|(?P<text>"(?:[^"\\]|\\.)*")|(?P<arrow>=>)"""
    r"""|(?P<word>[\w$.-]+)|(?P<sign>[][{}()<>|:?,;&])"""
)
_SIMPLE = {"string", "number", "integer", "boolean", "null", "object"}
_MAX_DEPTH = 60
"""Nested types; schemas of tools are a handful deep."""


class _NoSchemaError(ValueError):
    pass


def read_tools(text: str) -> list[dict[str, Any]]:
    """Declared tools of a system or developer text; those outside of `functions` by full name."""
    tools = []
    for space in _NAMESPACE.finditer(text):
        name = space.group(1)
        end = text.find(f"\n}} // namespace {name}", space.end() - 1)
        if end < 0:
            break  # it is not closed, so neither is one that begins later
        prefix = "" if name == "functions" else f"{name}."
        tools.extend(_declared(text[space.end() : end + 1], prefix))
    python = _PYTHON.search(text)
    if python is not None:
        described = {"description": python.group(1), "parameters": None, "extra": None}
        tools.append({"name": "python", **described})
    return tools


def without_tools(text: str) -> str:
    """A developer text without its section of declared functions.

    >>> without_tools("# Instructions\\n\\nBe brief.\\n\\n# Tools\\n\\n## functions\\n\\n...")
    '# Instructions\\n\\nBe brief.'
    """
    place = 0 if text.startswith("# Tools\n") else text.find("\n# Tools\n")
    return text if place < 0 else text[:place].rstrip("\n")


def _declared(body: str, prefix: str) -> list[dict[str, Any]]:
    starts = list(_TYPE.finditer(body))
    tools = []
    before = 0
    for n, start in enumerate(starts):
        limit = starts[n + 1].start() if n + 1 < len(starts) else len(body)
        comment = _comment_above(body[before : start.start()])
        written = body[start.end() : limit]
        end = written.rfind("=> any;")
        source = written[:end] if end >= 0 else written
        before = start.end() + (end if end >= 0 else len(written))
        tool: dict[str, Any] = {
            "name": prefix + start.group(1),
            "description": comment,
            "parameters": None,
            "extra": None,
        }
        try:
            tool["parameters"] = jsontext.dump(_Reader(source).arguments())
        except _NoSchemaError:
            tool["extra"] = jsontext.dump({"typescript": source.strip()})
        tools.append(tool)
    return tools


def _comment_above(text: str) -> str | None:
    lines = []
    for line in reversed(text.rstrip().split("\n")):
        if not line.startswith("//"):
            break
        lines.append(line[2:].removeprefix(" "))
    return "\n".join(reversed(lines)) or None


class _Reader:
    """Reads types by recursive descent."""

    def __init__(self, source: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        place = 0
        while place < len(source):
            match = _TOKEN.match(source, place)
            if match is None:
                raise _NoSchemaError
            place = match.end()
            if match.lastgroup is not None:
                self.tokens.append((match.lastgroup, match.group()))
        self.at = 0
        self.depth = 0

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("", "")

    def take(self, sign: str | None = None) -> str:
        kind, token = self.peek()
        if not kind or (sign is not None and token != sign):
            raise _NoSchemaError
        self.at += 1
        return token

    def comments(self) -> list[str]:
        found = []
        while self.peek()[0] == "comment":
            found.append(self.take()[2:].removeprefix(" "))
        return found

    def arguments(self) -> dict[str, Any]:
        """`()` or `(_: {...})`."""
        self.take("(")
        if self.peek()[1] == ")":
            return {"type": "object", "properties": {}}
        self.take("_")
        self.take(":")
        schema = self.type()
        self.take(")")
        return schema

    def type(self) -> dict[str, Any]:
        """A union of types, with the comments behind its members."""
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise _NoSchemaError
        members: list[dict[str, Any]] = []
        above = self.comments()
        if self.peek()[1] == "|":
            self.take("|")
        while True:
            member = self.member()
            if self.peek()[0] == "comment":
                member = _annotated(member, self.comments())
            members.append(member)
            if self.peek()[1] != "|":
                break
            self.take("|")
        self.depth -= 1
        return _annotated(_union(members), above)

    def member(self) -> dict[str, Any]:
        kind, token = self.peek()
        if token == "{":
            schema = self.object()
        elif token == "(":
            self.take("(")
            schema = self.type()
            self.take(")")
        elif kind == "text":
            value = jsontext.parse(self.take().encode("utf-8", "replace"))
            schema = {"type": "string", "enum": [value]}
        elif token == "Array":
            self.take()
            self.take("<")
            schema = {"type": "array", "items": self.type()}
            self.take(">")
        elif kind == "word":
            self.take()
            if token == "any":
                schema = {}
            elif token in _SIMPLE:
                schema = {"type": token}
            else:
                schema = {"$typescript": token}
        else:
            raise _NoSchemaError
        while self.peek()[1] == "[":
            self.take("[")
            self.take("]")
            schema = {"type": "array", "items": schema}
        return schema

    def object(self) -> dict[str, Any]:
        self.take("{")
        properties: dict[str, Any] = {}
        required: list[str] = []
        while True:
            above = self.comments()
            kind, token = self.peek()
            if token == "}":
                self.take("}")
                break
            if kind not in ("word", "text"):
                raise _NoSchemaError
            name = self.take().strip('"')
            if self.peek()[1] == "?":
                self.take("?")
            else:
                required.append(name)
            self.take(":")
            schema = self.type()
            if self.peek()[1] in (",", ";"):
                self.take()
            behind = self.comments_on_line()
            if above:
                schema = {**schema, "description": "\n".join(above)}
            properties[name] = _annotated(schema, behind)
        schema = {"type": "object", "properties": properties}
        if required:
            schema["required"] = required
        return schema

    def comments_on_line(self) -> list[str]:
        """A comment behind a property is its own; one that follows it belongs to the next."""
        kind, token = self.peek()
        if kind == "comment" and token.startswith("// default: "):
            self.at += 1
            return [token[3:]]
        return []


def _annotated(schema: dict[str, Any], comments: list[str]) -> dict[str, Any]:
    for comment in comments:
        if comment.startswith("default: ") and "default" not in schema:
            written = comment[len("default: ") :]
            spelled = jsontext.compact(written)
            plain = schema.get("type") == "string" and not written.startswith('"')
            value = written if spelled is None or plain else jsontext.parse(spelled.encode())
            schema = {**schema, "default": value}
        else:
            held = schema.get("description")
            schema = {**schema, "description": f"{held}\n{comment}" if held else comment}
    return schema


def _union(members: list[dict[str, Any]]) -> dict[str, Any]:
    if len(members) == 1:
        return members[0]
    if all(member.keys() == {"type", "enum"} for member in members):
        return {"type": "string", "enum": [value for m in members for value in m["enum"]]}
    if all(member.keys() == {"type"} for member in members):
        return {"type": [member["type"] for member in members]}
    return {"anyOf": members}
