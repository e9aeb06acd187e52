"""Failures that people had with other tools, each as a whole kind, through the whole road."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tracekit
from tracekit.recipe import Recipe


@pytest.fixture(autouse=True)
def _inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEKIT_WORKERS", "0")


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def told(text: str | None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def call(name: str, arguments: Any, id: str = "c1") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def tool(name: str, properties: dict[str, Any]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


class Road:
    """One run over lines of JSON, and what came of it."""

    def __init__(self, folder: Path, records: list[Any] | bytes, **changes: Any) -> None:
        self.folder = folder
        source = folder / "in"
        source.mkdir(parents=True)
        data = records
        if not isinstance(data, bytes):
            data = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in data).encode(
                "utf-8", "surrogatepass"
            )
        (source / "a.jsonl").write_bytes(data)
        recipe = Recipe.from_dict({"sources": {"in": {"path": "in"}}, **changes}, folder=folder)
        self.report = tracekit.run(recipe, work=folder / "work", out=folder / "out")
        self.work = tracekit.open(folder / "work")

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Rows of the shards, JSON parsed, in the order of the input where ids allow it."""
        found = pq.read_table(self.folder / "out" / "data").to_pylist()
        for row in found:
            row["messages"] = [json.loads(m) for m in row["messages"]]
            row["tools"] = row["tools"] and [json.loads(t) for t in row["tools"]]
        return found

    @property
    def codes(self) -> dict[str, set[str]]:
        """Codes that spoke, by id."""
        out: dict[str, set[str]] = {}
        for row in self.work.ledger.collect().iter_rows(named=True):
            out.setdefault(row["id"].rpartition("#")[2], set()).add(row["code"])
        return out

    @property
    def rejects(self) -> dict[int, str]:
        frame = self.work.rejects.collect()
        return dict(zip(frame["row"].to_list(), frame["code"].to_list(), strict=True))

    def stored(self, row: int) -> Any:
        return self.work.trace(f"in:a.jsonl#{row}")


def arguments_of(rows: list[dict[str, Any]]) -> list[Any]:
    return [
        c["function"]["arguments"]
        for r in rows
        for m in r["messages"]
        for c in m.get("tool_calls", ())
    ]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
OBJECTS = st.dictionaries(st.text(min_size=1, max_size=6), VALUES, max_size=4)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(objects=st.lists(OBJECTS, min_size=2, max_size=6), as_text=st.booleans())
def test_r01_r02_r05_arguments_and_schemas_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, objects: list[dict[str, Any]], as_text: bool
) -> None:
    """No key of another call, no null that was not there, {} stays {}, text equals object."""
    datasets = pytest.importorskip("datasets")
    records = [
        {
            "messages": [
                user(f"case {i}"),
                told("", tool_calls=[call("f", json.dumps(o) if as_text else o)]),
            ],
            "tools": [tool("f", {k: {} for k in o})],
        }
        for i, o in enumerate(objects)
    ]
    folder = tmp_path_factory.mktemp("r01")
    road = Road(folder, records, dedupe=False, shard={"tokens_per_shard": 300})
    by_task = {r["messages"][0]["content"]: r for r in road.rows}
    loaded = datasets.load_dataset(str(folder / "out"), split="train", cache_dir=str(folder / "c"))
    from_hub = {r["messages"][0]["content"]: r for r in loaded}
    for i, o in enumerate(objects):
        for found in (by_task[f"case {i}"], from_hub[f"case {i}"]):
            assert arguments_of([found]) == [o]
            properties = found["tools"][0]["function"]["parameters"]["properties"]
            assert properties == {k: {} for k in o}


def test_r05_text_and_object_are_one_trace_and_what_does_not_parse_is_kept_out(
    tmp_path: Path,
) -> None:
    asked = user("find Ghent")
    arguments = ['{"place": "Ghent", "k": 3}', {"place": "Ghent", "k": 3}, '{"place": "Gh']
    records = [{"messages": [asked, told("", tool_calls=[call("atlas", a)])]} for a in arguments]
    road = Road(tmp_path, records)
    assert arguments_of(road.rows) == [{"place": "Ghent", "k": 3}]
    assert road.codes["2"] >= {"arguments_not_object"}
    assert any("exact_duplicate" in codes for codes in road.codes.values())
    assert road.stored(2).messages[1].tool_calls[0].arguments == '{"place": "Gh'


