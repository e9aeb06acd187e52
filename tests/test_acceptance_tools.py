"""Sets of tool calls, read whole: acceptance examples of real files, counted a second way.

Texts of real files stand here only as number of code points and the first digits of their hash.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from test_dialect_laws import lost_leaves, values_of
from test_dialects import check_conservation, check_door, read_one, records_of, refusal
from tracekit import dialects
from tracekit.dialects import Notes, Record
from tracekit.errors import BadRecord
from tracekit.leaves import as_read


def records(folder: Path, *parts: str) -> list[Record]:
    """Records of the files that a pattern below the folder names; keyed ones with their id."""
    found = []
    for path in sorted(folder.joinpath(*parts[:-1]).glob(parts[-1])):
        found.extend(Record(path.name, row, value) for row, value in values_of(path))
    assert found, parts
    return found


def read_all(name: str, given: list[Record], **options: str) -> tuple[list[dict[str, Any]], Notes]:
    notes = Notes()
    traces = []
    for record in given:
        traces.extend(dialects.get(name).read([record], notes, options))
    for trace in traces:
        check_door(trace)
    return traces, notes


def text(value: str | None) -> tuple[int, str] | None:
    """A text as its number of code points and the beginning of its hash."""
    if value is None:
        return None
    return len(value), hashlib.sha256(value.encode()).hexdigest()[:12]


def said(trace: dict[str, Any]) -> list[tuple[Any, ...]]:
    """(role, content, calls, error) of each message."""
    return [
        (
            message["role"],
            text(message.get("content")),
            [(call["name"], text(call["arguments"])) for call in message.get("tool_calls", ())],
            message.get("error"),
        )
        for message in trace["messages"]
    ]


# ToolBench.


def test_the_path_of_a_search_tree_is_the_trace(traces_folder: Path) -> None:
    given = records(traces_folder, "toolbench", "G1_answer", "10_*.json")
    (trace,), _ = read_all("toolbench", given)
    one, other = "transitaires_for_transitaires", "transitaire_for_transitaires"
    assert said(trace) == [
        ("system", (1424, "05b349f76b8a"), [], None),
        ("user", (236, "0ad88182cfe8"), [], None),
        ("assistant", None, [(one, (2, "44136fa355b3"))], None),
        ("tool", (1021, "6902f487e187"), [], False),
        ("assistant", None, [(other, (46, "37e397c1b90e"))], None),
        ("tool", (220, "3cb1ceb23d40"), [], False),
        ("assistant", None, [("Finish", (248, "328faa3f72a3"))], None),
    ]
    assert [tool["name"] for tool in trace["tools"]] == [other, one, "Finish"]
    assert trace["outcomes"] == [{"value": "true", "kind": "claimed", "name": "win"}]
    assert "answer" not in trace
    meta = json.loads(trace["meta"])
    assert (meta["finish_type"], meta["n_pruned_nodes"]) == ("give_answer", 0)


def test_a_planted_turn_is_no_message_and_the_text_after_it_no_target(traces_folder: Path) -> None:
    given = records(traces_folder, "toolbench", "G1_answer", "57_*.json")
    (trace,), notes = read_all("toolbench", given)
    assert notes.repairs["planted_turn_dropped"] == 1
    assert [m["role"] for m in trace["messages"]].count("user") == 1
    assert all("not the first time" not in (m.get("content") or "") for m in trace["messages"])
    flagged = [m for m in trace["messages"] if "train" in m]
    assert [m["train"]["content"] for m in flagged] == [False]
    assert flagged[0]["tool_calls"][0]["name"] == "search_b_for_seo_api"


def exported_steps(value: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What the source itself exported as the path, without its planted turns."""
    steps: list[tuple[Any, ...]] = []
    for message in value["answer_generation"]["train_messages"][-1]:
        if message.get("valid") is False:
            continue
        call = message.get("function_call")
        steps.append(
            (
                "tool" if message["role"] == "function" else message["role"],
                message.get("content") or None,
                call and (call["name"], json.loads(call["arguments"], strict=False)),
            )
        )
    return steps


def test_the_path_of_the_tree_is_the_one_that_every_real_file_exported(traces_folder: Path) -> None:
    given: list[Record] = []
    for folder in ("G1_answer", "G2_answer", "G3_answer"):
        given += records(traces_folder, "toolbench", folder, "*.json")
    assert len(given) == 12
    for record in given:
        (trace,), _ = read_all("toolbench", [record])
        steps = []
        for message in trace["messages"]:
            call = next(iter(message.get("tool_calls", ())), None)
            made = call and (call["name"], json.loads(call["arguments"]))
            steps.append((message["role"], message.get("content"), made))
        assert steps == exported_steps(record.value), record.file


