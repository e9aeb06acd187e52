"""Runs of agent frameworks: acceptance examples of real files, counts taken a second way.

Texts of real files stand here only as number of code points and the first digits of their hash.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from test_dialect_laws import lost_leaves, values_of
from test_dialects import check_conservation, check_door, read_one, records_of, units_of
from tracekit import dialects
from tracekit.dialects import Notes, Record, agent_text, function_prompt, record_keys
from tracekit.errors import BadRecord

# What each folder gives by dialect: (records, traces, events, rejects by code).
FOLDERS: dict[tuple[str, str], tuple[int, int, int, dict[str, int]]] = {
    ("swe-agent-traj", "swe_agent"): (13, 13, 0, {}),
    ("swe-agent-traj", "swe_predictions"): (1, 0, 0, {"holds_no_conversation": 1}),
    ("mini-swe-agent", "openai_turns"): (28, 2, 0, {}),
    ("nebius-swe-agent-trajectory", "nebius"): (5, 5, 0, {}),
    ("swe-gym-openai-messages", "openai"): (5, 5, 0, {}),
    ("swe-smith-messages", "swe_smith"): (5, 5, 0, {}),
    ("swe-smith-messages", "mini_swe_agent"): (1, 1, 0, {}),
    ("openhands-events", "openhands"): (5, 5, 0, {}),
    ("openhands-events", "openhands_events"): (36, 4, 8, {}),
    ("openhands-events", "openhands_sdk"): (11, 0, 6, {"starts_mid_session": 5}),
    ("openhands-events", "swe_predictions"): (30, 0, 0, {"holds_no_conversation": 30}),
    ("agent-data-protocol", "adp"): (42, 42, 0, {}),
    ("agent-data-protocol", "sharegpt"): (16, 16, 0, {}),
    ("harbor-atif", "atif"): (10, 11, 0, {}),
    ("harbor-atif", "terminus"): (18, 18, 0, {}),
    ("harbor-atif", "openhands_events"): (7, 1, 2, {}),
    ("harbor-atif", "mini_swe_agent"): (1, 1, 0, {}),
    ("terminus-terminal-agent", "terminus"): (1, 1, 0, {}),
    ("web-agent", "web_agent"): (3, 3, 0, {}),
    ("web-agent", "sharegpt"): (3, 3, 0, {}),
    ("web-agent", "prompt_response"): (5, 5, 0, {}),
    ("who-and-when-multiagent", "who_and_when"): (30, 66, 0, {}),
    ("autogen", "autogen"): (58, 58, 0, {}),
}


def text(value: str | None) -> tuple[int, str] | None:
    """A text as its number of code points and the beginning of its hash."""
    if value is None:
        return None
    return len(value), hashlib.sha256(value.encode()).hexdigest()[:12]


def said(message: dict[str, Any]) -> tuple[Any, ...]:
    """(role, content, calls) of a message."""
    calls = [(c["id"], c["name"], text(c["arguments"])) for c in message.get("tool_calls", ())]
    return message["role"], text(message.get("content")), calls


def records(path: Path) -> list[Record]:
    return [Record(path.name, row, value) for row, value in values_of(path)]


def only(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


def read_file(name: str, path: Path, **options: str) -> tuple[list[dict[str, Any]], Notes]:
    """Traces of a file, whatever its dialect's unit is; a refused record is in the notes."""
    dialect, notes, traces = dialects.get(name), Notes(), []
    for unit in units_of(dialect, records(path)):
        own = Notes()
        try:
            found = dialect.read(unit, own, options)
        except BadRecord as error:
            for record in unit:
                notes.reject(record, error.code, error.detail)
            continue
        check_conservation(unit, found, own)
        for trace in found:
            check_door(trace)
        traces.extend(found)
        notes.events.extend(own.events)
        notes.rejects.extend(own.rejects)
    return traces, notes


