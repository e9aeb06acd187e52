"""Programs and tools that prompts hold as text, on real files: lifting and cutting lose nothing."""

from __future__ import annotations

import copy
import json
from pathlib import Path

from test_acceptance_tools import read_all, records
from test_dialect_laws import lost_leaves
from tracekit import dialects
from tracekit.dialects import Record


def test_programs_lifted_lose_no_text_and_what_is_no_result_stays_the_users(
    traces_folder: Path,
) -> None:
    given = records(traces_folder, "codeact-instruct", "codeactinstruct*.json")
    for record in given:
        (trace,), _ = read_all("codeact", [record], calls="lift")
        system, *turns = record.value["conversations"]
        assert not lost_leaves(dialects.get("codeact"), turns, [trace])
        cut = json.loads(trace["meta"])["format_instruction"]
        before, after = system["content"].split(cut)
        assert trace["messages"][0]["content"] == f"{before.strip()}\n\n{after.strip()}"
        n_programs = sum(t["role"] == "assistant" and "</execute>" in t["content"] for t in turns)
        assert [m["role"] for m in trace["messages"]].count("tool") == n_programs
        assert not any("</execute>" in (m.get("content") or "") for m in trace["messages"][2:])


def test_rendered_tools_are_cut_where_they_are_declared_too(traces_folder: Path) -> None:
    given = records(traces_folder, "toucan", "*.json")
    (trace,), notes = read_all("openai", given)
    assert notes.repairs["rendered_tools_cut"] == 1
    assert [m["role"] for m in trace["messages"]][:2] == ["user", "assistant"]
    assert not lost_leaves(dialects.get("openai"), given[0].value, [trace])
    bare = copy.deepcopy(given[0].value)
    del bare["available_tools"]
    (kept,), _ = read_all("openai", [Record("f", 0, bare)])
    assert kept["messages"][0]["role"] == "system"
