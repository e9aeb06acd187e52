"""Acceptance on real files: recorded exchanges of four interfaces, and Harmony text.

Texts of the real files are known here as number of code points and first digits of a SHA-256.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from test_dialects import check_conservation, check_door
from tracekit import dialects, leaves
from tracekit.dialects import Notes, Record
from tracekit.errors import BadRecord

Print = tuple[int, str] | None


def print_of(text: str | None) -> Print:
    if text is None:
        return None
    return len(text), hashlib.sha256(text.encode()).hexdigest()[:12]


def records_of(path: Path) -> list[Record]:
    text = path.read_bytes().decode()
    if path.suffix in (".txt", ".md"):
        return [Record(path.name, 0, text)]
    lines = enumerate(text.split("\n"))
    return [Record(path.name, k, json.loads(line)) for k, line in lines if line.strip()]


def real(traces_folder: Path, *names: str) -> Path:
    path = traces_folder.joinpath(*names)
    if not path.exists():
        pytest.skip(f"no {'/'.join(names)}")
    return path


def said(trace: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Each message: role, reasoning with its kind, content, calls by name and arguments."""
    return [
        (
            message["role"],
            print_of(message.get("reasoning")),
            message.get("reasoning_kind"),
            print_of(message.get("content")),
            [(c["name"], print_of(c["arguments"])) for c in message.get("tool_calls", ())],
        )
        for message in trace["messages"]
    ]


# Harmony: reasoning threaded back from prompts that leave it out.


@pytest.fixture
def trial(traces_folder: Path) -> dict[str, Any]:
    name = "n25_cities3_cotfalse_trial0.md"
    path = real(traces_folder, "harmony", "gpt-oss-20b-trials", name)
    (trace,) = dialects.get("harmony").read(records_of(path), Notes(), {})
    return trace


def test_each_turn_of_a_harmony_report_has_the_reasoning_of_its_own_block(
    trial: dict[str, Any],
) -> None:
    weather = "get_weather"
    assert said(trial) == [
        ("system", None, None, (289, "30d64e1288ae"), []),
        ("user", None, None, (97, "0704f0f33d35"), []),
        ("assistant", (131, "072cf88410b5"), "full", None, [(weather, (24, "fbde83735265"))]),
        ("tool", None, None, (20, "17a0da134e34"), []),
        ("assistant", (175, "bb244ccc654d"), "full", None, [(weather, (17, "c2b8ee7a7d7f"))]),
        ("tool", None, None, (13, "851a6f33d52c"), []),
        ("assistant", (150, "5790ab66b87e"), "full", None, [(weather, (18, "bdfa13a411c8"))]),
        ("tool", None, None, (14, "ecd6293c57f2"), []),
        ("assistant", (332, "6530eefbd8b2"), "full", (224, "3bf68b9eb393"), []),
    ]


def test_a_harmony_report_gives_tools_verdict_and_what_was_odd(trial: dict[str, Any]) -> None:
    (tool,) = trial["tools"]
    assert tool["name"] == "get_weather"
    assert json.loads(tool["parameters"]) == {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "City"}},
        "required": ["city"],
    }
    assert trial["outcomes"] == [{"value": "1", "kind": "environment", "name": "pass"}]
    meta = json.loads(trial["meta"])
    assert meta["history_thinking"] == "stripped"
    assert meta["repairs"] == {"recipient_before_channel": 3, "constrain_missing": 3}
    assert (meta["score"]["total calls"], meta["score"]["unnecessary calls"]) == (3, 0)
    assert trial["messages"][-1]["finish_reason"] == "return"