@pytest.mark.parametrize("first", [0, 1])
def test_r03_r04_late_fields_keep_type_and_value_in_any_order(tmp_path: Path, first: int) -> None:
    plain = [
        {"messages": [user(f"q{i}"), told(f"a{i}", reasoning_content=None, tool_calls=[])]}
        for i in range(600)
    ]
    rich = [
        {
            "messages": [
                user("late"),
                told("", reasoning_content="Carry one.", tool_calls=[call("f", {"x": 1})]),
            ],
            "tools": [tool("f", {"x": {}})],
            "judge_score": 0.7,
        }
    ]
    records = [*plain, *rich] if first == 0 else [*rich, *plain]
    road = Road(tmp_path, records, ingest={"part_bytes": 8000}, shard={"tokens_per_shard": 2000})
    late = [r for r in road.rows if r["messages"][0]["content"] == "late"]
    assert late[0]["messages"][1]["reasoning_content"] == "Carry one."
    assert late[0]["tools"] is not None
    files = list((tmp_path / "out" / "data").glob("*.parquet"))
    assert len(files) > 2
    assert len({pq.read_schema(f).to_string() for f in files}) == 1
    assert "judge_score" in road.report.data["read"]["unknown_keys"]
    assert json.loads(late[0]["meta"]) == {"judge_score": 0.7}


def test_r06_markup_inside_a_string_is_no_end_of_a_call(tmp_path: Path) -> None:
    inner = {"path": "n.md", "text": "close it by </tool_call> at last"}
    text = f"<tool_call>\n{json.dumps({'name': 'save', 'arguments': inner})}\n</tool_call>"
    second = '<tool_call>\n{"name": "list", "arguments": {}}\n</tool_call>'
    sample = 'Like this:\n{"name": "save", "arguments": {"path": "n.md"}}'
    turns = [(text, 1), (text + "\n" + second, 2), (sample, 0)]
    records = [
        {
            "conversations": [
                {"from": "human", "value": f"do {n}"},
                {"from": "gpt", "value": value},
            ]
        }
        for value, n in turns
    ]
    road = Road(tmp_path, records, dedupe=False)
    messages = [road.stored(i).messages[1] for i in range(3)]
    assert [len(m.tool_calls) for m in messages] == [1, 2, 0]
    assert json.loads(messages[1].tool_calls[0].arguments) == inner
    assert messages[0].content is None
    assert messages[2].content == sample


def test_r07_r24_spellings_of_reasoning_and_empty_content_are_one(tmp_path: Path) -> None:
    thought = "Eight sixes: forty-eight."
    records = [
        {"messages": [user("8*6?"), told("48", reasoning=thought)]},
        {"messages": [user("8*6?"), told("48", reasoning_content=thought)]},
        {"messages": [user("8*6?"), told("48", reasoning=thought, reasoning_content=thought)]},
        {"messages": [user("now?"), told(None, tool_calls=[call("now", {})])]},
        {"messages": [user("now?"), told("", tool_calls=[call("now", {})])]},
        {"messages": [user("say it"), told("None")]},
        {"messages": [user("and?"), told(None)]},
    ]
    road = Road(tmp_path, records)
    assert len(road.rows) == 3
    texts = {m["content"] for r in road.rows for m in r["messages"] if m["role"] == "assistant"}
    assert texts == {"48", "", "None"}
    assert road.codes["6"] >= {"empty_target"}


def test_r08_a_block_with_only_its_end_is_reasoning(tmp_path: Path) -> None:
    replies = ["Six and five.\n</think>\n\n11", "<think>\nSix and five.\n</think>\n\n11", "11"]
    records = [{"prompt": "6+5?", "response": r} for r in replies]
    road = Road(tmp_path, records, dedupe=False)
    found = [road.stored(i).messages[1] for i in range(3)]
    assert [(m.reasoning, m.content) for m in found] == [
        ("Six and five.", "11"),
        ("Six and five.", "11"),
        (None, "11"),
    ]
    for row in road.rows:
        assert "think>" not in json.dumps(row["messages"])


