"""Token evidence: sums, targets and loops are those of the rendered ids, exactly."""

import dataclasses
import json
import sys
import unicodedata
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from tracekit import encoded, vocabulary
from tracekit.pieces import SEGMENTS, RenderError
from tracekit.render import TEMPLATES, render_row, render_samples
from tracekit.samples import HISTORIES, samples_of
from tracekit.schema import trace_table
from tracekit.tokenizers import load
from tracekit.tokens import TOKEN_SCHEMA, measure
from tracekit.types import Message, Origin, Tool, ToolCall, Trace, TrainFlags
from tracekit.wire import message_value, tool_value

CHUNKS = (
    "a", "word ", "Δx", "é", "e\u0301", "\u0338", "\u0301", "加拿大", "😀", " ", "\n", "\n\n", "\t",
    "\x1c", ".", '"', "\\", "{", "12", "\u1100", "\u1161", "\u11a8", "q\u0323\u0307", "&<>'", ",\n",
)  # fmt: skip
CONTROL_TEXT = ("</think>", "<think>", "<tool_response>", "<|im_end|>", "<tool_call>")


def conversations(*chunks):
    """Traces of any shape over these pieces of text; some cannot be rendered."""
    texts = st.lists(st.sampled_from(chunks), max_size=8).map("".join)
    maybe = st.none() | texts
    arguments = st.dictionaries(
        texts, texts | st.integers() | st.none() | st.lists(texts, max_size=2), max_size=2
    ).map(json.dumps)
    calls = st.builds(
        ToolCall, id=st.just("c"), name=st.sampled_from(["f", "\u0338x"]), arguments=arguments
    )
    flags = st.none() | st.builds(
        TrainFlags,
        reasoning=st.booleans(),
        content=st.booleans(),
        calls=st.none() | st.lists(st.booleans(), max_size=2).map(tuple),
    )
    assistants = st.builds(
        Message,
        role=st.just("assistant"),
        content=maybe,
        reasoning=maybe,
        tool_calls=st.lists(calls, max_size=2).map(tuple),
        train=flags,
        weight=st.sampled_from([None, 0.0, 1.0]),
    )
    others = st.builds(Message, role=st.sampled_from(["user", "tool"]), content=maybe)
    tools = st.builds(
        Tool,
        name=st.sampled_from(["f", "g"]),
        description=maybe,
        parameters=st.sampled_from([None, '{"type":"object"}']),
    )
    return st.builds(
        lambda system, query, rest, tools: Trace(
            id="t",
            source="s",
            provenance=(Origin(file="f", first=0, last=0),),
            messages=(*system, *query, *rest),
            tools=tools,
        ),
        st.sampled_from([(), (Message(role="system", content="be brief\n\nvery"),)]),
        # Most traces ask something, else most would be refused.
        st.sampled_from([(), *[(Message(role="user", content="why so?"),)] * 3]),
        st.lists(assistants | others, max_size=4),
        st.none() | st.lists(tools, max_size=2).map(tuple),
    )


any_traces = st.lists(conversations(*CHUNKS, *CONTROL_TEXT), max_size=4)


def trace(*messages, tools=None):
    return Trace(
        id="t",
        source="s",
        provenance=(Origin(file="f", first=0, last=0),),
        messages=messages,
        tools=tools,
    )


def user(content):
    return Message(role="user", content=content)


def assistant(content, reasoning=None, **more):
    return Message(role="assistant", content=content, reasoning=reasoning, **more)


def measured(*traces, tokenizer=None, template="qwen3.5", history="keep"):
    table, _ = measure(trace_table(traces), tokenizer or load(), template, history)
    return table.to_pylist()


def samples(rows, tokenizer, template="qwen3.5", history="keep"):
    """[(ids, targets)] of each row as a trainer reads them, a pair a sample."""
    for batch in encoded.batches(rows, tokenizer, TEMPLATES[template], history):
        ids, offsets, target = batch.samples()
        pairs = [
            (ids[start:end].tolist(), target[start:end].tolist())
            for start, end in pairwise(offsets)
        ]
        for first, last in pairwise(batch.samples_T1):
            yield pairs[first:last]