def test_broken_headers_of_harmony_are_no_target_and_the_call_behind_them_is(
    traces_folder: Path,
) -> None:
    name = "n25_cities10_cotfalse_trial1.md"
    path = real(traces_folder, "harmony", "gpt-oss-20b-trials", name)
    (trace,) = dialects.get("harmony").read(records_of(path), Notes(), {})
    messages = trace["messages"]
    broken = [k for k, m in enumerate(messages) if m.get("train", {}).get("content") is False]
    assert len(broken) == 2
    assert all(messages[k + 1]["tool_calls"] for k in broken)
    assert all("train" not in messages[k + 1] for k in broken)
    assert sum(len(m.get("tool_calls", ())) for m in messages) == 25


# Responses: joined by history, by conversation, by response; cut at compactions.


@pytest.fixture(scope="module")
def responses(traces_folder: Path) -> list[dict[str, Any]]:
    path = real(traces_folder, "openai-responses-api", "recorded_exchanges.jsonl")
    return dialects.get("openai_responses").read(records_of(path), Notes(), {})


def of_rows(traces: list[dict[str, Any]], *rows: int) -> dict[str, Any]:
    """The one trace that was made from these rows."""
    (trace,) = [t for t in traces if [row for _, row in t["rows"]] == list(rows)]
    return trace


def test_a_response_and_the_request_that_replays_it_are_one_trace(
    responses: list[dict[str, Any]],
) -> None:
    trace = of_rows(responses, 57, 58)
    plan = [("update_plan", (488, "52bbbee353c0"))]
    assert said(trace) == [
        ("system", None, None, (154, "dd867c61e2d0"), []),
        ("user", None, None, (261, "eb022752a316"), []),
        ("assistant", (2919, "3f24d47f04c2"), "summary", None, plan),
        ("tool", None, None, (12, "d9a4bc88b39d"), []),
        ("assistant", None, None, (499, "f16e62dfe3ad"), []),
    ]
    assert trace["messages"][2]["train"]["reasoning"] is False
    assert trace["messages"][3]["tool_call_id"] == trace["messages"][2]["tool_calls"][0]["id"]
    (tool,) = trace["tools"]
    assert (tool["name"], tool["description"]) == ("update_plan", None)
    assert json.loads(tool["parameters"])["required"] == ["plan"]
    assert trace["model"].startswith("gpt-5")
    assert json.loads(trace["meta"])["request"]["reasoning"]["effort"] == "low"
    last = trace["messages"][-1]
    assert last["finish_reason"] == "completed"
    assert json.loads(last["meta"])["usage"]["output_tokens_details"]["reasoning_tokens"] == 0


def test_four_exchanges_end_on_five_parallel_calls_with_all_reasoning_withheld(
    responses: list[dict[str, Any]],
) -> None:
    messages = of_rows(responses, 60, 61, 62, 63)["messages"]
    assistants = [m for m in messages if m["role"] == "assistant"]
    assert [len(m["tool_calls"]) for m in assistants] == [1, 1, 1, 5]
    assert {m["reasoning_kind"] for m in assistants} == {"withheld"}
    assert all("reasoning" not in m for m in assistants)
    assert messages[-1]["role"] == "assistant"


def test_exchanges_of_one_conversation_and_of_one_chain_are_joined(
    responses: list[dict[str, Any]],
) -> None:
    trace = of_rows(responses, 103, 104)
    assert [m["role"] for m in trace["messages"]] == [
        *("system", "user", "assistant", "tool", "assistant")
    ]
    assert trace["session_id"].startswith("conv_")
    chain = of_rows(responses, 108, 109, 110, 111)
    assert [m["role"] for m in chain["messages"]] == [
        *("user", "assistant", "user", "assistant", "tool", "assistant", "tool", "assistant")
    ]


def test_run_code_is_a_call_with_its_result_and_an_empty_item_merges_away(
    responses: list[dict[str, Any]],
) -> None:
    messages = of_rows(responses, 53, 54)["messages"]
    assert messages[1]["tool_calls"][0]["name"] == "code_interpreter"
    assert list(json.loads(messages[1]["tool_calls"][0]["arguments"])) == ["code"]
    assert (messages[2]["role"], print_of(messages[2]["content"])) == (
        "tool",
        (16, "35132cb5c11e"),
    )
    retried = of_rows(responses, 131, 132)["messages"]
    assert [m["role"] for m in retried] == ["user", "assistant", "tool", "tool", "assistant"]
    assert len(retried[1]["tool_calls"]) == 2