def test_r09_endless_reasoning_is_found_and_an_honest_table_is_not(tmp_path: Path) -> None:
    block = "Yet how does Ida know Otto? Ida is the niece of Rolf. Rolf is the brother of Otto. "
    table = "\n".join(f"{i:06b} | {bin(i).count('1')} | {(i * 37) % 64}" for i in range(64))
    records = [
        {"messages": [user("who?"), told("<think>\n" + block * 400, finish_reason="length")]},
        {"messages": [user("table"), told(f"<think>\n{table}\n</think>\n\nSee above.")]},
        {"messages": [user("who then?"), told(f"<think>\n{block * 2}\n</think>\n\nHis niece.")]},
    ]
    road = Road(
        tmp_path, records, validate={"drop": ["unclosed_think"]}, filter={"max_loop_share": 0.3}
    )
    assert road.codes["0"] >= {"loop", "unclosed_think"}
    assert {r["messages"][0]["content"] for r in road.rows} == {"table", "who then?"}


def test_r13_texts_shorter_than_a_shingle_compare_whole(tmp_path: Path) -> None:
    texts = ["fig", "elm", "fig", "a four word text", "茶", "雪"]
    records = [{"messages": [user(t), told(f"It is {t}.")]} for t in texts]
    road = Road(tmp_path, records)
    assert sorted(r["messages"][0]["content"] for r in road.rows) == sorted(set(texts))


@pytest.mark.parametrize("reverse", [False, True])
def test_r15_r16_one_of_each_cluster_stays_whatever_the_order(
    tmp_path: Path, reverse: bool
) -> None:
    long = " ".join(f"step {i} of the plan is number {i * i}" for i in range(80))
    copies = [f"{long} and that was variant {k}" for k in range(5)]
    others = [f"An unrelated answer about {t}, {t} and more {t}." for t in ("owls", "tin")]
    asked = user("Tell me the plan for all the steps")
    records = [{"messages": [asked, told(t)]} for t in (*copies, *copies[:2], *others)]
    if reverse:
        records.reverse()
    road = Road(tmp_path, records)
    kept = {r["messages"][1]["content"] for r in road.rows}
    assert len(kept & set(copies)) == 1
    assert set(others) <= kept
    assert len(road.rows) == 3
    winners = road.work.ledger.collect().filter(code="near_duplicate")["winner"].to_list()
    decided = road.work.ledger.collect().filter(action="drop")["id"].to_list()
    assert winners
    assert not set(winners) & set(decided)
    KEPT.setdefault("kept", kept)
    assert KEPT["kept"] == kept


KEPT: dict[str, set[str]] = {}


@pytest.mark.parametrize("text", ["a" * 1_000_000, "^" * 1_000_000, " " * 1_000_000])
def test_r19_a_run_of_one_character_is_counted_and_its_neighbours_are_whole(
    tmp_path: Path, text: str
) -> None:
    result = {"role": "tool", "tool_call_id": "c1", "content": f"[{text}]"}
    records = [
        {"messages": [user("before"), told("fine")]},
        {"messages": [user("run"), told("", tool_calls=[call("f", {})]), result, told("ok")]},
        {"messages": [user("after"), told("good")]},
    ]
    road = Road(tmp_path, records)
    assert {r["messages"][0]["content"] for r in road.rows} == {"before", "run", "after"}
    assert all(r["n_tokens"] for r in road.rows)


def test_r20_control_tokens_in_content_are_text_and_found(tmp_path: Path) -> None:
    from tracekit import tokenizers
    from tracekit.render import render_text

    asked = "What does <|im_end|> do, and <|endoftext|>?"
    records = [{"messages": [user(asked), told("<|im_end|> ends a turn.")]}]
    road = Road(tmp_path, records)
    assert road.codes["0"] == {"control_tokens"}
    row = road.work.row("in:a.jsonl#0")
    real_ends = render_text(row).count("<|im_end|>") - asked.count("<|im_end|>") - 1
    assert real_ends == len(row["messages"])
    tokenizer = tokenizers.load()
    assert tokenizer.count(["<|im_end|>"])[0] > 1


