"""The built-in sample is the same everywhere, and what it says about itself is true."""

import gzip
import hashlib
import itertools
import json
import re
import subprocess
import sys
from collections import Counter

import pytest

from tracekit.sample import planted, truth, write_sample
from tracekit.sample.wording import Dice, say

# SHA-256 over all names and bytes. A change of the sample changes it, and nothing else may.
DIGEST = "dfeb9ab6ad4dd0e34a8412f5b090147724a386390df67c779f855d12fff101d3"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("sample")
    write_sample(path)
    return path


@pytest.fixture(scope="module")
def lines(folder):
    """Records of every file as text, by name below the sample."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".json":
            found[name] = [json.dumps(r, ensure_ascii=False) for r in json.loads(text)]
        else:
            assert text.endswith("\n")
            found[name] = text[:-1].split("\n")
    return found


def value_at(lines, place):
    return json.loads(lines[place.file][place.row])


def test_the_files_that_are_named_are_the_files_that_are_written(folder, tmp_path):
    files = write_sample(tmp_path)
    assert sorted(files) == sorted(p for p in tmp_path.rglob("*") if p.is_file())
    assert {p.relative_to(tmp_path).parts[0] for p in files} == {
        *("alpaca", "anthropic", "claude_code", "openai", "openai_agents"),
        *("prompt_response", "questions", "sharegpt"),
    }
    assert sum(p.stat().st_size for p in files) < 2_000_000


def test_the_bytes_are_the_same_everywhere(folder):
    digest = hashlib.sha256()
    for name in sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()):
        digest.update(name.encode() + b"\0" + (folder / name).read_bytes())
    assert digest.hexdigest() == DIGEST


def test_the_bytes_do_not_depend_on_the_hash_seed_of_the_process(tmp_path):
    code = (
        "import hashlib, sys; from tracekit.sample.planting import made;"
        "print(hashlib.sha256(b''.join(made()[0].values())).hexdigest())"
    )
    prints = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(prints) == 1


def test_gzip_of_the_sample_is_read_by_gzip_and_states_its_size(folder):
    data = (folder / "openai_agents/loops.jsonl.gz").read_bytes()
    plain = gzip.decompress(data)
    assert int.from_bytes(data[-4:], "little") == len(plain) > 0xFFFF
    assert data[4:8] == b"\0\0\0\0"


def test_counts_are_the_counts_of_the_truth(lines):
    assert sum(planted().values()) == len(truth())
    for place in truth():
        assert 0 <= place.row < len(lines[place.file])
    n_records = sum(len(found) for found in lines.values())
    assert 400 <= n_records <= 500


def test_one_line_is_broken_for_each_that_is_said_to_be(lines):
    broken = set()
    for name, found in lines.items():
        for row, line in enumerate(found):
            try:
                json.loads(line)
            except ValueError:
                broken.add((name, row))
    assert broken == {(p.file, p.row) for p in truth() if p.code == "invalid_json"}


def _mark(pattern):
    return lambda line: re.search(pattern, line) is not None


@pytest.mark.parametrize(
    ("code", "carries"),
    [
        ("control_tokens", _mark(r"<\|(im_start|im_end|endoftext)\|>")),
        ("line_separator", _mark("\u2028")),
        ("lone_surrogate", _mark(r"\\ud83d(?!\\u)")),
        ("truncated", _mark('"finish_reason":"length"')),
        ("unknown_role", _mark('"role":"(critic|narrator)"')),
        ("empty_target", _mark('"role":"assistant","content":""}')),
        ("unknown_tool", _mark('"name":"reserve_seat_v2"')),
        ("unclosed_think", _mark(r'"Let me see\.\\n<think>(?!.*</think>)')),
        ("think_unclosed", _mark('"response":"<think>(?!.*</think>)')),
    ],
)
def test_a_planted_thing_stands_where_the_truth_says_and_nowhere_else(lines, code, carries):
    found = {
        (name, row)
        for name, texts in lines.items()
        for row, line in enumerate(texts)
        if carries(line)
    }
    assert found == {(p.file, p.row) for p in truth() if p.code == code}


def test_results_out_of_order_and_broken_arguments_are_only_where_they_are_planted(lines):
    turned, broken = set(), set()
    for name in ("openai/chat.jsonl", "openai_agents/loops.jsonl.gz"):
        for row, line in enumerate(lines[name]):
            if any(p.code == "invalid_json" and (p.file, p.row) == (name, row) for p in truth()):
                continue
            waiting = []
            for message in json.loads(line)["messages"]:
                for call in message.get("tool_calls", ()):
                    waiting.append(call["id"])
                    try:
                        assert isinstance(json.loads(call["function"]["arguments"]), dict)
                    except ValueError:
                        broken.add((name, row))
                if message["role"] == "tool":
                    if message["tool_call_id"] != waiting[0]:
                        turned.add((name, row))
                    waiting.remove(message["tool_call_id"])
            assert not waiting
    assert turned == {(p.file, p.row) for p in truth() if p.code == "results_reordered"}
    assert broken == {(p.file, p.row) for p in truth() if p.code == "arguments_not_object"}


def _texts(record):
    """(task, target) of a record of any folder but the sessions, think tags cut out."""
    if "instruction" in record:
        task, target = f"{record['instruction']} {record['input']}", record["output"]
    elif "question" in record:
        task, target = record["question"], record["answer"]
    elif "prompt" in record:
        task, target = record["prompt"], record["response"]
    elif "conversations" in record:
        turns = record["conversations"]
        task = turns[0]["value"]
        target = " ".join(t["value"] for t in turns if t["from"] in ("gpt", "function_call"))
    else:
        turns = record.get("messages") or [
            *record["request"]["messages"],
            record["response"]["choices"][0]["message"],
        ]
        task = next(m["content"] for m in turns if m["role"] == "user")
        target = " ".join(_said(m) for m in turns if m["role"] == "assistant")
    return task, re.sub("</?think>", " ", target)


def _said(message):
    if isinstance(message["content"], list):
        blocks = message["content"]
        return " ".join(
            b.get("thinking") or b.get("text") or json.dumps(b["input"]) for b in blocks
        )
    calls = " ".join(c["function"]["arguments"] for c in message.get("tool_calls", ()))
    return f"{message.get('reasoning_content') or ''} {message['content'] or ''} {calls}"


def _shingles(text):
    words = re.findall(r"\w+", text.lower())
    return frozenset(tuple(words[k : k + 5]) for k in range(len(words) - 4))


def _similarity(a, b):
    return len(a & b) / len(a | b) if a or b else 0.0


@pytest.fixture(scope="module")
def shingles(lines):
    broken = {(p.file, p.row) for p in truth() if p.code == "invalid_json"}
    return {
        (name, row): tuple(_shingles(t) for t in _texts(json.loads(line)))
        for name, found in lines.items()
        if not name.startswith("claude_code/")
        for row, line in enumerate(found)
        if (name, row) not in broken
    }


def test_planted_copies_are_similar_and_no_other_pair_is(shingles):
    twins = {frozenset(((p.file, p.row), p.twin)) for p in truth() if p.twin}
    for a, b in itertools.combinations(shingles, 2):
        by_task, by_target = map(_similarity, shingles[a], shingles[b])
        if frozenset((a, b)) in twins:
            assert by_task == 1.0
            assert by_target >= 0.82, (a, b, by_target)
        else:
            assert max(by_task, by_target) < 0.6, (a, b, by_task, by_target)


def test_exact_copies_say_the_same_and_near_copies_do_not(lines):
    for place in truth():
        if place.twin is None:
            continue
        copy = _texts(value_at(lines, place))
        name, row = place.twin
        original = _texts(json.loads(lines[name][row]))
        same = [" ".join(t.split()) for t in copy] == [" ".join(t.split()) for t in original]
        assert same == (place.code == "exact_duplicate")


def test_a_loop_repeats_one_block_again_and_again(lines):
    looped = {(p.file, p.row) for p in truth() if p.code == "loop"}
    for name, found in lines.items():
        for row, line in enumerate(found):
            if name.startswith(("openai/", "prompt_response/")) and '"messages"[' not in line:
                _, target = _texts(json.loads(line))
                words = re.findall(r"\w+", target)
                distinct = len(_shingles(target)) / max(1, len(words) - 4)
                assert (distinct < 0.4) == ((name, row) in looped and bool(words)) or not words


def test_every_stated_product_sum_and_quotient_is_right(lines):
    n_checked = 0
    for line in lines["questions/word_problems.jsonl"]:
        for a, op, b, result in re.findall(
            r"(?<![+×/-] )\b(\d+) ([+×/-]) (\d+) = (\d+)", json.loads(line)["answer"]
        ):
            right = {"+": int.__add__, "-": int.__sub__, "×": int.__mul__, "/": int.__floordiv__}
            assert right[op](int(a), int(b)) == int(result), line
            n_checked += 1
    assert n_checked > 60


def test_sessions_link_every_line_to_one_before_it(lines):
    for name, found in lines.items():
        if not name.startswith("claude_code/"):
            continue
        seen = {None}
        for line in map(json.loads, found):
            if "uuid" in line:
                assert line["parentUuid"] in seen
                seen.add(line["uuid"])
        replies = [r["message"]["id"] for r in map(json.loads, found) if r["type"] == "assistant"]
        assert len(replies) > len(set(replies))
    agents = [n for n in lines if "/subagents/agent-" in n]
    assert len(agents) == 1
    agent = agents[0].rsplit("agent-", 1)[1].removesuffix(".jsonl")
    assert any(f'"agentId":"{agent}"' in line for n in lines for line in lines[n] if n != agents[0])


def test_dice_give_the_numbers_of_the_published_splitmix64():
    dice = Dice(1234567)
    assert dice.below(1 << 64) == 6457827717110365317
    assert dice.below(1 << 64) == 3203168211198807973


def test_a_wording_leaves_no_alternative_and_no_slot_open():
    for seed in range(50):
        text = say(Dice(seed), "[a|b {x}] [c|[d|e]] f", x=1)
        assert re.fullmatch(r"(a|b 1) [cde] f", text)


@pytest.mark.slow
def test_the_demo_finds_what_is_planted_and_nothing_else_of_the_kind(tmp_path):
    import pyarrow.parquet as pq

    command = [sys.executable, "-m", "tracekit", "--format", "quiet", "demo", str(tmp_path)]
    subprocess.run(command, check=True)

    def found(pattern, column="code"):
        names = [pq.read_table(p)[column].to_pylist() for p in tmp_path.glob(pattern)]
        return Counter(code for part in names for code in part)

    said = Counter(planted())
    # Both dialects leave a note of a block that never closes, and both notes become the finding.
    said["unclosed_think"] += said["think_unclosed"]
    ledger = found("work/ledger/ledger.parquet")
    decided = (
        *("exact_duplicate", "near_duplicate", "loop", "truncated", "control_tokens"),
        *("arguments_not_object", "unknown_tool", "empty_target", "unclosed_think"),
    )
    assert {c: ledger[c] for c in decided} == {c: said[c] for c in decided}
    rejected = {c: said[c] for c in ("invalid_json", "no_assistant_message", "unknown_role")}
    assert found("work/rejects/*/*.parquet") == rejected