@pytest.mark.parametrize(("folder", "name"), sorted(FOLDERS))
def test_a_folder_gives_what_is_in_it_and_loses_no_text(
    folder: str, name: str, traces_folder: Path
) -> None:
    dialect = dialects.get(name)
    n_records = n_traces = n_events = 0
    rejects: Counter[str] = Counter()
    for path in sorted(p for p in (traces_folder / folder).rglob("*") if p.is_file()):
        given = records(path)
        candidates = dialects.recognise(record.value for record in given)
        assert len(candidates) == 1, f"{path.name}: {candidates}"
        if dialects.choose(candidates) != name:
            continue
        traces, notes = read_file(name, path)
        n_records += len(given)
        n_traces += len(traces)
        n_events += len(notes.events)
        rejects.update(code for _, code, _ in notes.rejects)
        left = {record.row for record, *_ in notes.rejects} | {r.row for r, _ in notes.events}
        for record in given:
            if record.row not in left:
                lost = lost_leaves(dialect, record.value, traces)
                assert not lost, f"{path.name}#{record.row}: {lost[:5]}"
    assert (n_records, n_traces, n_events, dict(rejects)) == FOLDERS[folder, name]


def test_no_file_of_these_folders_is_unread_or_read_by_two(traces_folder: Path) -> None:
    for folder in {folder for folder, _ in FOLDERS}:
        for path in (p for p in (traces_folder / folder).rglob("*.json*") if p.is_file()):
            candidates = dialects.recognise(value for _, value in values_of(path))
            assert len(candidates) == 1, f"{folder}/{path.name}: {candidates}"


# 3.7: SWE-agent.

REPLAY = "swe-agent-traj/replay__*1867__function_calling__install-1__*.traj"


def test_a_swe_agent_replay_has_its_calls_and_results_with_renumbered_ids(
    traces_folder: Path,
) -> None:
    (trace,), _ = read_file("swe_agent", only(traces_folder, REPLAY))
    messages = trace["messages"]
    assert len(messages) == 24
    assert [said(m) for m in messages[:4]] == [
        ("system", (1658, "0a5dfc483d63"), []),
        ("user", (3661, "3e9ab7352279"), []),
        ("assistant", (213, "053230479f60"), [("call_0", "create", (27, "a04bdcb7afb6"))]),
        ("tool", (112, "4e484372f32a"), []),
    ]
    assert [said(m) for m in messages[-2:]] == [
        ("assistant", (27, "1e09940cb7cd"), [("call_10", "submit", (2, "44136fa355b3"))]),
        ("tool", (663, "c53781660c21"), []),
    ]
    calls = [call for m in messages for call in m.get("tool_calls", ())]
    assert [call["id"] for call in calls] == [f"call_{k}" for k in range(11)]
    answered = [m["tool_call_id"] for m in messages if m["role"] == "tool"]
    assert answered == [call["id"] for call in calls]
    assert [k for k, m in enumerate(messages) if m.get("error")] == [15]
    assert said(messages[15]) == ("tool", (9063, "02ef8d2eca89"), [])
    meta = json.loads(trace["meta"])
    assert len(meta["original_ids"]) == 11
    assert len(set(meta["original_ids"])) == 6
    assert text(meta["submission"])[0] == 578
    assert trace["outcomes"] == [
        {"value": '"submitted"', "kind": "exit_status", "name": "exit_status"}
    ]
    assert trace["task_key"] == "marshmallow-code__marshmallow-1867"
    assert {"tools", "answer", "model"}.isdisjoint(trace)
    assert all("reasoning" not in m for m in messages)
    assert "\r\n" in messages[3]["content"]


def test_a_text_run_of_swe_agent_is_lifted_and_its_demonstration_left_out(
    traces_folder: Path,
) -> None:
    path = only(traces_folder, "swe-agent-traj/*__pydicom__pydicom-1458.traj")
    (trace,), _ = read_file("swe_agent", path)
    messages = trace["messages"]
    assert [said(m) for m in messages[:3]] == [
        ("system", (4066, "1feb642dbbf6"), []),
        ("user", (4591, "7f2b850c7c51"), []),
        ("assistant", (282, "b1f014e947a0"), [("call_0", "bash", (37, "e463e6861243"))]),
    ]
    meta = json.loads(trace["meta"])
    assert [demo["n_chars"] for demo in meta["demonstrations"]] == [19388]
    kept, _ = read_file("swe_agent", path, demos="keep")
    assert len(kept[0]["messages"][1]["content"]) == 19388
    as_text, _ = read_file("swe_agent", path, calls="as_text")
    assert [m["role"] for m in as_text[0]["messages"][:4]] == [
        "system",
        "user",
        "assistant",
        "user",
    ]
    assert "```" in as_text[0]["messages"][2]["content"]


