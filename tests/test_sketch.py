"""Sketches: the compiled words, shingles and signatures are those of the plain definition."""

import datasketch
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracekit import sketch
from tracekit.columns import columns_of
from tracekit.errors import UsageError
from tracekit.schema import trace_table
from tracekit.types import Message, Origin, ToolCall, Trace

PIECES = [
    "hello", "World", "7", "+", "-", " ", "  ", "\n", ",", "茶", "雪の", "ภาษา", "naïve", "\u00a0",
    "×", "“x”", "'", '"', "`", "_a9", "supercalifragilisticexpialidocious", "🙂", "한국어", "\x7f",
    "\x00", "\x1f", "ß", "\u3000", "{", "}", "𝒳", "ក", "ㄱ", "ᄀ", "\u2028", "…",
    "12345678", "a" * 17,
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=14).map("".join)
MESSAGES = st.builds(
    lambda role, content, reasoning, arguments: Message(
        role=role,
        content=content,
        reasoning=reasoning if role == "assistant" else None,
        tool_calls=tuple(
            ToolCall(id=str(k), name=f"tool_{k}", arguments=a) for k, a in enumerate(arguments)
        )
        if role == "assistant"
        else (),
    ),
    st.sampled_from(["system", "user", "assistant", "assistant", "tool"]),
    st.none() | TEXTS,
    st.none() | TEXTS,
    st.lists(TEXTS, max_size=2),
)


def trace_of(*messages: Message) -> Trace:
    return Trace(
        id="s:f#0", source="s", provenance=(Origin(file="f", first=0, last=0),), messages=messages
    )


def asked(question: str, answer: str) -> Trace:
    return trace_of(
        Message(role="user", content=question), Message(role="assistant", content=answer)
    )


def columns(*traces: Trace):
    return columns_of(trace_table(traces))


def scopes_by_definition(trace: Trace, n_words: int = 5) -> tuple[set[bytes], set[bytes]]:
    task: set[bytes] = set()
    for role in ("user", "system"):
        if not task:
            for m in trace.messages:
                if m.role == role:
                    task |= sketch.shingles(m.content or "", sketch.TASK, n_words=n_words)
    target: set[bytes] = set()
    for m in trace.messages:
        if m.role == "assistant":
            fields = [m.reasoning, m.content]
            fields += [text for c in m.tool_calls for text in (c.name, c.arguments)]
            for text in fields:
                target |= sketch.shingles(text or "", sketch.TARGET, n_words=n_words)
    return task, target


@settings(max_examples=60)
@given(
    st.lists(st.lists(MESSAGES, max_size=5), min_size=1, max_size=4),
    st.sampled_from([1, 2, 5, 16]),
)
def test_measures_are_those_of_the_plain_definition_and_of_datasketch(conversations, n_words):
    traces = [trace_of(*messages) for messages in conversations]
    params = sketch.SketchParams(n_words=n_words)
    flat = columns(*traces)
    measured = sketch.measure(flat, params).to_pylist()
    sets = sketch.shingle_sets(flat, range(len(traces)), params)
    for i, trace in enumerate(traces):
        task, target = scopes_by_definition(trace, n_words)
        assert measured[i]["n_task_shingles"] == len(task)
        assert measured[i]["n_target_shingles"] == len(target)
        for exact, (hashes, offsets) in (
            (task, (sets.task_hashes, sets.task_offsets)),
            (target, (sets.target_hashes, sets.target_offsets)),
        ):
            stored = hashes[offsets[i] : offsets[i + 1]].tolist()
            assert stored == sorted(map(sketch.shingle_hash64, exact))
        reference = datasketch.MinHash(
            num_perm=128, scheme="affine32", hashfunc=sketch.shingle_hash
        )
        reference.update_batch(task | target)
        signature = reference.hashvalues.astype("<u4").tobytes()
        assert measured[i]["signature"] == (signature if target else None)


def test_a_long_trace_equals_datasketch_across_blocks_and_batches():
    draw = np.random.default_rng(3)
    long = " ".join(map(str, draw.integers(0, 10_000, 60_000)))
    traces = [asked("short", "answer one"), asked(long, long[::-1]), asked("", long * 3)]
    flat = columns(*traces)
    measured = sketch.measure(flat)
    assert measured.schema == sketch.SKETCH_SCHEMA
    matrix = sketch.signature_matrix(measured.column("signature"))
    for i, trace in enumerate(traces):
        task, target = scopes_by_definition(trace)
        assert measured["n_target_shingles"][i].as_py() == len(target)
        reference = datasketch.MinHash(
            num_perm=128, scheme="affine32", hashfunc=sketch.shingle_hash
        )
        reference.update_batch(task | target)
        assert matrix[i].tolist() == reference.hashvalues.tolist()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("7+5", "7-5"),
        ("7 + 5 = 12", "7 + 5 = 13"),
        ("f(x)+1", "f(x+1)"),
        ("a < b", "a > b"),
        ("3.14", "314"),
        ("7×5", "7÷5"),
        ("茶", "雪"),
    ],
)
def test_numbers_and_operators_are_never_folded_away(one, other):
    assert sketch.shingles(one, 1) != sketch.shingles(other, 1)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Hello  World", "hello\nworld"),
        ('{"city": "Paris"}', "{'city': 'Paris'}"),
        ("“so” it is", '"so" it is'),
        ("a\u00a0b", "a b"),
        ("7×5", "7 × 5"),
    ],
)
def test_case_spacing_and_quotes_make_no_difference(one, other):
    assert sketch.shingles(one, 1) == sketch.shingles(other, 1)