def test_all_branches_hold_every_text_of_the_tree(traces_folder: Path) -> None:
    dialect = dialects.get("toolbench")
    for record in records(traces_folder, "toolbench", "G1_answer", "*.json"):
        tree = {"tree": record.value["tree"]}
        leaves = json.dumps(tree).count('"children": []')
        traces, _ = read_all("toolbench", [record], branches="all")
        assert len(traces) == leaves
        ignored = {path: why for path, why in dialect.ignores.items() if path != "tree"}
        bare = dialects.Dialect(
            name="bare",
            version=1,
            unit="record",
            fits=dialect.fits,
            read=dialect.read,
            ignores=ignored,
        )
        assert not lost_leaves(bare, tree, traces)
        assert sum(json.loads(t["outcomes"][0]["value"]) for t in traces) <= 1


def test_finish_may_become_the_reply() -> None:
    value = records_of("toolbench")[0].value
    trace = read_one("toolbench", value, finish="to_content")
    assert trace["messages"][-1]["content"].endswith("It will rain 7 mm in Rome.")
    assert "tool_calls" not in trace["messages"][-1]
    assert [tool["name"] for tool in trace["tools"]] == ["rain_for_weather"]
    gave_up = read_one("toolbench", records_of("toolbench")[1].value, finish="to_content")
    assert gave_up["messages"][-1]["tool_calls"][0]["name"] == "Finish"


# tau-bench.


def test_a_run_of_tau_bench_ends_on_a_result(traces_folder: Path) -> None:
    record = records(traces_folder, "tau-bench", "gpt-4o-airline.head.json")[42]
    (trace,), _ = read_all("tau_bench", [record])
    look, hand_over = "get_reservation_details", "transfer_to_human_agents"
    assert said(trace) == [
        ("system", (6155, "56c335801c16"), [], None),
        ("user", (51, "7cde10c761db"), [], None),
        ("assistant", (174, "4c53cbfb9351"), [], None),
        ("user", (126, "e42da6820fd9"), [], None),
        ("assistant", None, [(look, (27, "4b4377d3c001"))], None),
        ("tool", (690, "0188b564db44"), [], None),
        ("assistant", (424, "aa793a8d5207"), [], None),
        ("user", (87, "0ad864c07a82"), [], None),
        ("assistant", (283, "37c427c72d93"), [], None),
        ("user", (74, "3e26ade1c093"), [], None),
        ("assistant", None, [(hand_over, (243, "d73571eb5f3f"))], None),
        ("tool", (19, "bccdc18e7b6a"), [], None),
    ]
    assert [m["name"] for m in trace["messages"] if m["role"] == "tool"] == [look, hand_over]
    assert trace["task_key"] == "airline/42"
    assert trace["outcomes"] == [{"value": "1.0", "kind": "environment", "name": "reward"}]
    assert "tools" not in trace
    assert "answer" not in trace
    meta = json.loads(trace["meta"])
    assert (meta["trial"], meta["user"], meta["benchmark"]) == (0, "simulated", "tau-bench")
    assert [action["name"] for action in meta["gold_actions"]] == [look]


def test_a_printed_call_is_an_empty_reply_that_is_no_target(traces_folder: Path) -> None:
    given = records(traces_folder, "tau-bench", "Mock*.jsonl")
    traces, notes = read_all("tau_bench", given)
    n_printed = sum(
        len(re.findall(r"^assistant: None$", record.value["messages_display"], re.MULTILINE))
        for record in given
    )
    assert (len(traces), notes.repairs["calls_not_recorded"]) == (50, n_printed)
    empty = [m for t in traces for m in t["messages"] if m.get("weight") == 0.0]
    assert len(empty) == n_printed
    assert not any("content" in message for message in empty)


# xLAM, Hammer and BFCL.


