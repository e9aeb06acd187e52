"""Laws of all dialects: no text is lost, no record vanishes, broken records are refused by name."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from test_dialects import NAMES, outcome, read_one, records_of, units_of
from tracekit import dialects, jsontext
from tracekit.dialects import Dialect, Notes, Record, thinking, toolcall_text
from tracekit.dialects.streams import anthropic_reply, openai_reply
from tracekit.errors import BadRecord

RECORD_DIALECTS = [name for name in NAMES if dialects.get(name).unit == "record"]


def real_folder() -> Path:
    default = Path(__file__).parents[2] / "shared" / "traces"
    return Path(os.environ.get("TRACEKIT_TRACES", default))


needs_real_files = pytest.mark.skipif(
    not real_folder().is_dir(), reason="no folder of real traces (set TRACEKIT_TRACES)"
)


# The leaf law.

MARKUP = re.compile(
    "|".join(map(re.escape, thinking.MARKUP + toolcall_text.MARKUP))
    + r"|</?(?:function|parameter)[^>]*>"
)
MIN_LEAF_CHARS = 20


def leaves(value: Any, path: str = "") -> Any:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, v in value.items():
            yield from leaves(v, f"{path}.{key}")
    elif isinstance(value, list):
        for v in value:
            yield from leaves(v, f"{path}[]")


def texts_of(traces: list[dict[str, Any]]) -> str:
    """All text of traces, also what stands inside of JSON text."""
    found: list[str] = []
    for trace in traces:
        for _, text in leaves({key: v for key, v in trace.items() if key != "rows"}):
            found.append(text)
            if text[:1] in "{[":
                try:
                    found.extend(inner for _, inner in leaves(json.loads(text)))
                except ValueError:
                    continue
    return "\0".join(found)


def cut_calls(text: str) -> Any:
    """(call, text without it) for each JSON object that begins a `<tool_call>` block."""
    place = 0
    while (found := re.compile(r"<tool_call>\s*(?=\{)").search(text, place)) is not None:
        try:
            call, end = json.JSONDecoder(strict=False).raw_decode(text, found.end())
        except ValueError:
            return
        text = text[: found.start()] + "<tool_call>" + text[end:]
        place = found.start() + 1
        yield call, text


def ignored(dialect: Dialect, path: str) -> bool:
    for pattern in dialect.ignores:
        start = ".*" if pattern.startswith("*") else r"\."
        if re.fullmatch(start + re.escape(pattern.removeprefix("*")) + r"([.\[].*)?", path):
            return True
    return False


def lost_leaves(dialect: Dialect, value: Any, traces: list[dict[str, Any]]) -> list[str]:
    texts = texts_of(traces)
    lost: list[str] = []

    def look(path: str, text: str, depth: int) -> None:
        if len(text) < MIN_LEAF_CHARS or text in texts or ignored(dialect, path):
            return
        if f"sha256:{hashlib.sha256(text.encode()).hexdigest()}" in texts:
            return
        for call, rest in cut_calls(text):
            text = rest
            for inner_path, leaf in leaves(call):
                look(path + inner_path, leaf, depth + 1)
        for piece in map(str.strip, MARKUP.split(text)):
            if len(piece) < MIN_LEAF_CHARS or piece in texts:
                continue
            inner: Any = None
            if piece[0] in '{["' and depth < 4:
                try:
                    inner = json.JSONDecoder(strict=False).raw_decode(piece)[0]
                except ValueError:
                    inner = None
            if inner is None:
                lost.append(f"{path}: {len(piece)} characters")
            else:
                for inner_path, leaf in leaves(inner):
                    look(path + inner_path, leaf, depth + 1)

    for path, text in leaves(value):
        look(path, text, 0)
    return lost


def joined_or_none(value: Any) -> Any:
    try:
        return joined(value)
    except BadRecord:
        return None


def joined(value: Any) -> Any:
    """A recorded exchange whose stream is put together, as the dialects do it."""
    if isinstance(value, dict) and isinstance(value.get("response"), str) and "request" in value:
        text = value["response"]
        reply = anthropic_reply if text.startswith("event:") else openai_reply
        return {**value, "response": reply(text)}
    return value


def check_leaves(dialect: Dialect, record: Record) -> None:
    try:
        traces = dialect.read([record], Notes(), {})
    except BadRecord:
        return
    lost = lost_leaves(dialect, joined(record.value), traces)
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
    ("openai-chat-finetune", "openai"): (603, 603, {}),
    ("openai-chat-completions-api", "openai"): (126, 121, {"error_response": 5}),
    ("swe-gym-openai-messages", "openai"): (5, 5, {}),
    ("tau-bench", "openai"): (61, 61, {}),
    ("llamafactory-v1-content-parts", "openai"): (144, 144, {}),
    ("gpt-oss-request-logs", "openai"): (45, 45, {}),
    ("toucan", "openai"): (1, 1, {}),
    ("sharegpt-plain", "openai"): (256, 256, {}),
    ("sharegpt-plain", "sharegpt"): (125, 125, {}),
    ("sharegpt-llamafactory-tools", "sharegpt"): (600, 600, {}),
    ("preference-pairs", "openai"): (60, 60, {}),
    ("preference-pairs", "sharegpt"): (40, 40, {}),
    ("anthropic-messages-api", "anthropic"): (83, 83, {}),
    ("think-tags", "prompt_response"): (443, 443, {}),
    ("model-outputs-with-defects", "prompt_response"): (1214, 1214, {}),
    ("model-outputs-with-defects", "openai"): (13, 13, {}),
    ("alpaca", "alpaca"): (754, 754, {}),
    ("tool-call-rl-think-xml", "alpaca"): (120, 120, {}),
    ("gsm8k", "question_answer"): (1300, 1300, {}),
    ("math-solutions", "question_answer"): (850, 850, {}),
}


def values_of(path: Path) -> list[tuple[int, Any]]:
    raw = path.read_bytes()
    try:
        value = jsontext.parse(raw)
    except BadRecord:
        lines = enumerate(raw.split(b"\n"))
        return [(k, jsontext.parse(line)) for k, line in lines if line.strip()]
    return list(enumerate(value)) if isinstance(value, list) else [(0, value)]


def real_records(folder: str, dialect: str) -> list[Record]:
    found = []
    for path in sorted((real_folder() / folder).rglob("*.json*")):
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
        lost = lost_leaves(dialect, joined_or_none(record.value), found.get("traces", []))
        assert "reject" in found or not lost, f"{record.file}#{record.row}: {lost[:5]}"
    assert (len(records), n_traces, dict(rejects)) == REAL[folder, name]


@needs_real_files
def test_repeated_call_ids_of_a_real_source_are_numbered_with_the_originals_kept() -> None:
    renumbered = 0
    for record in real_records("tau-bench", "openai"):
        trace = read_one("openai", record.value)
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
