"""tracekit: raw reasoning traces in, a training mix that can be trusted out.

The public names are loaded when they are used, so that importing tracekit costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "Recipe": "recipe",
    "Report": "report",
    "Trace": "types",
    "Message": "types",
    "ToolCall": "types",
    "Tool": "types",
    "Container": "plugged",
    "Dialect": "dialects",
    "Record": "dialects",
    "draft": "drafting",
    "run": "running",
    "sniff": "sniffing",
    "ingest": "stages",
    "measure": "stages",
    "decide_stage": "stages",
    "shard": "stages",
    "verify": "verifying",
    "open": "opened",
    "stats": "views",
    "why": "views",
    "check": "views",
    "what_if": "views",
    "shingle_hash": "sketch",
}

__all__ = ["__version__", *sorted(_PUBLIC)]

if TYPE_CHECKING:
    from tracekit.dialects import Dialect, Record
    from tracekit.drafting import draft
    from tracekit.opened import open
    from tracekit.plugged import Container
    from tracekit.recipe import Recipe
    from tracekit.report import Report
    from tracekit.running import run
    from tracekit.sketch import shingle_hash
    from tracekit.sniffing import sniff
    from tracekit.stages import decide_stage, ingest, measure, shard
    from tracekit.types import Message, Tool, ToolCall, Trace
    from tracekit.verifying import verify
    from tracekit.views import check, stats, what_if, why


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'tracekit' has no attribute {name!r}")
    return getattr(import_module(f"tracekit.{_PUBLIC[name]}"), name)
