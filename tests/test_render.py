"""Rendering: byte for byte the text of the official templates, or a clear reason."""

import itertools
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracekit.pieces import CONTROLS, SEGMENTS, RenderError, Rendering
from tracekit.render import (
    TEMPLATES,
    render_row,
    render_samples,
    render_text,
    template_hash,
)
from tracekit.samples import Sample
from tracekit.wire import message_value, tool_value

CHUNKS = (
    "a", "word ", "Δx", "é", "e\u0301", "\u0338", "加拿大", "😀", " ", "\n", "\n\n", "\t", "\x1c",
    "\u3000",
    ".", "</think>", "<think>", "<tool_response>", "</tool_response>", "<|im_end|>", "<tool_call>",
    '"', "\\", "{", "0", "\u1100\u1161", "&<>'",
)  # fmt: skip
texts = st.lists(st.sampled_from(CHUNKS), max_size=6).map("".join)
maybe_texts = st.none() | texts
names = st.sampled_from(["search", "f", "naïve_tool", "\u0338odd"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
calls = st.builds(
    lambda name, arguments: {"id": "c", "name": name, "arguments": json.dumps(arguments)},
    names,
    st.dictionaries(texts, values, max_size=3),
)


def message(role, content=None, reasoning=None, tool_calls=(), **more):
    return {
        "role": role,
        "content": content,
        "reasoning": reasoning,
        "tool_calls": list(tool_calls),
        "train": None,
        "weight": None,
        **more,
    }


messages = st.one_of(
    st.builds(message, st.just("user"), maybe_texts),
    st.builds(message, st.just("tool"), maybe_texts),
    st.builds(
        message,
        st.just("assistant"),
        maybe_texts,
        maybe_texts,
        st.lists(calls, max_size=3),
    ),
)
tools = st.none() | st.lists(
    st.builds(
        lambda name, description, parameters, extra: {
            "name": name,
            "description": description,
            "parameters": parameters,
            "extra": extra,
        },
        names,
        maybe_texts,
        st.none() | st.dictionaries(texts, values, max_size=2).map(json.dumps),
        st.sampled_from([None, '{"strict":true}', '{"type":"custom","x":1.0}']),
    ),
    max_size=2,
)
rows = st.builds(
    lambda system, turns, tools: {"messages": system + turns, "tools": tools},
    st.just([]) | st.builds(lambda text: [message("system", text)], texts),
    st.lists(messages | st.builds(message, st.just("user"), texts), max_size=6),
    tools,
)

USER = message("user", "hi")


def calling(arguments, content=None):
    call = {"id": "c", "name": "f", "arguments": arguments}
    return message("assistant", content, "why", [call])


def test_one_conversation_with_tools_is_rendered_as_the_model_card_shows():
    row = {
        "tools": [{"name": "f", "description": "d", "parameters": '{"a": 1.0}', "extra": None}],
        "messages": [
            message("system", " be brief "),
            message("user", "hi\n"),
            calling('{"s":"x","t":true,"n":null,"f":1.0,"l":["é",1.5]}', "look"),
            message("tool", "one"),
            message("tool", None),
            message("assistant", "done", ""),
        ],
    }
    text = render_text(row)
    assert text.startswith(
        "<|im_start|>system\n# Tools\n\nYou have access to the following functions:\n\n<tools>\n"
        '{"type": "function", "function": {"name": "f", "description": "d", '
        '"parameters": {"a": 1.0}}}\n</tools>'
    )
    assert text.endswith(
        "</IMPORTANT>\n\nbe brief<|im_end|>\n"
        "<|im_start|>user\nhi<|im_end|>\n"
        "<|im_start|>assistant\n<think>\nwhy\n</think>\n\nlook\n\n"
        "<tool_call>\n<function=f>\n<parameter=s>\nx\n</parameter>\n<parameter=t>\nTrue\n"
        "</parameter>\n<parameter=n>\nNone\n</parameter>\n<parameter=f>\n1.0\n</parameter>\n"
        '<parameter=l>\n["é", 1.5]\n</parameter>\n</function>\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\none\n</tool_response>\n<tool_response>\n\n"
        "</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\ndone<|im_end|>\n"
    )


@pytest.mark.parametrize("template", sorted(TEMPLATES))
@given(row=rows)
def test_pieces_join_to_the_text_and_control_tokens_stand_alone(template, row):
    try:
        pieces = render_row(row, template)
    except RenderError:
        return
    assert "".join(p.text for p in pieces) == render_text(row, template)
    for piece in pieces:
        assert piece.segment in SEGMENTS
        assert not piece.control or piece.text in CONTROLS
        assert piece.message is None or 0 <= piece.message < len(row["messages"])
        assert not piece.target or row["messages"][piece.message]["role"] == "assistant"
    starts = [p for p in pieces if p.control and p.text == "<|im_start|>"]
    ends = [p for p in pieces if p.control and p.text == "<|im_end|>"]
    # A result that is the first message closes a turn that the template never opened.
    assert len(ends) - len(starts) in (0, 1)


@given(rows)
def test_content_is_in_its_own_segment(row):
    try:
        pieces = render_row(row)
    except RenderError:
        return
    of = {"user": "user", "tool": "result", "system": "system"}
    for m, given_message in enumerate(row["messages"]):
        segment = of.get(given_message["role"])
        if segment:
            found = "".join(p.text for p in pieces if p.message == m and p.segment == segment)
            assert found == (given_message["content"] or "").strip()


def test_control_token_text_in_content_stays_one_text():
    pieces = render_row({"messages": [message("user", "a <|im_end|> b <think>")], "tools": None})
    assert [p.text for p in pieces if p.control] == ["<|im_start|>", "<|im_end|>"]
    assert "a <|im_end|> b <think>" in [p.text for p in pieces if p.segment == "user"]


def test_null_content_is_nothing_and_the_word_none_stays():
    row = {
        "messages": [USER, message("assistant", None), message("assistant", "None")],
        "tools": [],
    }
    text = render_text(row)
    assert text.count("None") == 1
    assert "</think>\n\n<|im_end|>" in text


def test_reasoning_of_earlier_turns_is_kept():
    row = {
        "messages": [USER, message("assistant", "9", "R1"), USER, message("assistant", "10", "R2")],
        "tools": None,
    }
    assert "<think>\nR1\n</think>" in render_text(row)
    assert "<think>\nR2\n</think>" in render_text(row)


@pytest.mark.parametrize(
    ("row_messages", "code"),
    [
        ([], "no_messages"),
        ([message("assistant", "x")], "no_user_message"),
        ([message("user", " <tool_response>x</tool_response> ")], "no_user_message"),
        ([USER, message("system", "late")], "system_not_first"),
        ([USER, calling("[1]")], "arguments_not_object"),
        ([USER, calling('"{}"')], "arguments_not_object"),
        ([USER, calling("{'a': 1}")], "arguments_not_object"),
        ([USER, calling("")], "arguments_not_object"),
        ([USER, calling('{"a": NaN}')], "arguments_not_object"),
        ([USER, calling("[" * 100_000)], "arguments_not_object"),
        ([USER, calling('{"a": ' + "9" * 5000 + "}")], "arguments_not_object"),
        ([USER, message("critic", "x")], "unknown_role"),
    ],
)
def test_what_the_template_refuses_is_refused_with_its_reason(row_messages, code):
    with pytest.raises(RenderError) as caught:
        render_row({"messages": row_messages, "tools": None})
    assert caught.value.code == code


def test_a_tool_that_does_not_parse_is_refused():
    tool = {"name": "f", "description": None, "parameters": "{", "extra": None}
    with pytest.raises(RenderError) as caught:
        render_row({"messages": [USER], "tools": [tool]})
    assert caught.value.code == "tool_not_json"


def test_chatml_refuses_what_it_has_no_place_for():
    assert render_text(
        {"messages": [USER, message("assistant", "yo")], "tools": None}, "chatml"
    ) == ("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyo<|im_end|>\n")
    for bad in (message("assistant", "x", "why"), message("tool", "x"), calling("{}")):
        with pytest.raises(RenderError) as caught:
            render_row({"messages": [USER, bad], "tools": None}, "chatml")
        assert caught.value.code == "not_in_template"


def targets_of(given_message):
    pieces = render_row({"messages": [USER, given_message], "tools": None})
    joined = [
        (target, "".join(p.text for p in group))
        for target, group in itertools.groupby(pieces, key=lambda p: p.target)
    ]
    return [text for target, text in joined if target]


TWO_CALLS = [{"id": str(k), "name": f"f{k}", "arguments": "{}"} for k in range(2)]
FULL = message("assistant", "say", "think", TWO_CALLS)
THINK = "<think>\nthink\n</think>\n\n"
CALL_0 = "\n\n<tool_call>\n<function=f0>\n</function>\n</tool_call>"
CALL_1 = "\n<tool_call>\n<function=f1>\n</function>\n</tool_call>"


@pytest.mark.parametrize(
    ("train", "trained"),
    [
        (None, [THINK + "say" + CALL_0 + CALL_1 + "<|im_end|>"]),
        ((False, True, None), ["say" + CALL_0 + CALL_1 + "<|im_end|>"]),
        ((True, False, None), [THINK, CALL_0 + CALL_1 + "<|im_end|>"]),
        ((True, True, [False, True]), [THINK + "say", CALL_1 + "<|im_end|>"]),
        ((True, True, [True, False]), [THINK + "say" + CALL_0]),
        ((True, True, [False]), [THINK + "say", CALL_1 + "<|im_end|>"]),
        ((False, False, [False, False]), []),
    ],
)
def test_train_flags_take_parts_out_of_the_targets(train, trained):
    flags = train and dict(zip(("reasoning", "content", "calls"), train, strict=True))
    assert targets_of({**FULL, "train": flags}) == trained


def test_weight_zero_trains_nothing_and_other_weights_change_no_target():
    assert targets_of({**FULL, "weight": 0.0}) == []
    assert targets_of({**FULL, "weight": 0.5}) == targets_of(FULL)


def test_template_hashes_differ_and_do_not_move():
    assert len({template_hash(name) for name in TEMPLATES}) == len(TEMPLATES)
    assert template_hash("qwen3.5").startswith("b82b3a4ec12678f7")


def test_a_refused_trace_leaves_what_the_caller_can_take_back():
    out = Rendering()
    TEMPLATES["qwen3.5"].render({"messages": [USER], "tools": None}, Sample(1), out)
    n = len(out.texts)
    row = {"messages": [USER, calling("[")], "tools": None}
    with pytest.raises(RenderError):
        TEMPLATES["qwen3.5"].render(row, Sample(2), out)
    assert out.texts[:n] == ["<|im_start|>", "user\n", "hi", "<|im_end|>", "\n"]


# --- against the official templates ---------------------------------------------------------------


def official(name):
    """Function (messages, tools) -> text of a template that the installed trl ships."""
    trl_folder = next(
        (p / "trl" for p in map(Path, sys.path) if (p / "trl" / "chat_templates").is_dir()), None
    )
    if trl_folder is None:
        pytest.skip("trl is not installed")
    jinja2 = pytest.importorskip("jinja2")
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser):
            next(parser.stream)
            return parser.parse_statements(["name:endgeneration"], drop_needle=True)

    def raise_exception(text):
        raise jinja2.exceptions.TemplateError(text)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda x: json.dumps(x, ensure_ascii=False)
    environment.globals["raise_exception"] = raise_exception
    template = environment.from_string((trl_folder / "chat_templates" / name).read_text("utf-8"))
    return lambda messages, tools: template.render(messages=messages, tools=tools)


def values_of(row):
    return (
        [message_value(m) for m in row["messages"]],
        None if row["tools"] is None else [tool_value(t) for t in row["tools"]],
    )


@pytest.fixture(scope="module")
def qwen3_5_training():
    return official("qwen3_5_think_training.jinja")


@pytest.fixture(scope="module")
def qwen3_5():
    return official("qwen3_5_think.jinja")


@pytest.fixture(scope="module")
def qwen3_training():
    return official("qwen3_training.jinja")


@pytest.mark.oracle
@settings(max_examples=250, deadline=None)
@given(row=rows)
def test_qwen3_5_is_the_official_training_text_and_refuses_what_it_refuses(qwen3_5_training, row):
    try:
        expected = qwen3_5_training(*values_of(row))
    except Exception:
        expected = None
    try:
        found = render_text(row)
    except RenderError:
        found = None
    assert found == expected


@pytest.mark.oracle
@settings(max_examples=200, deadline=None)
@given(row=rows, reasoning=texts, answer=texts)
def test_with_one_question_qwen3_5_is_the_official_inference_text_too(
    qwen3_5, row, reasoning, answer
):
    """Where all assistant messages stand after the last query, no thinking is dropped."""
    kept = [m for m in row["messages"] if m["role"] in ("assistant", "tool")]
    row = {
        "messages": [message("user", "q"), *kept, message("assistant", answer, reasoning)],
        "tools": row["tools"],
    }
    assert render_text(row) == qwen3_5(*values_of(row))


@pytest.mark.oracle
@settings(max_examples=150, deadline=None)
@given(row=rows)
def test_qwen3_is_the_official_training_text(qwen3_training, row):
    if row["messages"]:
        assert render_text(row, "qwen3") == qwen3_training(*values_of(row))


@pytest.fixture(scope="module")
def qwen3():
    return official("qwen3.jinja")


@pytest.mark.oracle
@pytest.mark.parametrize("history", ["strip", "as_is"])
@pytest.mark.parametrize("name", ["qwen3.5", "qwen3"])
@settings(max_examples=250, deadline=None)
@given(row=rows)
def test_samples_are_the_official_inference_text_of_what_they_hold(
    qwen3_5, qwen3, name, history, row
):
    template = {"qwen3.5": qwen3_5, "qwen3": qwen3}[name]
    if not row["messages"]:
        return
    plan = TEMPLATES[name].samples(row["messages"], history)
    try:
        found = ["".join(p.text for p in s) for s in render_samples(row, name, history)]
    except RenderError:
        found = None
    try:
        expected = [
            template(*values_of({**row, "messages": row["messages"][: sample.end]}))
            for sample in plan
        ]
    except Exception:
        expected = None
    assert found == expected


def test_strip_gives_a_sample_a_query_trained_on_what_follows_it_only():
    row = {
        "messages": [
            message("user", "q1"),
            message("assistant", None, "r1", [{"id": "c", "name": "f", "arguments": "{}"}]),
            message("tool", "seen"),
            message("assistant", "a1", "r2"),
            message("user", "nobody answers"),
            message("user", "q2"),
            message("assistant", "a2", "r3"),
            message("user", "and nobody again"),
        ],
        "tools": None,
    }
    first, second = render_samples(row, history="strip")
    assert [p.text for p in first if p.segment == "reasoning"] == ["r1", "r2"]
    assert [p.text for p in second if p.segment == "reasoning"] == ["r3"]
    assert {p.message for p in first if p.target} == {1, 3}
    assert {p.message for p in second if p.target} == {6}
    assert max(p.message for p in second) == 6


def test_a_trace_without_an_answer_is_one_sample_in_every_manner():
    row = {"messages": [USER, USER], "tools": None}
    for history in ("keep", "strip", "as_is"):
        assert len(render_samples(row, history=history)) == 1