def refusal(row, template="qwen3.5", history="keep"):
    """The reason why the template refuses a row, or None."""
    try:
        render_samples(row, template, history)
    except RenderError as error:
        return error.code
    return None


def one_by_one(pieces, tokenizer):
    """(id, piece) of each token by the slow road: every text between control tokens on its own,
    every token to the piece that holds its first byte."""
    tokens, run = [], []
    for piece in [*pieces, None]:
        if piece is not None and not piece.control:
            run.append(piece)
            continue
        text = "".join(p.text for p in run)
        ends = [
            len(unicodedata.normalize("NFC", "".join(p.text for p in run[: k + 1])).encode())
            for k in range(len(run))
        ]
        start = 0
        for token in tokenizer.encode_flat([text])[0].tolist():
            tokens.append((token, next(p for p, end in zip(run, ends, strict=True) if start < end)))
            start += int(tokenizer.bytes_per_id_V[token])
        run = []
        if piece is not None:
            tokens.append((tokenizer.special(piece.text), piece))
    return tokens


MANNERS = [(t, h) for t in ("qwen3.5", "qwen3") for h in HISTORIES]


@pytest.mark.parametrize(("template", "history"), MANNERS)
@settings(max_examples=25, deadline=None)
@given(any_traces)
def test_counts_are_those_of_the_ids_and_parts_sum_to_the_whole(template, history, traces):
    tokenizer = load()
    table, unrendered = measure(trace_table(traces), tokenizer, template, history)
    assert table.schema.equals(TOKEN_SCHEMA)
    assert table.num_rows == len(traces)
    rows = encoded.rows_of(trace_table(traces))
    refused = {u.row: u.code for u in unrendered}
    for k, (row, got, seen) in enumerate(
        zip(rows, table.to_pylist(), samples(rows, tokenizer, template, history), strict=True)
    ):
        assert refused.get(k) == refusal(row, template, history)
        if k in refused:
            assert set(got.values()) == {None}
            assert seen == []
            continue
        slow = [one_by_one(p, tokenizer) for p in render_samples(row, template, history)]
        assert [ids for ids, _ in seen] == [[token for token, _ in s] for s in slow]
        assert [t for _, t in seen] == [[piece.target for _, piece in s] for s in slow]
        pieces = [piece for s in slow for _, piece in s]
        for segment in SEGMENTS:
            assert got[f"n_{segment}_tokens"] == sum(p.segment == segment for p in pieces)
        for name, part in (
            ("message_tokens", pieces),
            ("message_target_tokens", [p for p in pieces if p.target]),
            ("message_reasoning_tokens", [p for p in pieces if p.segment == "reasoning"]),
        ):
            assert got[name] == [
                sum(p.message == m for p in part) for m in range(len(row["messages"]))
            ]
        assert got["sample_tokens"] == [len(ids) for ids, _ in seen]
        assert got["n_tokens"] == sum(got["sample_tokens"])
        assert got["max_sample_tokens"] == max(got["sample_tokens"])
        assert got["n_target_tokens"] == sum(p.target for p in pieces)
        assert sum(got[f"n_{segment}_tokens"] for segment in SEGMENTS) == got["n_tokens"]
        last = next((p for p in reversed(pieces) if p.target), None)
        assert got["terminated"] == (None if last is None else last.text == "<|im_end|>")
        assert 0 <= got["loop_share"] <= 1
        assert got["exact"] is True


@settings(max_examples=40, deadline=None)
@given(any_traces)
def test_traces_measured_together_and_alone_have_the_same_evidence(traces):
    together = measured(*traces)
    assert together == [measured(t)[0] for t in traces]


