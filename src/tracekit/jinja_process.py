"""A process that runs one chat template of a user, with limits of time and memory.

Killed and started again where a rendering passes a limit: one trace must not cost the others.
"""

from __future__ import annotations

import importlib.util
import json
import queue
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracekit import jinja_sandbox
from tracekit.errors import InputError
from tracekit.pieces import RenderError

MAX_SECONDS = 30.0
"""For one sample. The official templates take 2 ms for a thousand messages."""
MAX_BYTES = 2 << 30
"""Address space of the process: 30 MiB are its own, the rest is room for one sample."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a template wrote."""

    text: str
    spans: list[tuple[int, int]]
    """Generation blocks, in characters."""


def _end(process: subprocess.Popen[str]) -> None:
    """Kill it and close what leads to it."""
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError):
                stream.close()


class Sandbox:
    """One template, running. Not shared between threads or pickled: each worker has its own."""

    def __init__(self, template: str, variables: Mapping[str, str], name: str) -> None:
        """Start it. InputError: jinja2 is not installed, or the text is no template."""
        if importlib.util.find_spec("jinja2") is None:
            raise InputError(
                "a chat template of your own needs jinja2, which is not installed",
                where=name,
                expected="the extra `templates`",
                fix="pip install 'tracekit-curation[templates]'",
            )
        self._template = {"template": template, "variables": dict(variables)}
        self._name = name
        self._process: subprocess.Popen[str] | None = None
        self._start()

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            _end(self._process)

    def _start(self) -> None:
        self._process = subprocess.Popen(
            # -P: the modules beside the file must not stand before those of the library.
            [sys.executable, "-P", str(Path(jinja_sandbox.__file__)), str(MAX_BYTES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )
        self._lines: queue.Queue[str] = queue.Queue()
        listener = threading.Thread(
            target=self._listen, args=(self._process, self._lines), daemon=True
        )
        listener.start()
        weakref.finalize(self, _end, self._process)
        answer = self._ask(self._template)
        if answer is None or "invalid" in answer:
            self.close()
            detail = "it did not compile in time" if answer is None else answer["invalid"]
            line = answer.get("line") if answer else None
            raise InputError(
                f"the chat template is no valid Jinja: {detail}",
                where=self._name if line is None else f"{self._name}:{line}",
                expected="a Jinja template as tokenizers carry it",
                fix="correct it at that line",
            )

    @staticmethod
    def _listen(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
        assert process.stdout is not None
        with suppress(ValueError):  # closed while it was read
            for line in process.stdout:
                lines.put(line)
        lines.put("")  # it ended

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any] | None:
        """The reply, or None where none came in time or the process died."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = self._lines.get(timeout=MAX_SECONDS)
        except (queue.Empty, OSError, ValueError):
            line = ""
        if not line:
            _end(process)
            return None
        answer: dict[str, Any] = json.loads(line)
        return answer

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None,
        *,
        add_generation_prompt: bool = False,
    ) -> Rendered:
        """What the template writes. RenderError: it refuses, or passes a limit."""
        answer = self._ask(
            {
                "messages": list(messages),
                "tools": None if tools is None else list(tools),
                "add_generation_prompt": add_generation_prompt,
            }
        )
        if answer is None:
            self._start()
            raise RenderError(
                "template_limit", f"no text after {MAX_SECONDS:g} seconds, or it died"
            )
        if "limit" in answer:
            raise RenderError("template_limit", f"the template ran out of {answer['limit']}")
        if "refused" in answer:
            raise RenderError("template_refused", answer["refused"])
        return Rendered(answer["text"], [(start, end) for start, end in answer["spans"]])
