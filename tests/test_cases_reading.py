"""Public cases R03, R04, R21, R22: what is read depends neither on order nor on odd characters."""

import json
import re
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from road import Road, call, fresh, lines, says, tool, travel, user
from tracekit.shard_rows import SHARD_SCHEMA


def talk(k: int, **more: Any) -> dict[str, Any]:
    return {"messages": [user(f"question {k}"), says(f"answer {k}")], **more}


def schemas(road: Road) -> set[str]:
    return {pq.read_schema(path).to_string() for path in road.shards}


def test_r03_a_field_that_is_null_in_5000_rows_and_then_given_keeps_its_type(tmp_path: Any) -> None:
    quiet = {"reasoning_content": None, "tool_calls": []}
    found = [
        {"messages": [user(f"question {k}"), says(f"answer {k}", **quiet)]} for k in range(5_000)
    ]
    loud = says(None, reasoning_content="Carry the one.", tool_calls=[call("sum", {"of": [1]})])
    found.append({"messages": [user("the one"), loud]})
    road = travel(
        tmp_path, {"a.jsonl": found}, dedupe=False, shard={"tokens_per_shard": 20_000},
        ingest={"part_bytes": 100_000},
    )  # fmt: skip
    rows = road.by_task()
    assert len(rows) == 5_001
    assert rows["the one"]["messages"][1] == {
        "role": "assistant",
        "content": "",
        "reasoning_content": "Carry the one.",
        "tool_calls": [call("sum", {"of": [1]})],
    }
    assert len(road.shards) > 3
    assert len(schemas(road)) == 1
    assert road.table().schema.names == SHARD_SCHEMA.names
    assert len(list((road.work / "traces").rglob("*.parquet"))) > 3
    for table in ("traces", "evidence/text", "evidence/tokens", "evidence/findings"):
        kinds = {pq.read_schema(p).to_string() for p in (road.work / table).rglob("*.parquet")}
        assert len(kinds) == 1


def test_r03_shards_without_any_call_tool_or_reasoning_have_the_same_schema(tmp_path: Any) -> None:
    bare = travel(tmp_path, {"a.jsonl": [talk(1), talk(2)]}, name="bare")
    none = travel(tmp_path, {"b.jsonl": [{"messages": [user("q"), says(None)]}]}, name="none")
    assert none.rows() == []
    full = travel(
        tmp_path,
        {"c.jsonl": [talk(1, tools=[tool("f")], answer="7", model="m", label=True, judge=1)]},
        name="full",
    )
    assert schemas(bare) == schemas(none) == schemas(full)
    assert len(schemas(full)) == 1


def test_r04_a_key_first_seen_after_row_100_is_kept_and_counted_in_either_order(
    tmp_path: Any,
) -> None:
    early = [talk(k) for k in range(100)]
    late = [talk(k, tools=[tool(f"t{k}")], judge_score=0.7) for k in range(100, 1000)]
    for name, found in (("on", early + late), ("back", (early + late)[::-1])):
        road = travel(tmp_path, {f"{name}.jsonl": found}, dedupe=False, name=name)
        rows = road.by_task()
        for k in range(1000):
            row = rows[f"question {k}"]
            assert (row["tools"] or None) == (None if k < 100 else [tool(f"t{k}")])
            assert row["meta"] == (None if k < 100 else '{"judge_score":0.7}')
        assert road.report.data["read"]["unknown_keys"] == {"judge_score": 900}
        assert any("judge_score: 900 rows" in note for note in road.report.notes)


@given(
    st.integers(1, 300),
    st.dictionaries(
        st.from_regex(r"[A-Za-z_]{3,9}x", fullmatch=True),
        st.sets(st.integers(0, 299), min_size=1),
        min_size=1,
        max_size=4,
    ),
    st.booleans(),
)
@settings(max_examples=6)
def test_r04_every_unknown_key_reaches_meta_from_whatever_rows_hold_it(
    n_rows: int, keys: dict[str, set[int]], document: bool
) -> None:
    found = [talk(k, **{key: k for key, at in keys.items() if k in at}) for k in range(n_rows)]
    held = {key: n for key, at in keys.items() if (n := sum(k < n_rows for k in at))}
    file = {"a.json": json.dumps(found).encode()} if document else {"a.jsonl": found}
    road = travel(fresh(), file, dedupe=False)
    for row in road.rows():
        k = int(row["messages"][0]["content"].split()[1])
        wanted = {key: k for key, at in keys.items() if k in at}
        assert json.loads(row["meta"] or "{}") == wanted
    assert len(road.rows()) == n_rows
    assert road.report.data["read"]["unknown_keys"] == held


HALVES = ("\ud83d", "\ude00", "\udfff", "\ud800", "\ud83d\ude00", "😀", "a", " ", "é")
halved = st.lists(st.sampled_from(HALVES), min_size=1, max_size=5).map("".join)