def test_tools_and_query_of_a_whole_prompt_stand_in_their_fields(traces_folder: Path) -> None:
    for name, n_tools in (("hammer2.1_*.json", 199), ("masking_*.json", 36)):
        given = records(traces_folder, "xlam-apigen-query-tools-answers", name)
        traces, _ = read_all("xlam", given)
        asked = [t["messages"][1]["content"] for t in traces]
        assert len(set(asked)) == len(given)
        assert all(
            "[BEGIN OF" not in (m.get("content") or "") for t in traces for m in t["messages"]
        )
        assert [m["role"] for m in traces[0]["messages"]] == ["system", "user", "assistant"]
        declared = sum(
            len(json.loads(r.value["instruction"].split("TOOLS]\n")[1].split("\n[END")[0]))
            for r in given
        )
        assert sum(len(t["tools"]) for t in traces) == declared == n_tools


def test_the_chat_templated_queries_are_those_of_the_plain_file(traces_folder: Path) -> None:
    folder = "xlam-apigen-query-tools-answers"
    plain, _ = read_all("xlam", records(traces_folder, folder, "hammer_toolalpaca.json")[:30])
    whole, _ = read_all("xlam", records(traces_folder, folder, "hammer2.1_*.json"))
    for one, other in zip(plain, whole, strict=True):
        assert one["messages"] == other["messages"][1:]
        assert one["tools"] == other["tools"]


def test_no_type_of_a_programming_language_is_left(traces_folder: Path) -> None:
    given = records(traces_folder, "xlam-apigen-query-tools-answers", "*.json")
    traces, _ = read_all("xlam", given)
    types: Counter[str] = Counter()
    for trace in traces:
        for tool in trace["tools"]:
            schema = json.loads(tool["parameters"])
            assert schema["type"] == "object"
            types.update(p.get("type") for p in schema["properties"].values())
    assert set(types) <= {"string", "integer", "number", "boolean", "array"}


def test_an_empty_list_of_calls_is_the_answer_or_refused_by_choice() -> None:
    value = records_of("xlam")[4].value
    assert read_one("xlam", value)["messages"][-1]["content"] == "[]"
    with pytest.raises(BadRecord) as caught:
        read_one("xlam", value, no_call="reject")
    assert caught.value.code == "no_call_wanted"
    kept = read_one("xlam", value, calls="as_text")
    assert kept["messages"][-1]["content"] == value["output"]
    assert "tools" not in kept


def bfcl(folder: Path) -> list[Record]:
    questions = records(folder, "bfcl", "*.json")
    return questions + records(folder, "bfcl", "possible_answer", "*.json")


def test_each_benchmark_question_meets_its_answer_and_trains_nothing(traces_folder: Path) -> None:
    given = bfcl(traces_folder)
    # Rows of the answers must not be those of the questions: the files share their names.
    given = [Record(f"{k}", k, r.value) for k, r in enumerate(given)]
    notes = Notes()
    traces = dialects.get("bfcl").read(given, notes, {})
    check_conservation(given, traces, notes)
    assert (len(given), len(traces), len(notes.rejects)) == (1316, 658, 0)
    spoken = [m for t in traces for m in t["messages"] if m["role"] == "assistant"]
    assert {m["weight"] for m in spoken} == {0.0}
    assert not lost_leaves(dialects.get("bfcl"), [r.value for r in given], traces)
    answers = {r.value["id"]: r.value["ground_truth"] for r in given if "ground_truth" in r.value}
    n_calls = n_text = 0
    for trace in traces:
        truth = answers[trace["source_id"]]
        assert json.loads(trace["answer"]) == truth
        flat = [c for turn in truth for c in (turn if isinstance(turn, list) else [turn])]
        n_calls += sum(len(c) if isinstance(c, dict) else 1 for c in flat)
    for message in spoken:
        n_text += len((message.get("content") or "").splitlines())
    made = sum(len(m.get("tool_calls", ())) for m in spoken)
    assert made + n_text == n_calls


def test_a_reference_call_has_an_allowed_value_for_each_parameter(traces_folder: Path) -> None:
    given = [r for r in bfcl(traces_folder) if "multi_turn" not in r.file]
    given = [Record(f"{k}", k, r.value) for k, r in enumerate(given)]
    for trace in dialects.get("bfcl").read(given, Notes(), {}):
        truth = json.loads(trace["answer"])
        calls = trace["messages"][-1]["tool_calls"]
        for call, allowed in zip(calls, truth, strict=True):
            values = allowed[call["name"]]
            arguments = json.loads(call["arguments"])
            assert all(v in values[k] or isinstance(v, dict) for k, v in arguments.items())
            left_out = values.keys() - arguments.keys()
            assert all("" in values[name] or values[name] == [] for name in left_out)


