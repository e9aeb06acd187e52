"""The process in which a chat template of a user runs: no files, no network, limited memory.

    python jinja_sandbox.py MEMORY_BYTES < requests > replies

Jinja's immutable sandbox keeps a template from attributes of Python objects and from changing what
it gets; it bounds neither time nor memory, which is why this is a process of its own that can be
killed. Requests and replies are JSON lines. The first request is
`{"template": text, "variables": {"eos_token": ...}}`, each later one
`{"messages": [...], "tools": [...] or null, "add_generation_prompt": bool}`. A reply holds `text`
and `spans` (of generation blocks, in characters), or `refused` (the template's own words), or
`limit` (memory, depth).

Standard library and jinja2 only: it is started as a file.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


def limit_memory(n_bytes: int) -> None:
    """Bound the address space, where the system can."""
    try:
        import resource
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        n_bytes = min(n_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (n_bytes, hard))


@dataclass(slots=True)
class Written:
    """What a rendering has written so far, and the spans of its generation blocks."""

    chunks: list[str] = field(default_factory=list)
    n_chars: int = 0
    spans: list[tuple[int, int]] = field(default_factory=list)


def compiled(text: str, variables: dict[str, str], written: Written) -> Any:
    """The template; a rendering of it notes in `written` where its generation blocks stand.

    Filters and globals are those that trainers offer to chat templates.
    """
    import jinja2
    import jinja2.ext
    from jinja2 import nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(jinja2.ext.Extension):
        tags = {"generation"}  # noqa: RUF012 - what jinja2 reads

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            return nodes.CallBlock(self.call_method("_noted"), [], [], body).set_lineno(line)

        def _noted(self, caller: Callable[[], str]) -> str:
            # All that stands before the block was yielded already: templates are generators.
            block = caller()
            written.spans.append((written.n_chars, written.n_chars + len(block)))
            return block

    def raise_exception(words: str) -> None:
        raise jinja2.exceptions.TemplateError(words)

    def tojson(value: Any, indent: int | None = None, **_: Any) -> str:
        return json.dumps(value, ensure_ascii=False, indent=indent)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    # A date in a prompt would make each run another one.
    environment.globals["strftime_now"] = datetime(2025, 1, 1).strftime
    environment.globals.update(variables)
    return environment.from_string(text)


def reply(template: Any, written: Written, request: dict[str, Any]) -> dict[str, Any]:
    """The rendering of one request, with the spans of its generation blocks."""
    written.chunks, written.n_chars, written.spans = [], 0, []
    try:
        for chunk in template.generate(
            messages=request["messages"],
            tools=request["tools"],
            add_generation_prompt=request["add_generation_prompt"],
        ):
            written.chunks.append(chunk)
            written.n_chars += len(chunk)
        return {"text": "".join(written.chunks), "spans": written.spans}
    except MemoryError:
        written.chunks = []
        return {"limit": "memory"}
    except RecursionError:
        return {"limit": "depth"}
    except Exception as error:  # a template can raise whatever its filters raise
        return {"refused": f"{type(error).__name__}: {error}"[:300]}


def main() -> None:
    """Answer requests until the input ends."""
    limit_memory(int(sys.argv[1]))
    sys.setrecursionlimit(5000)
    out = sys.stdout
    template: Any = None
    written = Written()
    for line in sys.stdin:
        request = json.loads(line)
        if "template" in request:
            try:
                template = compiled(request["template"], request["variables"], written)
                answer: dict[str, Any] = {"ready": True}
            except Exception as error:
                place = getattr(error, "lineno", None)
                answer = {"invalid": f"{type(error).__name__}: {error}"[:300], "line": place}
        else:
            answer = reply(template, written, request)
        out.write(json.dumps(answer) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