def test_batches_of_any_size_give_the_same_evidence(monkeypatch):
    traces = [
        trace(user(f"q {k} é"), assistant("a " * k, "r\n" * k), tools=(Tool(name="f"),))
        for k in range(30)
    ]
    table = trace_table([*traces[:7], trace(assistant("nobody asked")), *traces[7:]])
    whole, refused = measure(table, load())
    monkeypatch.setattr(encoded, "BATCH_CHARS", 1)
    single, refused_again = measure(table, load())
    assert whole.equals(single)
    assert refused == refused_again
    assert [(u.row, u.code) for u in refused] == [(7, "no_user_message")]


@settings(max_examples=40, deadline=None)
@given(any_traces)
def test_rows_are_those_that_the_table_holds(traces):
    table = trace_table(traces)
    for fast, slow in zip(encoded.rows_of(table), table.to_pylist(), strict=True):
        assert fast["tools"] == slow["tools"]
        for quick, full in zip(fast["messages"], slow["messages"], strict=True):
            calls = [{"name": c["name"], "arguments": c["arguments"]} for c in full["tool_calls"]]
            assert quick == {k: full[k] for k in quick} | {"tool_calls": calls}


def test_rows_of_a_slice_and_of_chunks_are_right():
    traces = [trace(user(f"q{k}"), assistant(f"a{k}")) for k in range(5)]
    table = pa.concat_tables([trace_table(traces[:2]), trace_table(traces[2:])])
    found = encoded.rows_of(table.slice(1, 3))
    assert [r["messages"][0]["content"] for r in found] == ["q1", "q2", "q3"]
    assert encoded.rows_of(table.slice(0, 0)) == []


def test_no_traces_give_an_empty_table():
    table, refused = measure(trace_table([]), load())
    assert table.num_rows == 0
    assert table.schema.equals(TOKEN_SCHEMA)
    assert refused == []


def test_each_segment_has_the_tokens_of_its_text():
    tokenizer = load()
    (got,) = measured(
        trace(
            Message(role="system", content="rules apply"),
            user("hello there"),
            assistant("so be it", "let us think."),
            Message(role="tool", content="a result"),
        )
    )
    for segment, text in {
        "system": "rules apply",
        "user": "hello there",
        "answer": "so be it",
        "result": "a result",
        "reasoning": "let us think.",
    }.items():
        assert got[f"n_{segment}_tokens"] == tokenizer.count([text])[0], segment
    assert got["n_tools_tokens"] == got["n_call_tokens"] == 0


def test_control_token_text_adds_no_turn_end():
    tokenizer = load()
    row = {
        "messages": [
            {"role": "user", "content": "What do <|endoftext|> and <|im_end|> mean?"},
            {"role": "assistant", "content": "<|im_end|> closes a turn."},
        ],
        "tools": None,
    }
    (((ids, _),),) = samples([row], tokenizer)
    assert ids.count(tokenizer.special("<|im_end|>")) == 2
    assert tokenizer.special("<|endoftext|>") not in ids


def test_a_million_of_one_character_between_normal_traces_changes_nothing_of_them():
    normal = trace(user("hi"), assistant("yo", "hm"))
    big = [
        trace(user("hi"), Message(role="tool", content="x" + unit * 1_000_000 + "x"))
        for unit in (" ", "a", "^")
    ]
    got = measured(normal, *big, normal)
    assert got[0] == got[-1] == measured(normal)[0]
    assert all(g["n_result_tokens"] > 5_000 for g in got[1:4])


def test_a_lone_surrogate_does_not_crash():
    row = {"messages": [{"role": "user", "content": "ok \ud83d end"}], "tools": None}
    clean = {"messages": [{"role": "user", "content": "ok \ufffd end"}], "tools": None}
    table, refused = measure([row, clean], load())
    assert refused == []
    assert table.slice(0, 1).to_pylist() == table.slice(1, 1).to_pylist()


