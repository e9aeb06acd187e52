"""Declarations in foreign spellings: JSON Schema comes out, what was written stays in the meta."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from tracekit.dialects import Notes
from tracekit.dialects.declarations import read_tools
from tracekit.dialects.declared_schemas import normalise


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"type": "dict", "properties": {}}, {"type": "object", "properties": {}}),
        ({}, {"type": "object", "properties": {}}),
        (
            {"a": {"type": "str", "required": True}, "b": {"type": "List[int]", "required": False}},
            {
                "type": "object",
                "properties": {
                    "a": {"type": "string"},
                    "b": {"type": "array", "items": {"type": "integer"}},
                },
                "required": ["a"],
            },
        ),
        (
            {
                "type": "object",
                "properties": {
                    "o": {
                        "type": "dict",
                        "required": True,
                        "properties": {"x": {"type": "any", "required": True}},
                    }
                },
            },
            {
                "type": "object",
                "properties": {"o": {"type": "object", "properties": {"x": {}}, "required": ["x"]}},
                "required": ["o"],
            },
        ),
    ],
)
def test_a_foreign_schema_becomes_json_schema_and_keeps_its_original(
    written: Any, expected: Any
) -> None:
    tools = read_tools([{"name": "t", "parameters": copy.deepcopy(written)}])
    meta: dict[str, Any] = {}
    notes = Notes()
    normalise(tools, notes, meta)
    assert tools is not None
    assert json.loads(tools[0]["parameters"]) == expected
    assert meta["parameters_as_written"] == {"t": written}
    assert notes.repairs
    again = copy.deepcopy(tools)
    normalise(again, Notes(), {})
    assert again == tools


def test_a_schema_that_is_right_stays_as_it_is() -> None:
    schema = {
        "type": "object",
        "properties": {"type": {"type": "string"}, "required": {"enum": ["a"]}},
        "required": ["type"],
    }
    tools = read_tools([{"name": "t", "parameters": schema}])
    before = copy.deepcopy(tools)
    meta: dict[str, Any] = {}
    normalise(tools, Notes(), meta)
    assert (tools, meta) == (before, {})