# The others.


def test_a_reply_is_read_after_its_last_closing_tag(traces_folder: Path) -> None:
    given = records(traces_folder, "tool-call-rl-think-xml", "*.json")
    traces, _ = read_all("toolrl", given)
    n_calls = 0
    for record, trace in zip(given, traces, strict=True):
        reply = trace["messages"][-1]
        thought, _, rest = record.value["output"].rpartition("</think>")
        assert reply["reasoning"] == thought.strip().removeprefix("<think>").strip()
        lines = [line for line in rest.splitlines() if line.startswith('{"name"')]
        n_calls += len(lines)
        assert [c["name"] for c in reply.get("tool_calls", ())] == [
            json.loads(line)["name"] for line in lines
        ]
        n_users = record.value["input"].count("<user>")
        assert [m["role"] for m in trace["messages"]].count("user") == n_users
        n_declared = len(re.findall(r"^\d+\. Name: ", record.value["instruction"], re.MULTILINE))
        assert len(trace["tools"]) == n_declared
    assert n_calls > 100


def test_a_judged_run_is_parsed_out_of_the_prompt_of_its_judge(traces_folder: Path) -> None:
    given = records(traces_folder, "toolalpaca", "*.json")
    traces, notes = read_all("toolalpaca", given, viewpoint="judged")
    entries = [
        entry
        for name, held in given[0].value.items()
        if name != "statistics"
        for entry in held
        if entry["input"]
    ]
    assert (len(traces), notes.repairs["empty_run_skipped"]) == (len(entries), 1) == (99, 1)
    for entry, trace in zip(entries, traces, strict=True):
        solution = entry["input"][0]["content"].split("## AI Assistant's Solution\n")[1]
        n_steps = len(re.findall(r"^\d+\. Function: ", solution, re.MULTILINE))
        assert sum(len(m.get("tool_calls", ())) for m in trace["messages"]) == n_steps
        assert trace["messages"][-1]["content"]
        verdicts = {o["name"]: json.loads(o["value"]) for o in trace["outcomes"]}
        assert verdicts["process_correctness"] == entry["process_correctness"]
        assert {o["kind"] for o in trace["outcomes"]} == {"judge"}


def test_both_sides_of_a_pair_share_a_group_and_the_rejected_one_is_no_target(
    traces_folder: Path,
) -> None:
    given = records(traces_folder, "preference-pairs", "dpo_*.json")
    traces, _ = read_all("preference", given, side="both")
    assert len(traces) == 80
    for chosen, rejected in zip(traces[::2], traces[1::2], strict=True):
        about = [json.loads(trace["meta"]) for trace in (chosen, rejected)]
        assert [a["side"] for a in about] == ["chosen", "rejected"]
        assert about[0]["group_id"] == about[1]["group_id"]
        assert chosen["messages"][:-1] == rejected["messages"][:-1]
        assert "weight" not in chosen["messages"][-1]
        assert rejected["messages"][-1]["weight"] == 0.0
    (only, *_), _ = read_all("preference", given)
    assert only["messages"] == traces[0]["messages"]


def test_results_of_simulated_users_are_no_messages_of_the_agent() -> None:
    trace = read_one("tau2", records_of("tau2")[0].value)
    assert [m["role"] for m in trace["messages"]] == [
        *("system", "assistant", "user", "assistant", "tool", "tool", "assistant")
    ]
    assert [m.get("error") for m in trace["messages"] if m["role"] == "tool"] == [False, True]


def test_steps_that_were_cut_are_refused_with_what_is_wrong(traces_folder: Path) -> None:
    given = records(traces_folder, "toolbench", "tooleval_*.json")
    assert len(given) == 100
    for record in given:
        assert refusal("toolbench", record.value).startswith("steps_cut")
        messages = re.findall(r'"message": ("(?:[^"\\]|\\.)*")', json.dumps(record.value))
        assert max(len(json.loads(message)) for message in messages) == 100


def test_a_nested_answer_that_is_whole_is_read() -> None:
    record = records_of("toolbench")[3]
    trace = read_one("toolbench", record.value)
    step = as_read(record.value)["answer"]["answer_details"][2][0]
    assert isinstance(step, dict)
    assert ast.literal_eval(str(step)) == step
    assert [m["role"] for m in trace["messages"]] == [
        *("user", "assistant", "tool", "assistant", "assistant")
    ]