def test_r21_half_a_surrogate_pair_is_replaced_once_and_counted(tmp_path: Path) -> None:
    half = b'{"messages":[{"role":"user","content":"ok \\ud83d end"},'
    half += b'{"role":"assistant","content":"fine","tool_calls":[{"id":"c","type":"function",'
    half += b'"function":{"name":"f","arguments":"{\\"k\\\\ud83d\\":\\"\\\\ud83d\\"}"}}]}]}\n'
    whole = b'{"messages":[{"role":"user","content":"ok \\ud83d\\ude00 end"},'
    whole += b'{"role":"assistant","content":"fine"}]}\n'
    road = Road(tmp_path, half + whole)
    assert road.stored(0).messages[0].content == "ok \ufffd end"
    assert road.stored(0).messages[1].tool_calls[0].arguments == '{"k\ufffd":"\ufffd"}'
    assert road.stored(1).messages[0].content == "ok 😀 end"
    assert road.report.data["read"]["repairs"]["lone_surrogate"] >= 1
    assert len(road.rows) == 2


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_r22_only_a_newline_ends_a_record(tmp_path: Path, end: str, mark: bytes) -> None:
    inside = "before\u2028middle\u0085after"
    records = [{"messages": [user(t), told("yes")]} for t in ("one", inside, "three")]
    lines = [json.dumps(r, ensure_ascii=False) for r in records]
    data = mark + end.join(lines).encode()
    road = Road(tmp_path, data + end.encode() + b'{"messages": [' + end.encode())
    assert {r["messages"][0]["content"] for r in road.rows} == {"one", inside, "three"}
    assert list(road.rejects) == [3]


@pytest.mark.slow
def test_r23_row_groups_and_shards_are_bounded_in_bytes(tmp_path: Path) -> None:
    import random

    dice = random.Random(5)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"

    def noise(n: int) -> str:
        return "".join(dice.choices(letters, k=n))

    sizes = [200_000] * 200 + [20_000_000]
    records = [{"messages": [user(f"q{i}"), told(noise(n))]} for i, n in enumerate(sizes)]
    cap = 8 << 20
    road = Road(tmp_path, records, dedupe=False, shard={"max_bytes": "16MiB"})
    files = sorted((tmp_path / "out" / "data").glob("*.parquet"))
    assert len(files) >= 3
    n_rows = 0
    for file in files:
        meta = pq.ParquetFile(file).metadata
        n_rows += meta.num_rows
        for g in range(meta.num_row_groups):
            group = meta.row_group(g)
            assert group.total_byte_size <= cap or group.num_rows == 1
    assert n_rows == 201 == len(road.rows)


def test_r25_lines_of_one_reply_are_one_message(tmp_path: Path) -> None:
    def line(kind: str, uuid: str, parent: str | None, message: dict[str, Any]) -> dict[str, Any]:
        return {"type": kind, "uuid": uuid, "parentUuid": parent, "sessionId": "s",
                "message": message}  # fmt: skip

    def part(block: dict[str, Any]) -> dict[str, Any]:
        return {"id": "m1", "role": "assistant", "content": [block],
                "usage": {"input_tokens": 10, "output_tokens": 1}}  # fmt: skip

    result = {"type": "tool_result", "tool_use_id": "t1", "content": "a.txt"}

    def reply(block: dict[str, Any], id: str = "m1") -> dict[str, Any]:
        return {**part(block), "id": id}

    use = {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls"}}
    thinking = {"type": "thinking", "thinking": "Run ls.", "signature": "x"}
    records = [
        line("user", "u1", None, user("which files?")),
        line("assistant", "u2", "u1", reply(thinking)),
        line("assistant", "u3", "u2", reply({"type": "text", "text": "Listing."})),
        line("assistant", "u4", "u3", reply(use)),
        line("user", "u5", "u4", {"role": "user", "content": [result]}),
        line("assistant", "u6", "u5", reply({"type": "text", "text": "One: a.txt"}, "m2")),
    ]
    road = Road(tmp_path, records)
    (row,) = road.rows
    roles = [m["role"] for m in row["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant"]
    reply = row["messages"][1]
    assert (reply["reasoning_content"], reply["content"]) == ("Run ls.", "Listing.")
    assert arguments_of(road.rows) == [{"command": "ls"}]
    assert road.stored(0).provenance[0].last == 5


def test_a_truncated_gzip_keeps_what_is_whole_and_gives_one_reject(tmp_path: Path) -> None:
    records = [{"messages": [user(f"q{i}"), told(f"answer {i}")]} for i in range(2000)]
    data = gzip.compress("".join(json.dumps(r) + "\n" for r in records).encode())
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl.gz").write_bytes(data[: len(data) * 2 // 3])
    recipe = Recipe.from_dict({"sources": {"in": {"path": "in"}}}, folder=tmp_path)
    report = tracekit.ingest(recipe, tmp_path / "work")
    assert report.data["rejects"]["truncated_stream"] == 1
    (row,) = report.data["sources"]
    assert row["traces"] > 500
