"""Laws of all dialects: no text is lost, no record vanishes, broken records are refused by name."""

from __future__ import annotations

import copy
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from test_dialects import NAMES, outcome, read_one, records_of, units_of
from tracekit import dialects, jsontext
from tracekit import leaves as leaf_law
from tracekit.dialects import Dialect, Notes, Record
from tracekit.errors import BadRecord
from tracekit.leaves import as_read

RECORD_DIALECTS = [name for name in NAMES if dialects.get(name).unit == "record"]


def real_folder() -> Path:
    default = Path(__file__).parents[2] / "shared" / "traces"
    return Path(os.environ.get("TRACEKIT_TRACES", default))


needs_real_files = pytest.mark.skipif(
    not real_folder().is_dir(), reason="no folder of real traces (set TRACEKIT_TRACES)"
)


# The leaf law.


def lost_leaves(dialect: Dialect, value: Any, traces: list[dict[str, Any]]) -> list[str]:
    return leaf_law.lost_leaves(dialect.ignores, value, leaf_law.texts_of(traces))


def check_leaves(dialect: Dialect, record: Record) -> None:
    try:
        traces = dialect.read([record], Notes(), {})
    except BadRecord:
        return
    lost = lost_leaves(dialect, as_read(record.value), traces)
    assert not lost, f"{record.file}#{record.row}: {lost[:5]}"


@pytest.mark.parametrize("name", RECORD_DIALECTS)
def test_leaf_law_holds_on_the_fixtures(name: str) -> None:
    for record in records_of(name):
        check_leaves(dialects.get(name), record)


def test_the_leaf_check_sees_a_lost_text() -> None:
    dialect = dialects.get("openai")
    value = {"messages": [{"role": "assistant", "content": "a text that is surely long enough"}]}
    trace = read_one("openai", value)
    assert not lost_leaves(dialect, value, [trace])
    trace["messages"][0]["content"] = "a text that is surely long"
    assert lost_leaves(dialect, value, [trace])


# Real files: (folder, dialect) with the number of records, traces and rejects by code.

REAL = {
    ("openai-chat-sft-tools", "openai"): (145, 145, {}),
    ("openai-chat-finetune", "openai"): (3, 3, {}),
    ("openai-chat-finetune", "react"): (600, 600, {}),
    ("react-trajectory", "react"): (465, 465, {}),
    ("agentinstruct-agenttuning", "react"): (30, 30, {}),
    ("openai-chat-completions-api", "openai"): (126, 121, {"error_response": 5}),
    ("swe-gym-openai-messages", "openai"): (5, 5, {}),
    ("tau-bench", "tau_bench"): (111, 111, {}),
    ("tau2-bench", "tau2"): (2, 0, {"speech_not_written": 1, "no_simulations": 1}),
    ("xlam-apigen-query-tools-answers", "xlam"): (304, 304, {}),
    ("toolbench", "toolbench"): (112, 12, {"steps_cut": 100}),
    ("toolalpaca", "toolalpaca"): (1, 99, {}),
    ("tooltalk", "tooltalk"): (12, 12, {}),
    ("codeact-instruct", "openai"): (10, 10, {}),
    ("codeact-instruct", "codeact"): (5, 5, {}),
    ("orca-agentinstruct", "openai"): (5, 5, {}),
    ("llamafactory-v1-content-parts", "openai"): (134, 134, {}),
    ("llamafactory-v1-content-parts", "preference"): (10, 10, {}),
    ("litellm-request-response", "litellm"): (4, 4, {}),
    ("gpt-oss-request-logs", "openai"): (45, 45, {}),
    ("toucan", "openai"): (1, 1, {}),
    ("sharegpt-plain", "openai"): (256, 256, {}),
    ("sharegpt-plain", "sharegpt"): (125, 125, {}),
    ("sharegpt-llamafactory-tools", "sharegpt"): (600, 600, {}),
    ("preference-pairs", "openai"): (60, 60, {}),
    ("preference-pairs", "preference"): (40, 40, {}),
    ("anthropic-messages-api", "anthropic"): (83, 83, {}),
    ("think-tags", "prompt_response"): (443, 443, {}),
    ("model-outputs-with-defects", "prompt_response"): (1214, 1214, {}),
    ("model-outputs-with-defects", "openai"): (13, 13, {}),
    ("alpaca", "alpaca"): (604, 604, {}),
    ("alpaca", "react"): (150, 150, {}),
    ("tool-call-rl-think-xml", "toolrl"): (120, 120, {}),
    ("gsm8k", "question_answer"): (1300, 1300, {}),
    ("gsm8k", "math_samples"): (300, 1200, {}),
    ("math-solutions", "question_answer"): (850, 850, {}),
    ("math-samples-multi", "math_samples"): (22, 176, {}),
    ("tool-integrated-math", "math_samples"): (410, 410, {}),
    ("nemo-skills", "prompt_response"): (170, 170, {}),
    ("nemo-skills", "question_answer"): (10, 8, {"no_worked_answer": 2}),
    ("nemo-skills", "openai"): (5, 5, {}),
    ("nemo-skills", "no_conversation"): (10, 0, {"holds_no_conversation": 10}),
    ("prm800k", "prm800k"): (6, 6, {}),
    ("process-reward-tree", "reward_tree"): (6, 366, {}),
    ("reasoning-augmented-eval", "reasoning_augmented_eval"): (6, 6, {}),
    ("reflexion", "reflexion"): (100, 100, {}),
    ("parquet", "question_answer"): (27, 27, {}),
    ("parquet", "prompt_response"): (5, 5, {}),
    ("parquet", "verl"): (80, 80, {}),
    ("parquet", "no_conversation"): (3, 0, {"holds_no_conversation": 3}),
}


