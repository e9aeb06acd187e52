"""How many conversations the folders of real files hold, counted without tracekit.

One small function a folder, on plain JSON values: a second opinion on what its dialects make of it.
What a conversation is in each is said in words. Where a dialect gives another number, the page of
formats has a sentence that says why.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Count = Callable[[Path], int]


def values(path: Path) -> list[Any]:
    """JSON values of a file: its lines, or its one document. Broken lines are left out."""
    raw = path.read_bytes()
    try:
        return [json.loads(raw)]
    except ValueError:
        found = []
        for line in raw.split(b"\n"):
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found


def entries(path: Path) -> list[Any]:
    """Lines, elements of the one array, or the one object of a file."""
    found = values(path)
    return found[0] if len(found) == 1 and isinstance(found[0], list) else found


def files(folder: Path, *patterns: str) -> list[Path]:
    return sorted({p for pattern in patterns for p in folder.rglob(pattern) if p.is_file()})


def all_json(folder: Path) -> list[Path]:
    return [p for p in files(folder, "*") if ".json" in p.name or p.suffix == ".traj"]


def every(folder: Path) -> Iterator[Any]:
    for path in all_json(folder):
        yield from entries(path)


def dicts(folder: Path) -> Iterator[dict[str, Any]]:
    yield from (value for value in every(folder) if isinstance(value, dict))


def records(folder: Path) -> int:
    return sum(1 for _ in every(folder))


def with_keys(*keys: str) -> Count:
    return lambda folder: sum(all(k in value for k in keys) for value in dicts(folder))


def one_a_file(*patterns: str) -> Count:
    return lambda folder: len(files(folder, *patterns))


def has_any(text: str, *words: str) -> bool:
    return any(word in text for word in words)


# Folders whose number needs a look into the records.


def speaking_files(folder: Path) -> int:
    """Session logs in which a model speaks; a tree of small files counts by its session file."""
    says = re.compile(
        r'"(?:role|type|source|kind)" ?: ?"(?:assistant|assistant\.message|model|MODEL|gemini|'
        r'agent|response_item|ContentPart|completion|PLANNER_RESPONSE)"'
    )
    n = 0
    for path in all_json(folder):
        if "opencode" in path.parts:
            n += "session" in path.parts[-3:-1] or "session" in path.parts
        elif path.name not in ("summary.json", "state.json"):
            n += bool(says.search(path.read_text("utf-8", "replace")))
    return n


def anthropic(folder: Path) -> int:
    """Exchanges whose reply is a message, streamed or not."""
    n = 0
    for value in dicts(folder):
        reply = value.get("response")
        text = reply if isinstance(reply, str) else json.dumps(reply)
        n += "message_start" in text if isinstance(reply, str) else '"type": "message"' in text
    return n


def chat_choices(folder: Path) -> int:
    """Choices of the replies; a stream is one, an error or a reply without a body is none."""
    n = 0
    for value in dicts(folder):
        reply = value.get("response")
        if isinstance(reply, str):
            n += '"choices"' in reply and '"error"' not in reply
        elif isinstance(reply, dict) and isinstance(reply.get("choices"), list):
            n += len(reply["choices"])
    return n


def autogen(folder: Path) -> int:
    """Recorded calls with a reply, and the one saved chat."""
    chats = sum("response" in v and bool(v.get("messages")) for v in dicts(folder))
    return chats + sum("response" not in v and "messages" in v for v in dicts(folder))


def claude_sessions(folder: Path) -> int:
    """Sessions by id, and sub-agents by theirs, in which an assistant line stands."""
    found = set()
    for path in all_json(folder):
        for value in values(path):
            if isinstance(value, dict) and value.get("type") == "assistant":
                agent = value.get("agentId") if value.get("isSidechain") else None
                found.add((value.get("sessionId") or path.name, agent))
    return len(found)


def files_with(*words: str) -> Count:
    def count(folder: Path) -> int:
        return sum(has_any(p.read_text("utf-8", "replace"), *words) for p in all_json(folder))

    return count


def gemini_candidates(folder: Path) -> int:
    """Replies with a candidate; a stream is one."""
    n = 0
    for value in dicts(folder):
        reply = value.get("response")
        n += '"candidates"' in (reply if isinstance(reply, str) else json.dumps(reply))
    return n


def gsm8k(folder: Path) -> int:
    """A worked answer is one; of the model solutions each of the four is one."""
    return sum(
        sum(isinstance(v, dict) and "solution" in v for v in value.values())
        if "ground_truth" in value
        else 1
        for value in dicts(folder)
    )


def atif(folder: Path) -> int:
    """Trajectories with an agent step, rows of conversations, and native logs."""
    n = 0
    for path in all_json(folder):
        for value in values(path):
            if isinstance(value, list) and value and "conversations" in value[0]:
                n += len(value)
            elif isinstance(value, dict) and "steps" in value:
                n += any(step.get("source") == "agent" for step in value["steps"])
            else:
                n += 1
    return n


def harmony(folder: Path) -> int:
    """Renderings and trials in which the assistant has a message."""
    return sum(
        bool(re.search(r"<\|start\|>assistant.{0,200}?<\|message\|>", p.read_text("utf-8"), re.S))
        for p in files(folder, "*.txt", "*.md")
    )


def inspect_samples(folder: Path) -> int:
    """Samples with an assistant message; those of an archive from its members."""
    n = 0
    for path in files(folder, "*.json", "*.eval"):
        if path.suffix == ".eval":
            with zipfile.ZipFile(path) as archive:
                names = [m for m in archive.namelist() if m.startswith("samples/")]
                samples = [json.loads(archive.read(name)) for name in names]
        else:
            samples = values(path)[0].get("samples") or []
        n += sum(
            any(m.get("role") == "assistant" for m in sample.get("messages") or ())
            for sample in samples
        )
    return n


def langsmith(folder: Path) -> int:
    """Runs of a model that were posted; a patch tells how one of them ended."""
    return sum(run.get("run_type") == "llm" for value in dicts(folder) for run in value["post"])


def otel(folder: Path) -> int:
    """Operations that ask a model: each has a span of the SDK, and one of the call inside of it."""
    spans: list[dict[str, Any]] = []
    for value in every(folder):
        held = value.values() if "attributes" not in value else [[value]]
        spans += [span for group in held for span in group]
    asks = ("ai.generateText", "ai.generateObject", "ai.streamText")
    return sum(span["name"] in asks for span in spans)


def math_samples(folder: Path) -> int:
    return sum(len(value["code"]) for value in dicts(folder))


def openhands(folder: Path) -> int:
    """Histories with an event of the agent; the predictions hold none."""
    n = 0
    for path in all_json(folder):
        for value in values(path):
            if isinstance(value, list):
                n += any(e.get("source") == "agent" and "action" in e for e in value)
            elif "history" in value:
                n += 1
    return n + files_with('"kind": "ActionEvent"', '"kind":"ActionEvent"')(folder)


def responses(folder: Path) -> int:
    """Exchanges with a reply, less those that a later one continues by id."""
    replies: dict[str, bool] = {}
    n = n_continued = 0
    for value in dicts(folder):
        request, reply = value.get("request") or {}, value.get("response")
        text = reply if isinstance(reply, str) else json.dumps(reply)
        if '"output"' not in text:
            continue
        n += 1
        for found in re.findall(r'"id": ?"(resp_[A-Za-z0-9]+)"', text)[:1]:
            replies[found] = True
        n_continued += replies.get(str(request.get("previous_response_id")), False)
    return n - n_continued


def pairs(folder: Path) -> int:
    """One chosen or wanted side each."""
    return records(folder)


def prm(folder: Path) -> int:
    return sum("label" in value for value in dicts(folder))


def leaves_of_trees(folder: Path) -> int:
    """Leaves of the trees, and prefixes that no other prefix of their record continues."""

    def leaves(node: dict[str, Any]) -> int:
        return sum(map(leaves, node["children"])) if node.get("children") else 1

    n = 0
    for value in dicts(folder):
        steps = value["reasoning_steps"]
        if isinstance(steps, dict):
            n += leaves(steps)
        else:
            texts = {step["solution_prefix"] for step in steps}
            n += sum(not any(o != t and o.startswith(t) for o in texts) for t in texts)
    return n


def toolalpaca(folder: Path) -> int:
    """Judged runs in which the agent made a step."""
    return sum(
        "1. Function:" in json.dumps(run)
        for value in dicts(folder)
        for held in value.values()
        if isinstance(held, list)
        for run in held
    )


def toolbench(folder: Path) -> int:
    """An answer file is one; the evaluation file has one a query."""
    n = 0
    for path in all_json(folder):
        value = values(path)[0]
        n += 1 if "tree" in value else len(value)
    return n


def keyed(folder: Path) -> int:
    return sum(len(value) for value in dicts(folder))


def parquet_rows(folder: Path) -> int:
    import pyarrow.parquet as pq

    return sum(pq.ParquetFile(path).metadata.num_rows for path in files(folder, "*.parquet"))


def speakers(folder: Path) -> int:
    """One for each model that speaks in a history: no human, no terminal, no browser.

    What the log has of those that browse and read is what their tools showed.
    """
    tools = {"human", "user", "Computer_terminal", "ComputerTerminal", "WebSurfer", "FileSurfer"}
    n = 0
    for value in dicts(folder):
        names = {re.sub(r" \(.*", "", t.get("name") or t["role"]) for t in value["history"]}
        n += len(names - tools)
    return n


def tau2(folder: Path) -> int:
    return sum(bool(v.get("messages")) or bool(v.get("ticks")) for v in dicts(folder))


def interactions(folder: Path) -> int:
    """Requests of a cassette that were answered with success."""
    found = "\n".join(p.read_text("utf-8") for p in files(folder, "*.yaml"))
    return len(re.findall(r"^      code: 200$", found, re.M))


def swe_agent(folder: Path) -> int:
    return len(files(folder, "*.traj"))


COUNTS: dict[str, tuple[str, Count]] = {
    "agent-cli-sessions": ("logs in which a model speaks", speaking_files),
    "agent-data-protocol": ("records", records),
    "agentinstruct-agenttuning": ("records", records),
    "alpaca": ("records", records),
    "anthropic-managed-agent-events": ("files", one_a_file("*.jsonl")),
    "anthropic-messages-api": ("exchanges with a message", anthropic),
    "autogen": ("calls with a reply, chats", autogen),
    "bfcl": ("questions", with_keys("question")),
    "claude-code-session": ("sessions and sub-agents that speak", claude_sessions),
    "codeact-instruct": ("records", records),
    "codex-rollout": ("files", one_a_file("*.jsonl")),
    "gemini-cli-session": ("files in which the model speaks", files_with('"gemini"')),
    "gemini-generate-content": ("exchanges with a candidate", gemini_candidates),
    "gpt-oss-request-logs": ("records", records),
    "gsm8k": ("answers and model solutions", gsm8k),
    "harbor-atif": ("trajectories, rows, native logs", atif),
    "harmony": ("files in which the assistant speaks", harmony),
    "inspect-eval-log": ("samples with an assistant message", inspect_samples),
    "langfuse-trace": ("exported traces", one_a_file("*.trace.json")),
    "langsmith-run": ("runs of a model", langsmith),
    "litellm-request-response": ("files", one_a_file("*.json")),
    "llamafactory-v1-content-parts": ("records", records),
    "math-samples-multi": ("sampled solutions", math_samples),
    "math-solutions": ("records", records),
    "mini-swe-agent": ("files", one_a_file("*.json")),
    "model-outputs-with-defects": ("records", records),
    "nebius-swe-agent-trajectory": ("records", records),
    "nemo-skills": ("records", records),
    "openai-chat-completions-api": ("choices of replies", chat_choices),
    "openai-chat-finetune": ("records", records),
    "openai-chat-sft-tools": ("records", lambda f: sum(len(values(p)) for p in all_json(f))),
    "openai-responses-api": ("exchanges that no other continues by id", responses),
    "openhands-events": ("histories with an agent's event", openhands),
    "orca-agentinstruct": ("records", records),
    "otel-genai-spans": ("operations that ask a model", otel),
    "parquet": ("rows", parquet_rows),
    "preference-pairs": ("records, one side each", pairs),
    "prm800k": ("labelled solutions", prm),
    "process-reward-tree": ("leaves, longest prefixes", leaves_of_trees),
    "react-trajectory": ("keys", keyed),
    "reasoning-augmented-eval": ("records", records),
    "reflexion": ("records", records),
    "sharegpt-llamafactory-tools": ("records", records),
    "sharegpt-plain": ("records", records),
    "swe-agent-traj": ("trajectory files", swe_agent),
    "swe-gym-openai-messages": ("records", records),
    "swe-smith-messages": ("records", records),
    "tau-bench": ("records", records),
    "tau2-bench": ("simulations that say something", tau2),
    "terminus-terminal-agent": ("files", one_a_file("*.json")),
    "think-tags": ("records", records),
    "tool-call-rl-think-xml": ("records", records),
    "tool-integrated-math": ("records", records),
    "toolalpaca": ("judged runs with a step", toolalpaca),
    "toolbench": ("answer files and queries", toolbench),
    "tooltalk": ("files", one_a_file("*.json")),
    "toucan": ("records", records),
    "vcr-cassettes": ("answered requests", interactions),
    "vscode-chatreplay": ("prompts", lambda f: sum(len(v["prompts"]) for v in dicts(f))),
    "web-agent": ("records", records),
    "who-and-when-multiagent": ("speaking agents", speakers),
    "xlam-apigen-query-tools-answers": ("records", records),
}
"""Folder to (what is counted, how)."""


def conversations(folder: Path) -> tuple[str, int]:
    """What is counted in a folder, and how many there are."""
    what, count = COUNTS.get(folder.name, ("records", records))
    return what, count(folder)


if __name__ == "__main__":
    import sys

    for home in sorted(p for p in Path(sys.argv[1]).iterdir() if p.is_dir()):
        what, n = conversations(home)
        print(f"{home.name}\t{n}\t{what}")
