"""JSON Schemas of what is stored or written by hand: the files in `schemas/`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Schema:
    """One schema: how it is made, and its file."""

    make: Callable[[], dict[str, Any]]
    file: str
    """Name with the version of the format."""
    what: str


def _recipe() -> dict[str, Any]:
    from tracekit.recipe import Recipe

    return Recipe.json_schema()


def _trace() -> dict[str, Any]:
    from tracekit.schema import trace_door

    return trace_door().json_schema()


def _manifest() -> dict[str, Any]:
    from tracekit import manifest

    return manifest.json_schema()


def _ledger() -> dict[str, Any]:
    from tracekit.decide import LEDGER_SCHEMA

    required = ("id", "source", "code", "action")
    properties = {}
    for name, kind in LEDGER_SCHEMA.items():
        word = "integer" if kind.is_integer() else "number" if kind.is_float() else "string"
        properties[name] = {"type": word if name in required else [word, "null"]}
    return {
        "title": "Ledger row",
        "description": "What one rule said of one trace.",
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


SCHEMAS: dict[str, Schema] = {
    "recipe": Schema(_recipe, "recipe-v1.json", "a recipe file"),
    "trace": Schema(_trace, "trace-v1.json", "a canonical trace"),
    "manifest": Schema(_manifest, "manifest-v1.json", "manifest.json of a workspace"),
    "ledger": Schema(_ledger, "ledger-v1.json", "a row of the ledger"),
}


def json_schema(name: str) -> dict[str, Any]:
    """The schema called `name`, with its dialect and a versioned id."""
    schema = SCHEMAS[name]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:tracekit:{schema.file.removesuffix('.json')}",
        **schema.make(),
    }