def test_every_step_of_swe_agent_is_a_reply_and_the_last_result_is_there(
    traces_folder: Path,
) -> None:
    for path in sorted((traces_folder / "swe-agent-traj").glob("*.traj")):
        value = records(path)[0].value
        (trace,), _ = read_file("swe_agent", path)
        replies = [m for m in trace["messages"] if m["role"] == "assistant"]
        turns = sum(turn["role"] == "assistant" for turn in value["history"])
        assert len(replies) == max(turns, len(value.get("trajectory", ())))
        assert all(len(reply["tool_calls"]) == 1 for reply in replies)
        steps = value.get("trajectory", ())
        if steps and steps[-1]["observation"]:
            last = trace["messages"][-1]
            assert last["role"] == "tool"
            assert steps[-1]["observation"].strip() in last["content"]


# 3.8: OpenHands.


def test_openhands_events_are_what_the_model_wrote(traces_folder: Path) -> None:
    path = traces_folder / "openhands-events" / "basic.json"
    (trace,), _ = read_file("openhands_events", path)
    messages = trace["messages"]
    edit, finish = messages[1]["tool_calls"][0]["id"], messages[3]["tool_calls"][0]["id"]
    assert edit.startswith("toolu_017nBp")
    assert finish.startswith("toolu_01BUKu")
    assert [said(m) for m in messages] == [
        ("user", (108, "2469bd16b6be"), []),
        # 3,615 as recorded, 3,610 in the one spelling of arguments
        (
            "assistant",
            (102, "560c8ec4dc89"),
            [(edit, "str_replace_editor", (3610, "4cda4c608eed"))],
        ),
        ("tool", (3558, "7eda67f8976e"), []),
        ("assistant", (536, "5d59fc021e6b"), [(finish, "finish", (2, "44136fa355b3"))]),
    ]
    assert messages[2]["error"] is False
    assert messages[2]["tool_call_id"] == edit
    assert messages[1]["finish_reason"] == "tool_calls"
    assert trace["model"] == "claude-3-5-sonnet-20241022"
    assert "tools" not in trace
    meta = json.loads(trace["meta"])
    assert meta["gap"] == "event ids 1-2 missing"
    assert meta["system"] == "not_recorded"


def test_a_log_of_the_openhands_sdk_that_starts_mid_session_is_refused_with_why(
    traces_folder: Path,
) -> None:
    path = traces_folder / "openhands-events" / "sdk_events.jsonl"
    traces, notes = read_file("openhands_sdk", path)
    assert traces == []
    assert {(code, detail) for _, code, detail in notes.rejects} == {
        ("starts_mid_session", "2 actions, 3 observations, no user message")
    }
    assert len(notes.events) + len(notes.rejects) == 10


def test_outputs_of_openhands_have_a_reply_a_response_and_the_errors_of_its_editor(
    traces_folder: Path,
) -> None:
    path = traces_folder / "openhands-events" / "multi_swe_bench_output.jsonl"
    traces, _ = read_file("openhands", path)
    for record, trace in zip(records(path), traces, strict=True):
        history = record.value["history"]
        responses = {
            event["tool_call_metadata"]["model_response"]["id"]
            for event in history
            if event.get("tool_call_metadata")
        }
        replies = [m for m in trace["messages"] if m["role"] == "assistant"]
        assert len(replies) == len(responses)
        first: dict[str, Any] = {}
        for event in history:
            if event.get("tool_call_metadata"):
                response = event["tool_call_metadata"]["model_response"]
                first.setdefault(response["id"], response["choices"][0]["message"])
        assert [m.get("content") or "" for m in replies] == [
            m["content"] or "" for m in first.values()
        ]
        assert [[c["name"] for c in m["tool_calls"]] for m in replies] == [
            [c["function"]["name"] for c in m["tool_calls"]] for m in first.values()
        ]
        assert len(trace["tools"]) == 4
        refused = [e for e in history if str(e.get("content", "")).startswith("ERROR:")]
        failed = [m for m in trace["messages"] if m.get("error")]
        assert refused
        assert len(failed) >= len(refused)
    assert [o["name"] for o in traces[2]["outcomes"]] == ["error"]
    assert "outcomes" not in traces[0]