def test_a_compaction_cuts_a_conversation_in_two(responses: list[dict[str, Any]]) -> None:
    before, after = of_rows(responses, 112, 113, 114), of_rows(responses, 16)
    assert [m["role"] for m in before["messages"]].count("assistant") == 2
    assert "continues" not in json.loads(before["meta"])
    assert json.loads(after["meta"])["continues"].startswith("resp_")
    assert of_rows(responses, 17, 18, 19, 20) is not of_rows(responses, 20)


# Anthropic: tools of the provider inside of one message.


def test_one_reply_with_server_tools_is_four_assistant_messages(traces_folder: Path) -> None:
    path = real(traces_folder, "anthropic-messages-api", "recorded_exchanges.jsonl")
    (trace,) = dialects.get("anthropic").read([records_of(path)[36]], Notes(), {})
    edit = "text_editor_code_execution"
    create, view = (edit, (72, "026ef44a89eb")), (edit, (42, "b51798801f5c"))
    assert said(trace) == [
        ("system", None, None, (117, "c16ff285b852"), []),
        ("user", None, None, (145, "b4fabc88d07c"), []),
        ("assistant", None, None, (93, "0091f6e93464"), [create, view]),
        ("tool", None, None, (244, "59c87a7b3aaf"), []),
        ("tool", None, None, (224, "ea8bea8d64e3"), []),
        ("assistant", None, None, (73, "83e525bba827"), [create]),
        ("tool", None, None, (74, "29dbaa7aaf64"), []),
        ("assistant", None, None, (32, "6cf72fd92be2"), [view]),
        ("tool", None, None, (139, "dd4e1bfb837d"), []),
        ("assistant", None, None, (263, "4f6d4386c778"), []),
    ]
    errors = [m["error"] for m in trace["messages"] if m["role"] == "tool"]
    assert errors == [True, True, False, False]
    assert [(t["name"], t["parameters"]) for t in trace["tools"]] == [(edit, None)]
    assert json.loads(trace["meta"])["server_tools"] == ["code_execution_20260120"]
    assert trace["messages"][-1]["finish_reason"] == "end_turn"
    assert trace["model"] == "claude-sonnet-4-6"


def test_thinking_that_the_provider_keeps_is_withheld(traces_folder: Path) -> None:
    path = real(traces_folder, "anthropic-messages-api", "recorded_exchanges.jsonl")
    for row in (0, 19):
        (trace,) = dialects.get("anthropic").read([records_of(path)[row]], Notes(), {})
        thought = [m for m in trace["messages"] if m.get("reasoning_kind")]
        assert thought
        assert all(m["reasoning_kind"] == "withheld" for m in thought)
        assert all("reasoning" not in m for m in thought)


# LiteLLM: what a model without calls of its own was sent, and what its agent meant.


def test_a_logged_call_is_read_as_its_agent_meant_it_or_as_it_was_sent(
    traces_folder: Path,
) -> None:
    name = "litellm_proxy__deepseek__deepseek-chat-1757015076.651.json"
    path = real(traces_folder, "litellm-request-response", name)
    record = Record(path.name, 0, json.loads(path.read_bytes()))
    (lifted,) = dialects.get("litellm").read([record], Notes(), {})
    (sent,) = dialects.get("litellm").read([record], Notes(), {"calls": "as_text"})
    assert [m["role"] for m in lifted["messages"]] == [
        *("system", "user", "assistant", "tool", "assistant", "tool", "assistant", "tool"),
        "assistant",
    ]
    assert all(m["tool_calls"] for m in lifted["messages"] if m["role"] == "assistant")
    assert [tool["name"] for tool in lifted["tools"]] == [
        *("terminal", "str_replace_editor", "finish")
    ]
    assert "tools" not in sent
    assert not any("tool_calls" in m for m in sent["messages"])
    assert sent["messages"][-1]["content"].startswith("<function=finish>")
    n_system = [len(t["messages"][0]["content"]) for t in (lifted, sent)]
    assert n_system == [10123, 18681]