def paired(text: str) -> str:
    """Pairs joined as JSON escapes join them; each half left over is one U+FFFD."""
    joined = json.loads(json.dumps(text))
    return re.sub("[\ud800-\udfff]", "\ufffd", joined)


def n_halves(text: str) -> int:
    return len(re.findall("[\ud800-\udfff]", json.loads(json.dumps(text))))


@given(st.lists(halved, min_size=7, max_size=7), st.booleans())
@settings(max_examples=8)
def test_r21_each_half_of_a_pair_becomes_one_mark_wherever_it_stands(
    found: list[str], as_text: bool
) -> None:
    asked, told, thought, key, value, about, name = found
    arguments: Any = {"k" + key: value}
    record = {
        "messages": [
            user("q" + asked),
            says(
                "a" + told,
                reasoning_content="r" + thought,
                tool_calls=[call("f", json.dumps(arguments) if as_text else arguments)],
            ),
        ],
        "tools": [tool("f", {"p" + name: {"description": about}})],
    }
    # ensure_ascii writes halves as escapes, as JSON alone can hold them
    road = travel(fresh(), {"a.jsonl": json.dumps(record).encode() + b"\n"})
    (row,) = road.rows()
    reply = row["messages"][1]
    assert row["messages"][0]["content"] == "q" + paired(asked)
    assert reply["content"] == "a" + paired(told)
    assert reply["reasoning_content"] == "r" + paired(thought)
    made = reply["tool_calls"][0]["function"]["arguments"]
    assert made == {"k" + paired(key): paired(value)}
    properties = row["tools"][0]["function"]["parameters"]["properties"]
    assert properties == {"p" + paired(name): {"description": paired(about)}}
    repairs = road.report.data["read"]["repairs"]
    counted = repairs.get("lone_surrogate", 0) + repairs.get("lone_surrogate_in_arguments", 0)
    assert counted == sum(map(n_halves, found))


SEPARATORS = ("\u2028", "\u2029", "\u0085", "\x7f", "\u000b", "\u000c", "\u001c", "\u001e", "\r")
MAY_STAND_RAW = [c for c in SEPARATORS if c >= "\x20"]


@pytest.mark.parametrize(
    ("name", "begin", "end", "last"),
    [
        ("unix", b"", b"\n", b"\n"),
        ("dos", b"", b"\r\n", b"\r\n"),
        ("marked", b"\xef\xbb\xbf", b"\n", b""),
        ("marked dos", b"\xef\xbb\xbf", b"\r\n", b""),
    ],
)
def test_r22_only_a_line_feed_ends_a_record(
    tmp_path: Any, name: str, begin: bytes, end: bytes, last: bytes
) -> None:
    odd = "".join(f"word{c}" for c in SEPARATORS)
    raw = "".join(f"word{c}" for c in MAY_STAND_RAW)
    found = [talk(0), {"messages": [user(raw), says(odd)]}, talk(2)]
    encoded = [json.dumps(r, ensure_ascii=False).encode() for r in found]
    road = travel(tmp_path, {f"{name}.jsonl": begin + end.join(encoded) + last})
    assert [t["messages"][0]["content"] for t in road.traces()] == ["question 0", raw, "question 2"]
    assert road.traces()[1]["messages"][1]["content"] == odd
    assert road.by_task()[raw]["messages"][1]["content"] == odd
    assert road.rejects() == []


@given(st.data())
@settings(max_examples=8)
def test_r22_a_broken_line_is_named_by_its_number_and_all_others_are_read(
    data: st.DataObject,
) -> None:
    kinds = st.sampled_from(("good", "blank", "broken", "cut", "raw"))
    made: list[bytes] = []
    wanted: dict[int, str] = {}
    good: set[str] = set()
    for k, kind in enumerate(data.draw(st.lists(kinds, min_size=2, max_size=12)) + ["good"]):
        if kind == "blank":
            made.append(b" " * data.draw(st.integers(0, 2)))
        elif kind == "broken":
            made.append(b'{"messages": [}')
            wanted[k] = "invalid_json"
        elif kind == "cut":
            made.append(lines([talk(k)])[:-4])
            wanted[k] = "truncated_json"
        else:
            mark = data.draw(st.sampled_from(MAY_STAND_RAW)) if kind == "raw" else ""
            made.append(lines([{"messages": [user(f"{k}{mark}"), says(f"{k}")]}])[:-1])
            good.add(f"{k}{mark}")
    road = travel(fresh(), {"a.jsonl": b"\n".join(made)}, dedupe=False)
    assert {r["row"]: r["code"] for r in road.rejects()} == wanted
    assert {r["file"] for r in road.rejects()} <= {"a.jsonl"}
    assert set(road.by_task()) == good