# 3.14: logs of several agents.


def test_a_log_by_hand_is_seen_from_its_orchestrator(traces_folder: Path) -> None:
    path = traces_folder / "who-and-when-multiagent" / "hand-crafted" / "1.json"
    (trace,), _ = read_file("who_and_when", path)
    messages = trace["messages"]
    assert [(m["role"], m.get("name"), text(m.get("content"))) for m in messages[:5]] == [
        ("user", None, (118, "6e3be83d1949")),
        ("assistant", "Orchestrator", (131, "da0abfec0adf")),
        ("user", "WebSurfer", (3224, "60d9d4988f9a")),
        ("assistant", "Orchestrator", (259, "9311f7e27e35")),
        ("user", "WebSurfer", (1857, "0aaef13573b8")),
    ]
    assert text(messages[1]["reasoning"]) == (3896 + 1047 + 2, "e87023a726c6")
    assert text(messages[3]["reasoning"]) == (1303, "d4a46e36715e")
    assert json.loads(messages[1]["meta"]) == {"to": "WebSurfer"}
    assert json.loads(messages[3]["meta"])["next_speaker"] == "WebSurfer"
    meta = json.loads(trace["meta"])
    assert meta["viewpoint"] == "Orchestrator"
    assert meta["speakers"] == ["human", "Orchestrator", "WebSurfer"]
    assert (meta["mistake_agent"], meta["mistake_step"]) == ("WebSurfer", "12")
    assert meta["use"] == "eval-only"
    assert trace["outcomes"] == [{"value": "false", "kind": "human", "name": "is_corrected"}]
    assert trace["answer"]
    assert "tools" not in trace
    assert {m["weight"] for m in messages if m["role"] == "assistant"} == {0.0}
    assert all("tool_calls" not in m for m in messages)


def test_until_the_mistake_means_the_replies_before_its_step(traces_folder: Path) -> None:
    path = traces_folder / "who-and-when-multiagent" / "hand-crafted" / "1.json"
    (trace,), _ = read_file("who_and_when", path, train="until_mistake")
    value = records(path)[0].value
    before = sum("(-> " in turn["role"] for turn in value["history"][: int(value["mistake_step"])])
    replies = [m for m in trace["messages"] if m["role"] == "assistant"]
    assert [m.get("weight", 1.0) for m in replies] == [1.0] * before + [0.0] * (
        len(replies) - before
    )


def test_a_log_by_algorithm_is_seen_from_each_agent_that_speaks(traces_folder: Path) -> None:
    for path in sorted((traces_folder / "who-and-when-multiagent/algorithm-generated").iterdir()):
        value = records(path)[0].value
        traces, _ = read_file("who_and_when", path)
        speakers = {turn["name"] for turn in value["history"][1:]} - {"Computer_terminal"}
        assert {json.loads(trace["meta"])["viewpoint"] for trace in traces} == speakers
        for trace in traces:
            own = json.loads(trace["meta"])["viewpoint"]
            prompt = value["system_prompt"][own]
            rest = list(trace["messages"])
            if prompt:
                system = rest.pop(0)
                assert (system["role"], system["content"]) == ("system", prompt)
            task = rest.pop(0)
            assert (task["role"], task["content"]) == ("user", value["history"][0]["content"])
            roles = ["assistant" if t["name"] == own else "user" for t in value["history"][1:]]
            assert [m["role"] for m in rest] == roles


# The same runs in another dress.


def commands(trace: dict[str, Any]) -> list[str]:
    """Commands that a trace gives to a shell, without white space."""
    found = []
    for message in trace["messages"]:
        for call in message.get("tool_calls", ()):
            arguments = json.loads(call["arguments"])
            if call["name"] == "bash":
                found.append(re.sub(r"\s", "", arguments["command"]))
            elif call["name"] == "submit":
                found.append("submit")
    return found