def values_of(path: Path) -> list[tuple[int, Any]]:
    if path.suffix == ".parquet":
        return list(enumerate(pq.read_table(path).to_pylist()))
    raw = path.read_bytes()
    try:
        value = jsontext.parse(raw)
    except BadRecord:
        lines = enumerate(raw.split(b"\n"))
        return [(k, jsontext.parse(line)) for k, line in lines if line.strip()]
    if isinstance(value, dict) and not dialects.recognise([value]):
        value = list(value.values())  # records by id
    return list(enumerate(value)) if isinstance(value, list) else [(0, value)]


def _holds_records(path: Path) -> bool:
    return path.suffix == ".parquet" or ".json" in path.name


def real_records(folder: str, dialect: str) -> list[Record]:
    found = []
    paths = [p for p in (real_folder() / folder).rglob("*.*") if _holds_records(p)]
    for path in sorted(paths):
        values = values_of(path)
        candidates = dialects.recognise(value for _, value in values[:100])
        assert len(candidates) <= 1, f"{path.name}: {candidates}"
        if dialects.choose(candidates) == dialect:
            found.extend(Record(path.name, row, value) for row, value in values)
    return found


@needs_real_files
@pytest.mark.parametrize(("folder", "name"), sorted(REAL))
def test_real_files_become_traces_and_lose_no_text(folder: str, name: str) -> None:
    dialect = dialects.get(name)
    records = real_records(folder, name)
    n_traces = 0
    rejects: Counter[str] = Counter()
    for record in records:
        found = outcome(dialect, [record])
        n_traces += len(found.get("traces", ()))
        rejects.update([found["reject"]] if "reject" in found else [])
        lost = lost_leaves(dialect, as_read(record.value), found.get("traces", []))
        assert "reject" in found or not lost, f"{record.file}#{record.row}: {lost[:5]}"
    assert (len(records), n_traces, dict(rejects)) == REAL[folder, name]


@needs_real_files
def test_repeated_call_ids_of_a_real_source_are_numbered_with_the_originals_kept() -> None:
    renumbered = 0
    for record in real_records("tau-bench", "tau_bench"):
        if "traj" not in record.value:
            continue  # a printed transcript, without ids
        trace = read_one("tau_bench", record.value)
        ids = [c["id"] for m in trace["messages"] for c in m.get("tool_calls", ())]
        assert len(ids) == len(set(ids))
        answered = [m["tool_call_id"] for m in trace["messages"] if m["role"] == "tool"]
        assert set(answered) <= set(ids)
        meta = json.loads(trace["meta"])
        if "original_ids" in meta:
            renumbered += 1
            assert len(meta["original_ids"]) == len(ids)
    assert renumbered == 15


# Mutated records.

VALUES = st.sampled_from(
    [
        *(None, True, 0, -1, 1.5, 2**70, "", "user", "<think>", "</think>\n", "<tool_call>{"),
        *("[", "{}", "\ud800", "\x00", [], {}, [[]], [None], ["user"], {"role": "user"}),
        *({"type": "text"}, {"name": "x", "arguments": 3}, {"type": "tool_result"}),
        *({"from": "gpt"}, [{"role": None}]),
    ]
)


def spots(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, inner in items:
        found.extend(spots(inner, (*path, key)))
    return found


@st.composite
def mutated(draw: st.DrawFn, name: str) -> list[Any]:
    """The records of a unit of a fixture, with one to three changes of structure."""
    units = units_of(dialects.get(name), records_of(name))
    unit = draw(st.integers(0, len(units) - 1))
    value: Any = [record.value for record in units[unit]]
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(spots(value)[1:] or [(0,)]))
        holder = value
        for key in path[:-1]:
            holder = holder[key]
        last = path[-1]
        change = draw(st.sampled_from(["put", "drop", "wrap", "text", "double", "nest", "move"]))
        old = holder[last]
        if change == "put":
            holder[last] = copy.deepcopy(draw(VALUES))
        elif change == "drop" and len(path) > 1:
            del holder[last]
        elif change == "wrap":
            holder[last] = [old]
        elif change == "text":
            holder[last] = json.dumps(old)
        elif change == "double" and isinstance(holder, list) and len(path) > 1:
            holder.append(json.loads(json.dumps(old)))
        elif change == "nest":
            holder[last] = {"type": "text", "text": old, "role": old}
        elif change == "move" and isinstance(holder, list):
            holder.reverse()
    return value


@pytest.mark.parametrize("name", NAMES)
def test_a_mutated_record_is_a_valid_trace_or_refused_by_a_declared_code(name: str) -> None:
    dialect = dialects.get(name)

    @settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
    @given(mutated(name))
    def check(values: list[Any]) -> None:
        records = [Record("f.jsonl", k, value) for k, value in enumerate(values)]
        for value in values:
            assert isinstance(dialect.fits(value), str)
        outcome(dialect, records)

    check()


@pytest.mark.parametrize("name", NAMES)
def test_no_json_value_breaks_a_dialect(name: str) -> None:
    dialect = dialects.get(name)
    for value in (None, True, 3, 1.5, "text", "", [], {}, [[]], [1], {"k": None}, [{"role": 1}]):
        assert not dialect.fits(value)
        outcome(dialect, [Record("f.jsonl", 0, value)])