# Whole folders: every record ends somewhere, and no text is lost.

FOLDERS: dict[str, tuple[str, int, int, dict[str, int], dict[str, int]]] = {
    "openai-responses-api": ("openai_responses", 138, 92, {"no_reply": 3}, {}),
    "harmony": ("harmony", 31, 13, {"no_assistant_message": 16, "token_ids": 2}, {}),
    "gemini-generate-content": (
        *("gemini", 74, 70),
        {"another_dialect": 2, "error_response": 1, "no_reply": 1},
        {},
    ),
    "anthropic-managed-agent-events": (
        *("managed_agents", 82, 4, {}),
        {"status": 46, "sent": 7, "decision": 2},
    ),
}
"""Dialect, records, traces, rejects by code, events by type."""


@pytest.mark.parametrize("folder", sorted(FOLDERS))
def test_a_folder_is_read_whole_and_loses_no_text(traces_folder: Path, folder: str) -> None:
    name, n_records, n_traces, rejects, events = FOLDERS[folder]
    dialect = dialects.get(name)
    files = [records_of(p) for p in sorted(real(traces_folder, folder).rglob("*.*"))]
    units = [[r] for file in files for r in file] if dialect.unit == "record" else files
    refused: Counter[str] = Counter()
    noted: Counter[str] = Counter()
    found = 0
    for unit in units:
        notes = Notes()
        try:
            traces = dialect.read(unit, notes, {})
        except BadRecord as error:
            refused[error.code] += 1
            continue
        check_conservation(unit, traces, notes)
        for trace in traces:
            check_door(trace)
        found += len(traces)
        refused.update(code for _, code, _ in notes.rejects)
        noted.update(kind for _, kind in notes.events)
        texts = leaves.texts_of(traces)
        gone = {record.row for record, *_ in notes.rejects}
        for record in unit:
            if record.row not in gone:
                lost = leaves.lost_leaves(dialect.ignores, leaves.as_read(record.value), texts)
                assert not lost, f"{record.file}#{record.row}: {lost[:5]}"
    assert (sum(map(len, files)), found) == (n_records, n_traces)
    assert (dict(refused), dict(noted)) == (rejects, events)


def test_a_conversation_over_several_files_is_one_trace_by_its_response_ids(tmp_path):
    """One exchange a file, the second naming the response of the first."""
    from road import travel

    def exchange(asked, told, name, before=None):
        message = {"type": "message", "role": "assistant",
                   "content": [{"type": "output_text", "text": told}]}  # fmt: skip
        request = {"model": "m", "input": [{"role": "user", "content": asked}]}
        if before is not None:
            request["previous_response_id"] = before
        response = {"object": "response", "id": name, "status": "completed", "output": [message]}
        return {"request": request, "response": response}

    files = {
        "b/two.jsonl": [exchange("And in Rome?", "It is dry in Rome.", "resp_2", "resp_1")],
        "b/one.jsonl": [exchange("Is it raining in Oslo?", "It is raining in Oslo.", "resp_1")],
        "b/other.jsonl": [exchange("And in Bern?", "Nobody knows.", "resp_9", "resp_8")],
    }
    road = travel(tmp_path, files)
    (trace,) = road.traces()
    assert [m["content"] for m in trace["messages"]] == [
        "Is it raining in Oslo?", "It is raining in Oslo.", "And in Rome?", "It is dry in Rome.",
    ]  # fmt: skip
    assert [r["code"] for r in road.rejects()] == ["history_on_server"]