def test_nebius_raw_and_in_the_agent_data_protocol_are_the_same_runs(traces_folder: Path) -> None:
    raw, _ = read_file(
        "nebius", traces_folder / "nebius-swe-agent-trajectory/nebius.sample_raw.json"
    )
    std, _ = read_file(
        "adp",
        traces_folder / "agent-data-protocol/nebius_SWE-agent-trajectories.sample_std.json",
        observations="answer_calls",
    )
    assert [t["task_key"] for t in raw] == [t["task_key"] for t in std]
    assert raw[0]["task_key"] == "tomerfiliba__plumbum-366"
    for one, other in zip(raw, std, strict=True):
        plain = [c for c in commands(other) if c != "submit"]
        assert set(plain) <= set(commands(one))
        results = [m["content"] for m in one["messages"] if m["role"] == "tool"]
        assert results == [m["content"] for m in other["messages"] if m["role"] == "tool"][:-1]
        assert one["outcomes"][0] == {"value": "true", "kind": "tests", "name": "target"}
        assert {m["weight"] for m in one["messages"] if m["role"] == "assistant"} == {1.0}


def test_harbor_rows_lifted_are_harbors_own_trajectory(traces_folder: Path) -> None:
    folder = traces_folder / "harbor-atif" / "terminus_2"
    (trace,), _ = read_file("atif", folder / "hello-world-invalid-json.trajectory.json")
    rows, _ = read_file(
        "terminus", folder / "hello-world-invalid-json.traces.json", commands="lift"
    )
    last = rows[-1]

    def calls(found: dict[str, Any]) -> list[Any]:
        return [
            (c["name"], json.loads(c["arguments"]))
            for m in found["messages"]
            for c in m.get("tool_calls", ())
        ]

    assert calls(last) == calls(trace)
    reasons = [m.get("reasoning") for m in last["messages"] if m["role"] == "assistant"]
    assert reasons == [m.get("reasoning") for m in trace["messages"] if m["role"] == "assistant"]
    assert len({row["session_id"] for row in rows}) == 1


def test_a_summary_of_harbor_cuts_a_trajectory_in_two(traces_folder: Path) -> None:
    folder = traces_folder / "harbor-atif" / "terminus_2"
    path = folder / "hello-world-context-summarization.trajectory.json"
    before, after = read_file("atif", path)[0]
    steps = records(path)[0].value["steps"]
    replies = [[m for m in t["messages"] if m["role"] == "assistant"] for t in (before, after)]
    assert [len(r) for r in replies] == [3, 4]
    assert sum(len(r) for r in replies) == sum(step["source"] == "agent" for step in steps)
    assert json.loads(after["meta"])["continues"] == 1
    linear = folder / "hello-world-context-summarization-linear-history.trajectory.cont-1.json"
    (copy,), _ = read_file("atif", linear)
    weights = [m.get("weight") for m in copy["messages"] if m["role"] == "assistant"]
    assert weights == [0.0, None, None, None, None]


def test_functions_of_a_prompt_are_those_that_the_source_declares_elsewhere(
    traces_folder: Path,
) -> None:
    folder = traces_folder / "harbor-atif" / "openhands"
    (native,), _ = read_file("atif", folder / "hello-world.trajectory.json")
    (printed,), _ = read_file("atif", folder / "hello-world.trajectory.no_function_calling.json")
    assert {t["name"] for t in printed["tools"]} == {t["name"] for t in native["tools"]}
    # Without its functions and their format, the prompt is the one that the model is given when it
    # calls by itself.
    assert printed["messages"][0] == native["messages"][0]
    declared = {t["name"]: json.loads(t["parameters"]) for t in native["tools"]}
    for tool in printed["tools"]:
        schema = json.loads(tool["parameters"])
        own = {k: v for k, v in declared[tool["name"]]["properties"].items() if v is not None}
        assert set(schema["properties"]) == set(own)
        assert schema["required"] == declared[tool["name"]].get("required", [])
        for key, value in own.items():
            assert schema["properties"][key]["type"] == value["type"]
            assert schema["properties"][key].get("enum") == value.get("enum")


# Kinds of cases, on records of our own.


def nebius_record() -> Any:
    return records_of("nebius")[0].value


def test_a_mask_is_read_by_its_polarity_and_a_reversed_one_is_refused() -> None:
    value = nebius_record()
    weights = [m.get("weight") for m in read_one("nebius", value)["messages"]]
    assert weights == [None, None, 1.0, None, 1.0]
    for turn in value["trajectory"]:
        turn["mask"] = not turn["mask"]
    with pytest.raises(BadRecord) as caught:
        read_one("nebius", value)
    assert caught.value.code == "mask_polarity_reversed"
    again = read_one("nebius", value, mask="true_masks")
    assert [m.get("weight") for m in again["messages"]] == weights