def test_loops_are_found_in_the_field_that_has_them():
    (got,) = measured(
        trace(
            user("go " * 900),
            assistant("fine", "short"),
            user("and"),
            assistant("done now", "I will check. " * 200),
        )
    )
    assert got["loop_share"] > 0.9
    assert got["loop_message"] == 3
    assert got["loop_period"] == load().count([" I will check."])[0]
    assert 0 < got["loop_tokens"] <= got["n_reasoning_tokens"]
    (calm,) = measured(trace(user("go " * 900), assistant("fine", "short")))
    assert (calm["loop_share"], calm["loop_tokens"]) == (0.0, 0)
    assert calm["loop_period"] is None
    assert calm["loop_message"] is None


def test_pieces_of_a_vocabulary_that_is_not_byte_level_take_all_tokens():
    """Token bytes that are not text bytes: shares are approximate, no token is lost or doubled."""
    low, high = encoded._token_ranges(
        np.array([1, 1, 5, 5], np.uint16),
        np.array([0, 2, 4]),
        np.array([4, 4, 2, 2]),
        np.array([0, 2, 4]),
    )
    assert low.tolist() == [0, *high[:-1].tolist()]
    assert high.tolist() == [2, 2, 3, 4]


def test_a_template_whose_control_tokens_the_tokenizer_lacks_counts_them_as_text(tmp_path):
    value = json.loads(vocabulary.qwen3_5_json())
    value["added_tokens"] = []
    path = tmp_path / "tokenizer.json"
    value["model"]["vocab"] = {t: k for t, k in value["model"]["vocab"].items() if k < 300}
    value["model"]["merges"] = [
        [a, b] for a, b in value["model"]["merges"] if a + b in value["model"]["vocab"]
    ]
    path.write_text(json.dumps(value))
    tokenizer = load(str(path))
    traces = [trace(user("hi"), assistant("yo")), trace(user("é"), assistant("yo", "so"))]
    got = measured(*traces, tokenizer=tokenizer)
    for row, counts in zip(trace_table(traces).to_pylist(), got, strict=True):
        text = "".join(p.text for p in render_row(row))
        assert counts["n_tokens"] == tokenizer.count([text])[0]


# --- against transformers and trl ---------------------------------------------------------------


