"""Acceptance on real files: text agents lifted and as text, programs with outputs, step rewards.

Texts of the real files are known here as number of code points and first digits of a SHA-256.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tracekit import dialects
from tracekit.dialects import Notes, Record, code_blocks, react_text

Print = tuple[int, str]


def print_of(text: str | None) -> Print | None:
    if text is None:
        return None
    return len(text), hashlib.sha256(text.encode()).hexdigest()[:12]


def lines(path: Path) -> Iterator[Any]:
    for line in path.read_bytes().split(b"\n"):
        if line.strip():
            yield json.loads(line)


def read(name: str, value: Any, **options: str) -> list[dict[str, Any]]:
    return dialects.get(name).read([Record("f", 0, value)], Notes(), options)


# React trajectory, key 3522.

QUESTION = (41, "6d689fd1af0c")
STEPS = [
    ((91, "005e84809b15"), (22, "77686d0d8eaa"), (13, "3a76b47e7b4d")),
    ((91, "d62b5c1485fb"), (23, "650b90551a22"), (17, "fac2386da0c6")),
]
"""Thought, argument of `search`, result."""
LAST = ((118, "65408a364e85"), (12, "cfc03562d0ac"))
"""Thought and answer."""


@pytest.fixture(scope="module")
def episode(traces_folder: Path) -> dict[str, Any]:
    path = traces_folder / "react-trajectory" / "fireact_hotpotqa_gpt-3.5-turbo-ft.json"
    if not path.is_file():
        pytest.skip(f"no {path.name}")
    return {"id": "3522", **json.loads(path.read_bytes())["3522"]}


def test_an_episode_is_lifted_to_reasoning_calls_and_results(episode: dict[str, Any]) -> None:
    (trace,) = read("react", episode, calls="lift")
    messages = trace["messages"]
    assert [m["role"] for m in messages] == ["user", *["assistant", "tool"] * 2, "assistant"]
    assert print_of(messages[0]["content"]) == QUESTION
    for k, (thought, query, result) in enumerate(STEPS):
        said, answered = messages[1 + 2 * k], messages[2 + 2 * k]
        (call,) = said["tool_calls"]
        assert said.get("content") is None
        assert said["reasoning_kind"] == "lifted"
        assert print_of(said["reasoning"]) == thought
        assert (call["id"], call["name"]) == (f"call_{k}", "search")
        arguments = json.loads(call["arguments"])
        assert list(arguments) == ["query"]
        assert print_of(arguments["query"]) == query
        assert (answered["tool_call_id"], answered["name"]) == (f"call_{k}", "search")
        assert print_of(answered["content"]) == result
    assert "tool_calls" not in messages[5]
    assert (print_of(messages[5]["reasoning"]), print_of(messages[5]["content"])) == LAST
    assert [tool["name"] for tool in trace["tools"]] == ["search", "finish"]
    assert all(json.loads(tool["extra"])["inferred"] for tool in trace["tools"])
    assert trace["source_id"] == "3522"
    assert trace["answer"] == episode["gt"]
    outcomes = {o["name"]: (o["kind"], o["value"]) for o in trace["outcomes"]}
    assert outcomes["em"] == ("exact_match", "true")
    assert outcomes["reward"] == ("environment", "true")
    meta = json.loads(trace["meta"])
    assert (meta["f1"], meta["calls"]) == (1.0, "lifted")
    assert print_of(meta["trimmed"]) == (44, "24d41e2d2b1f")
    assert "search.query" in meta["inferred"]


def test_an_episode_stays_text_by_default(episode: dict[str, Any]) -> None:
    (trace,) = read("react", episode)
    found = [(m["role"], print_of(m["content"])) for m in trace["messages"]]
    assert found == [
        ("user", QUESTION),
        ("assistant", (139, "9cbc1da127cd")),
        ("user", (26, "f4ba38410949")),
        ("assistant", (140, "8619a477092c")),
        ("user", (30, "48cb057cafbb")),
        ("assistant", (156, "682e32ce27fc")),
    ]
    assert "tools" not in trace


def test_a_finish_may_stay_a_call(episode: dict[str, Any]) -> None:
    (trace,) = read("react", episode, calls="lift", finish="call")
    last = trace["messages"][-1]
    (call,) = last["tool_calls"]
    assert "content" not in last
    assert call["name"] == "finish"
    assert print_of(json.loads(call["arguments"])["answer"]) == LAST[1]


# Text agents in other dress.


def test_an_episode_as_one_text_is_the_same_trace_as_its_turns() -> None:
    turns = [
        ("user", "Which tree stands at the well?"),
        ("assistant", "Thought: I look.\nAction: search[tree at the well]"),
        ("user", "Observation: An elm,\nvery old."),
        ("assistant", "Thought: An elm.\nAction: finish[elm]"),
        ("user", "Observation: Episode finished, reward = 0.5"),
    ]
    chat = {"messages": [{"role": role, "content": text} for role, text in turns]}
    text = "\n".join(text for _, text in turns[1:]) + "\n"
    alpaca = {"instruction": turns[0][1], "input": "", "output": text}
    for calls in ("as_text", "lift"):
        assert read("react", alpaca, calls=calls) == read("react", chat, calls=calls)
    (trace,) = read("react", chat)
    assert trace["outcomes"] == [{"value": "0.5", "kind": "environment", "name": "reward"}]


@pytest.mark.parametrize(
    "reply",
    [
        "Thought: a\nAction: search[b]\nThought: c\nAction: search[d]",
        "Thought: a\nAction: click[b]",
        "Thought: I know it without an action.",
    ],
)
def test_a_turn_that_is_no_single_step_leaves_the_whole_record_as_text(reply: str) -> None:
    turns = [
        {"role": "user", "content": "Which?"},
        {"role": "assistant", "content": "Thought: a\nAction: search[b]"},
        {"role": "user", "content": "Observation: c"},
        {"role": "assistant", "content": reply},
    ]
    notes = Notes()
    record = Record("f", 0, {"messages": turns})
    (trace,) = dialects.get("react").read([record], notes, {"calls": "lift"})
    assert trace["messages"] == turns
    assert "tools" not in trace
    assert notes.repairs == {"steps_left_as_text": 1}


@pytest.mark.parametrize("environment", react_text.ENVIRONMENTS, ids=lambda e: e.name)
def test_an_instruction_loses_only_what_asks_for_the_written_form(
    environment: react_text.Environment,
) -> None:
    pieces = [environment.begins, " Be quick."]
    for first, behind in environment.cuts:
        pieces += [first, " so and so.", behind, " Mind the time."]
    written = "".join(pieces)
    cut = react_text.without_form(environment, written)
    assert cut is not None
    rest, removed = cut
    assert len(rest) + sum(map(len, removed)) == len(written)
    assert " so and so." not in rest
    assert rest.startswith(environment.begins + " Be quick.")
    if environment.cuts:
        assert react_text.without_form(environment, environment.begins) is None


def test_real_instructions_are_cut_and_their_steps_lifted(traces_folder: Path) -> None:
    folder = traces_folder / "agentinstruct-agenttuning"
    if not folder.is_dir():
        pytest.skip("no agentinstruct-agenttuning")
    done: Counter[str] = Counter()
    for path in sorted(folder.glob("*.json")):
        for value in json.loads(path.read_bytes()):
            notes = Notes()
            dialects.get("react").read([Record(path.name, 0, value)], notes, {"calls": "lift"})
            done[path.name.split(".")[0].partition("_")[2]] += "steps_lifted" in notes.repairs
    lifted = dict.fromkeys(("alfworld", "db", "kg", "os", "webshop"), 5)
    assert done == lifted | {"mind2web": 0}  # an answer to a choice, nothing is called


# Programs with their outputs.


def test_every_program_of_the_real_files_is_lifted_and_its_text_comes_back(
    traces_folder: Path,
) -> None:
    folder = traces_folder / "tool-integrated-math"
    if not folder.is_dir():
        pytest.skip("no tool-integrated-math")
    n_outputs = n_runs = 0
    for path in sorted(folder.glob("*.jsonl")):
        for value in lines(path):
            for text in value.get("code") or [value["messages"][1]["content"]]:
                found, rest = code_blocks.runs(text)
                n_outputs += text.count("```output\n")
                n_runs += len(found)
                assert code_blocks.unlift(found, rest).removesuffix("\n") == text.removesuffix("\n")
    assert n_outputs == n_runs == 528


def test_no_output_of_an_interpreter_is_text_of_the_assistant() -> None:
    text = "```python\nprint(1)\n```\n```output\n1\n```\nOne."
    value = {"question": "One?", "gt": "1", "code": [text]}
    (lifted,) = read("math_samples", value)
    assert [m["role"] for m in lifted["messages"]] == ["user", "assistant", "tool", "assistant"]
    (as_text,) = read("math_samples", value, calls="as_text")
    assert as_text["messages"][1]["content"] == text
    assert "tools" not in as_text


# Steps with values.


def test_paths_of_a_flat_tree_are_its_longest_prefixes(traces_folder: Path) -> None:
    path = traces_folder / "process-reward-tree" / "samples_math-aps.jsonl"
    if not path.is_file():
        pytest.skip(f"no {path.name}")
    for value in lines(path):
        question = value["question"]
        after = {
            step["solution_prefix"].removeprefix(question).lstrip()
            for step in value["reasoning_steps"]
        } - {""}
        longest = {p for p in after if not any(q != p and q.startswith(p) for q in after)}
        traces = read("reward_tree", value)
        said = [trace["messages"][1]["content"] for trace in traces]
        assert sorted(said) == sorted(longest)
        for trace, text in zip(traces, said, strict=True):
            place = 0
            for step in json.loads(trace["messages"][1]["meta"])["steps"]:
                place += step["chars"]
                assert text[:place] in after
            assert place == len(text)


def test_a_record_of_a_deep_chain_is_read_without_recursion() -> None:
    node: dict[str, Any] = {"text": "end", "mc_value": 1.0, "children": []}
    for _ in range(5000):
        node = {"text": "step", "mc_value": 0.5, "children": [node]}
    root = {"text": "?", "mc_value": 0.5, "children": [node]}
    (trace,) = read("reward_tree", {"question": "?", "reasoning_steps": root})
    assert trace["messages"][1]["content"].count("step") == 5000


@pytest.mark.parametrize("to", ["content", "reasoning"])
def test_a_rationale_is_content_or_reasoning_as_asked(to: str) -> None:
    steps = [
        {"completions": [{"text": text, "rating": 1}], "chosen_completion": 0}
        for text in ("Count on from three.", "So it is seven.\n\n# Answer\n\n7")
    ]
    rated = {
        "question": {"problem": "3 + 4?"},
        "label": {"steps": steps, "finish_reason": "solution"},
    }
    (trace,) = read("prm800k", rated, rationale_to=to)
    message = trace["messages"][1]
    (worked,) = read(
        "question_answer",
        {"question": "3 + 4?", "answer": "Count on.\n#### 7"},
        rationale_to=to,
    )
    other = worked["messages"][1]
    if to == "content":
        assert message["content"] == "Count on from three.\nSo it is seven.\n\n# Answer\n\n7"
        assert other["content"] == "Count on.\n#### 7"
        assert "reasoning" not in message | other
    else:
        assert message["reasoning"] == "Count on from three."
        assert message["content"] == "So it is seven.\n\n# Answer\n\n7"
        assert (other["reasoning"], other["content"]) == ("Count on.", "#### 7")
        assert message["reasoning_kind"] == other["reasoning_kind"] == "rationale"


def test_samples_of_one_problem_share_their_task(traces_folder: Path) -> None:
    path = traces_folder / "math-samples-multi" / "qwen2.5-math_math_cot.head22.jsonl"
    if not path.is_file():
        pytest.skip(f"no {path.name}")
    value = next(lines(path))
    traces = read("math_samples", value)
    assert len(traces) == len(value["response"])
    assert {trace["task_key"] for trace in traces} == {str(value["idx"])}
    for k, trace in enumerate(traces):
        assert trace["messages"][-1]["content"] == value["response"][k]
        verdicts = {o["name"]: json.loads(o["value"]) for o in trace["outcomes"]}
        assert verdicts == {"score": value["score"][k], "pred_score": value["pred_score"][k]}