def test_what_asks_for_the_old_form_is_cut_where_calls_are_lifted_and_nowhere_else() -> None:
    for name in ("swe_agent", "mini_swe_agent", "nebius", "swe_smith"):
        record = records_of(name)[0]
        trace = read_one(name, record.value)
        prompts = [m.get("content") or "" for m in trace["messages"] if m["role"] != "assistant"]
        for cut in json.loads(trace["meta"])["format_instruction"]:
            assert "format" in cut or "backticks" in cut or "functions" in cut
            assert not any(cut in prompt for prompt in prompts)
        texts = read_one(name, record.value, calls="as_text")
        assert "format_instruction" not in (texts.get("meta") or "")
        assert all("tool_calls" not in m for m in texts["messages"])


def test_calls_of_a_record_are_lifted_all_or_none() -> None:
    value = json.loads(json.dumps(records_of("swe_smith")[0].value))
    value["messages"][-1]["content"] = "I hand it in.\n<function=submit> and then"
    trace = read_one("swe_smith", value)
    assert [m["content"] for m in trace["messages"]] == [m["content"] for m in value["messages"]]
    assert "tools" not in trace


@pytest.mark.parametrize(
    "reply",
    [
        "```\na\n```\n```\nb\n```",
        "``` ls ```",
        "no block at all",
        "```\n\n```",
        "x\n```\nls\n```\ny",
    ],
)
def test_a_reply_without_one_block_at_its_end_is_text(reply: str) -> None:
    assert agent_text.action_of(reply) is None


def test_printed_functions_keep_allowed_values_and_what_is_required() -> None:
    prompt = records_of("swe_smith")[0].value["messages"][0]["content"]
    bash, submit, view = function_prompt.declared(prompt)
    assert json.loads(bash["parameters"]) == {
        "type": "object",
        "properties": {
            "command": {"type": "string", "description": "The command to run."},
            "is_input": {
                "type": "string",
                "enum": ["true", "false"],
                "description": "Is it input?",
            },
        },
        "required": ["command"],
    }
    assert submit["description"] == "Finish the task."
    assert json.loads(view["parameters"])["properties"]["range"]["type"] == "array"
    assert function_prompt.declared("---- BEGIN FUNCTION #1: a ----\nnever ends") == []


def test_parallel_actions_of_one_response_are_calls_of_one_reply() -> None:
    trace = read_one("openhands", records_of("openhands")[0].value)
    replies = [m for m in trace["messages"] if m["role"] == "assistant"]
    assert [len(m["tool_calls"]) for m in replies] == [2, 1]
    results = [m for m in trace["messages"] if m["role"] == "tool"]
    assert [m["tool_call_id"] for m in results] == ["t1", "t2"]
    assert [m["error"] for m in results] == [False, True]
    assert json.loads(replies[0]["tool_calls"][0]["arguments"])["security_risk"] == "LOW"


def test_the_attempt_is_no_part_of_a_task() -> None:
    assert record_keys.without_attempt("a__b-1_2") == ("a__b-1", "2")
    for whole in ("a__b-1", "b-1_2", "toast__toaster.1a2b", "__a-1_2_x"):
        assert record_keys.without_attempt(whole) == (whole, None)


def test_a_list_of_messages_is_read_alike_as_one_record_and_line_by_line() -> None:
    value = records_of("mini_swe_agent")[3].value
    whole = read_one("mini_swe_agent", value)
    rows = [Record("f.jsonl", k, turn) for k, turn in enumerate(value)]
    (lines,) = dialects.get("openai_turns").read(rows, Notes(), {})
    assert lines["messages"] == whole["messages"]
    assert lines["meta"] == whole["meta"]
    assert whole["messages"][3]["error"] is False


def test_a_log_of_very_many_speakers_is_refused_by_name() -> None:
    value = dict(records_of("who_and_when")[0].value)
    value["history"] = [{"role": f"Agent{k}", "content": "Me too."} for k in range(300)]
    with pytest.raises(BadRecord, match="300 traces"):
        read_one("who_and_when", value)