@pytest.fixture(scope="module")
def hugging_face():
    """Function (row, marked template) -> (ids, mask) of transformers."""
    transformers = pytest.importorskip("transformers")
    import tokenizers

    value = json.loads(vocabulary.qwen3_5_json())
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer.from_str(json.dumps(value)), eos_token="<|im_end|>"
    )

    def encode(messages, tools, template):
        out = tokenizer.apply_chat_template(
            [message_value(m) for m in messages],
            tools=[tool_value(t) for t in tools] if tools else None,
            chat_template=template,
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        return out["input_ids"], [bool(x) for x in out["assistant_masks"]]

    return encode


def shipped(name):
    """Text of a template that the installed trl ships."""
    folder = next(
        (p / "trl" for p in map(Path, sys.path) if (p / "trl" / "chat_templates").is_dir()), None
    )
    if folder is None:
        pytest.skip("trl is not installed")
    return (folder / "chat_templates" / name).read_text("utf-8")


BLOCK_END = """        {{- '<|im_end|>\\n' }}
        {%- endgeneration %}"""
ENDS_AT_THE_TOKEN = """        {{- '<|im_end|>' }}
        {%- endgeneration %}
        {{- '\\n' }}"""


def up_to_the_end_token(template):
    """TRL's training template with its generation block ending on the end token.

    That is the one difference of our masks: TRL trains the line break behind it too.
    """
    assert template.count(BLOCK_END) == 1
    return template.replace(BLOCK_END, ENDS_AT_THE_TOKEN)


def marked(template):
    """An inference template with generation marks, from after the role to the end token."""
    start = "'<|im_start|>' + message.role + '\\n"
    for old, new in (
        (
            "        {%- if loop.index0 > ns.last_query_index %}\n",
            "        {{- '<|im_start|>assistant\\n' }}{% generation %}"
            "{%- if loop.index0 > ns.last_query_index %}\n",
        ),
        ("            {{- " + start + "<think>", "            {{- '<think>"),
        ("            {{- " + start + "' + content }}", "            {{- content }}"),
        (
            "        {{- '<|im_end|>\\n' }}\n    {%- elif message.role == \"tool\"",
            "        {{- '<|im_end|>' }}{% endgeneration %}{{- '\\n' }}\n"
            '    {%- elif message.role == "tool"',
        ),
    ):
        assert template.count(old) == 1, old
        template = template.replace(old, new)
    return template


def without_flags(t):
    return dataclasses.replace(
        t, messages=tuple(dataclasses.replace(m, train=None, weight=None) for m in t.messages)
    )


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["qwen3.5", "qwen3"])
@settings(max_examples=60, deadline=None)
@given(trace_=conversations(*CHUNKS).map(without_flags))
def test_ids_and_targets_are_those_of_transformers_with_trls_template(hugging_face, name, trace_):
    file = {"qwen3.5": "qwen3_5_think_training.jinja", "qwen3": "qwen3_training.jinja"}[name]
    template = up_to_the_end_token(shipped(file))
    (row,) = trace_table([trace_]).to_pylist()
    event("refused" if refusal(row, name) else "compared")
    if refusal(row, name):
        return
    (((ids, target),),) = samples([row], load(), name)
    assert (ids, target) == hugging_face(row["messages"], row["tools"], template)


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
@settings(max_examples=60, deadline=None)
@given(trace_=conversations(*CHUNKS).map(without_flags))
def test_trl_trains_one_token_a_message_more_the_line_break(hugging_face, trace_):
    template = shipped("qwen3_5_think_training.jinja")
    (row,) = trace_table([trace_]).to_pylist()
    if refusal(row):
        return
    (((ids, target),),) = samples([row], load())
    theirs, mask = hugging_face(row["messages"], row["tools"], template)
    assert ids == theirs
    more = [k for k, (ours, trl) in enumerate(zip(target, mask, strict=True)) if ours != trl]
    end, line_break = load().special("<|im_end|>"), load().encode_flat(["\n"])[0][0]
    assert all(mask[k] and ids[k] == line_break and ids[k - 1] == end for k in more)
    assert len(more) == sum(m["role"] == "assistant" for m in row["messages"])


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("history", ["strip", "as_is"])
@settings(max_examples=60, deadline=None)
@given(trace_=conversations(*CHUNKS).map(without_flags))
def test_stripped_samples_are_what_the_inference_template_makes_of_each_query(
    hugging_face, history, trace_
):
    template = marked(shipped("qwen3_5_think.jinja"))
    (row,) = trace_table([trace_]).to_pylist()
    if refusal(row, history=history):
        return
    messages = row["messages"]
    plan = samples_of(messages, history, TEMPLATES["qwen3.5"].is_query)
    (seen,) = samples([row], load(), history=history)
    event(f"{len(plan)} samples")
    for sample, (ids, target) in zip(plan, seen, strict=True):
        theirs, mask = hugging_face(messages[: sample.end], row["tools"], template)
        assert ids == theirs
        # History is not trained on: all marks before the sample's own messages go.
        before, _ = hugging_face_prefix(hugging_face, messages, row["tools"], sample, template)
        assert target == [False] * before + mask[before:]


def hugging_face_prefix(hugging_face, messages, tools, sample, template):
    """(tokens before the own messages of a sample, their ids)."""
    if sample.own == 0:
        return 0, []
    # The own messages begin with their query, so what is before ends where that turn starts.
    whole, _ = hugging_face(messages[: sample.end], tools, template)
    alone, _ = hugging_face(messages[sample.own : sample.end], None, template)
    return len(whole) - len(alone), whole[: len(whole) - len(alone)]