def test_each_character_of_a_script_without_spaces_is_a_word():
    assert list(sketch.words("雪の茶")) == ["雪", "の", "茶"]
    assert list(sketch.words("ภาษา한국어 naïve")) == [*"ภาษา", "한국어", "naïve"]
    assert list(sketch.words("x→y，z")) == ["x", "→", "y", "，", "z"]


def test_texts_shorter_than_a_shingle_compare_whole_and_empty_ones_have_none():
    texts = ["fig", "elm", "fig", "a four word text", "", " \n", "茶", "雪"]
    flat = columns(*(asked("", text) for text in texts))
    measured = sketch.measure(flat)
    assert measured["n_target_shingles"].to_pylist() == [1, 1, 1, 1, 0, 0, 1, 1]
    signatures = measured["signature"].to_pylist()
    assert [i for i, s in enumerate(signatures) if s is None] == [4, 5]
    assert signatures[0] == signatures[2]
    assert len({signatures[i] for i in (0, 1, 3, 6, 7)}) == 5


def test_shingles_never_cross_a_field():
    together = asked("", "one two three four five six")
    apart = trace_of(Message(role="assistant", reasoning="one two three", content="four five six"))
    assert sketch.measure(columns(together, apart))["n_target_shingles"].to_pylist() == [2, 2]
    sets = sketch.shingle_sets(columns(together, apart), [0, 1])
    assert not set(sets.target_hashes[:2].tolist()) & set(sets.target_hashes[2:].tolist())


def test_one_text_as_task_and_as_target_shares_nothing():
    sets = sketch.shingle_sets(columns(asked("same words here", "same words here")), [0])
    assert sets.task_hashes.size == sets.target_hashes.size == 1
    assert sets.task_hashes[0] != sets.target_hashes[0]


def test_system_prompts_tool_results_and_declarations_are_outside():
    bare = asked("what is it", "a fig")
    dressed = trace_of(
        Message(role="system", content="You are " * 50),
        *bare.messages[:1],
        Message(role="tool", content="result " * 50, tool_call_id="0"),
        *bare.messages[1:],
    )
    first, second = sketch.measure(columns(bare, dressed)).to_pylist()
    assert first == second


def test_a_slice_of_a_table_measures_like_the_rows_alone():
    traces = [asked(f"question {i}", f"answer number {i} of many words") for i in range(7)]
    whole = sketch.measure(columns(*traces))
    part = sketch.measure(columns_of(trace_table(traces).slice(3, 2)))
    assert part.equals(whole.slice(3, 2))
    matrix = sketch.signature_matrix(whole.column("signature").combine_chunks().slice(3, 2))
    assert matrix.tobytes() == b"".join(part["signature"].to_pylist())


def test_no_rows_give_an_empty_table():
    measured = sketch.measure(columns())
    assert measured.num_rows == 0
    assert sketch.signature_matrix(measured.column("signature")).shape == (0, 128)
    assert sketch.shingle_sets(columns(), []).task_offsets.tolist() == [0]


def test_sets_are_joined_and_picked_in_order():
    flat = columns(*(asked(f"ask {i}", f"word{i} and more") for i in range(4)))
    one_by_one = [sketch.shingle_sets(flat, [i]) for i in range(4)]
    joined = sketch.joined_sets(one_by_one)
    all_at_once = sketch.shingle_sets(flat, range(4))
    picked = sketch.picked_sets(joined, np.array([3, 1]))
    expected = sketch.shingle_sets(flat, [3, 1])
    for name in ("task_hashes", "task_offsets", "target_hashes", "target_offsets"):
        assert np.array_equal(getattr(joined, name), getattr(all_at_once, name))
        assert np.array_equal(getattr(picked, name), getattr(expected, name))


def test_a_shingle_of_no_words_is_refused():
    with pytest.raises(UsageError, match="0 words"):
        sketch.SketchParams(n_words=0)


def test_bytes_that_are_no_text_stay_within_their_field():
    # Arrow checks no UTF-8; the kernel must not read behind the field all the same.
    broken = pa.array([b"\xf0\x9f", b"\xe8\x8c", b"\xc3", b"ok"], pa.large_binary())
    texts = pa.Array.from_buffers(pa.large_string(), 4, broken.buffers())
    table = trace_table([asked("", f"t{i}") for i in range(4)])
    flat = columns_of(table)
    from dataclasses import replace

    from tracekit.columns import text_of

    odd = text_of(texts)
    content = replace(
        flat.content_M, bytes_B=odd.bytes_B, offsets=np.array([0, 0, 2, 2, 4, 4, 5, 5, 7])
    )
    measured = sketch.measure(replace(flat, content_M=content))
    assert measured["n_target_shingles"].to_pylist() == [1, 1, 1, 1]
