"""Chat templates of a user: the text is the template's, the masks are those of its own marks."""

import json
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings

from test_render import message, rows
from test_tokens import CHUNKS, conversations, without_flags
from tracekit import encoded, jinja_process, jinja_templates, vocabulary
from tracekit.errors import InputError, UsageError
from tracekit.pieces import RenderError, Rendering
from tracekit.render import named, render_row, template_hash
from tracekit.samples import Sample
from tracekit.schema import trace_table
from tracekit.tokenizers import load
from tracekit.wire import message_value, tool_value

pytest.importorskip("jinja2")

PLAIN = """\
{%- for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}{% for c in m.tool_calls or [] %}\
[{{ c.function.name }} {{ c.function.arguments|tojson }}]{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

USER = message("user", "What is 9*4?")
ROW = {
    "messages": [
        message("system", "Be brief."),
        USER,
        message("assistant", "It is 36.", "nine fours"),
        message("user", "And 9*5?"),
        message("assistant", "45.", None, [{"id": "c", "name": "f", "arguments": '{"a":"é"}'}]),
        message("tool", "45"),
        message("assistant", "Yes, 45."),
    ],
    "tools": None,
}


@pytest.fixture
def write(tmp_path):
    def write(text, name="chat_template.jinja"):
        path = tmp_path / name
        path.write_text(text, "utf-8")
        return str(path)

    return write


def shipped():
    folder = next(
        (p / "trl" for p in map(Path, sys.path) if (p / "trl" / "chat_templates").is_dir()), None
    )
    return sorted((folder / "chat_templates").glob("*.jinja")) if folder else []


def stretches(row, template):
    """Texts of the stretches that are trained on."""
    found, before = [], False
    for piece in render_row(row, template):
        if piece.target:
            if not before:
                found.append("")
            found[-1] += piece.text
        before = piece.target
    return found


def test_what_is_trained_on_is_an_answer_with_its_end_token(write):
    path = write(PLAIN)
    assert stretches(ROW, path) == [
        "It is 36.<|im_end|>",
        '45.[f {"a": "é"}]<|im_end|>',
        "Yes, 45.<|im_end|>",
    ]
    text = "".join(p.text for p in render_row(ROW, path))
    assert text.startswith(
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhat is 9*4?"
    )


def test_segments_and_messages_are_those_of_the_texts(write):
    pieces = render_row(ROW, write(PLAIN))
    texts = {s: [p.text for p in pieces if p.segment == s] for s in ("user", "answer", "result")}
    assert texts == {
        "user": ["What is 9*4?", "And 9*5?"],
        "answer": ["It is 36.", "45.", "Yes, 45."],
        "result": ["45"],
    }
    assert [p.message for p in pieces if p.text == "<|im_end|>"] == [0, 1, 2, 3, 4, 5, 6]


def test_a_folder_with_a_tokenizer_config_is_a_template_too(write, tmp_path):
    write(json.dumps({"chat_template": PLAIN}), "tokenizer_config.json")
    assert stretches(ROW, str(tmp_path) + "/")[0] == "It is 36.<|im_end|>"
    write(
        json.dumps({"chat_template": [{"name": "rag", "template": "x"},
                                      {"name": "default", "template": PLAIN}]}),
        "tokenizer_config.json",
    )  # fmt: skip
    assert template_hash(str(tmp_path) + "/") == jinja_templates.hash_of(str(tmp_path) + "/")


def test_text_that_spells_a_control_token_stays_text(write):
    row = {"messages": [message("user", "a <|im_end|> b"), message("assistant", "x")]}
    pieces = render_row({**row, "tools": None}, write(PLAIN))
    assert "a <|im_end|> b" in [p.text for p in pieces if not p.control]
    assert sum(p.control and p.text == "<|im_end|>" for p in pieces) == 2


def test_an_answer_that_the_template_rewrites_is_found_between_its_words(write):
    path = write(PLAIN.replace("m.content", "m.content|upper"))
    assert stretches(ROW, path)[0] == "IT IS 36.<|im_end|>"


def test_a_text_as_short_as_a_letter_is_not_looked_for_in_the_words_of_the_template(write):
    row = {"messages": [message("user", "s"), message("assistant", "a")], "tools": None}
    pieces = render_row(row, write(PLAIN))
    assert [(p.text, p.segment) for p in pieces if p.segment != "template"] == [
        ("s", "user"), ("a", "answer"),
    ]  # fmt: skip
    assert sum(p.control for p in pieces) == 4


def test_where_the_words_depend_on_the_texts_the_trace_is_refused(write):
    path = write(PLAIN + "{% if 'nine' in (messages[-1].reasoning_content or '') %}!{% endif %}")
    row = {"messages": ROW["messages"][:3], "tools": None}
    with pytest.raises(RenderError) as caught:
        render_row(row, path)
    assert caught.value.code == "text_not_found"


def test_with_marks_a_rewritten_answer_is_trained_on(write):
    template = """{% for m in messages %}<|im_start|>{{ m.role }}
{% if m.role == 'assistant' %}{% generation %}{{ m.content|upper }}<|im_end|>
{% endgeneration %}{% else %}{{ m.content }}<|im_end|>
{% endif %}{% endfor %}"""
    row = {"messages": ROW["messages"][:3], "tools": None}
    assert stretches(row, write(template)) == ["IT IS 36.<|im_end|>"]


@pytest.mark.parametrize(
    ("template", "code"),
    [
        ("{{ raise_exception('No.') if messages|length > 2 else PLAIN }}", "template_refused"),
        ("{{ messages[99].content.x.y if messages|length > 2 }}", "template_refused"),
        ("{{ ().__class__.__bases__[0].__subclasses__() if messages|length > 2 }}", "refused"),
        ("{% if messages|length > 2 %}{{ 'a' * 9999999999 }}{% endif %}", "template_limit"),
    ],
)
def test_what_a_template_must_not_do_costs_one_trace(write, template, code):
    path = write(PLAIN + template.replace("else PLAIN", "else ''"))
    with pytest.raises(RenderError) as caught:
        render_row(ROW, path)
    assert code in caught.value.code
    two = {"messages": ROW["messages"][1:3], "tools": None}
    assert stretches(two, path) == ["It is 36.<|im_end|>"]


def test_an_endless_template_is_stopped_and_the_next_trace_is_rendered(write, monkeypatch):
    monkeypatch.setattr(jinja_process, "MAX_SECONDS", 2.0)
    loop = "{% if messages|length > 2 %}" + "{% for a in range(99999) %}" * 3
    path = write(PLAIN + loop + "{% endfor %}" * 3 + "{% endif %}")
    with pytest.raises(RenderError) as caught:
        render_row(ROW, path)
    assert caught.value.code == "template_limit"
    two = {"messages": ROW["messages"][1:3], "tools": None}
    assert stretches(two, path) == ["It is 36.<|im_end|>"]


def test_what_is_no_template_is_said_with_its_line(write):
    with pytest.raises(InputError, match="no valid Jinja") as caught:
        named(write("line one\n{% for %}"))
    assert caught.value.where.endswith(":2")
    with pytest.raises(InputError, match="eos_token"):
        named(write("{{ messages[0].content + eos_token }}", "other.jinja"))
    with pytest.raises(InputError, match="no chat template"):
        named("no/such/template.jinja")
    with pytest.raises(UsageError, match="unknown template"):
        named("qwen35")


def test_a_thousand_messages_take_time_in_proportion(write):
    path = write(PLAIN)
    long = {"messages": [USER, message("assistant", "It is 36.")] * 1000, "tools": None}
    named(path).render(long, Sample(2), Rendering())
    before = time.process_time()
    out = Rendering()
    named(path).render(long, Sample(2000), out)
    assert time.process_time() - before < 20  # quadratic work takes minutes
    assert len(out.message_ends) == 2000


@pytest.mark.oracle
@pytest.mark.skipif(not shipped(), reason="trl is not installed")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "path",
    [p for p in shipped() if p.stem in
     ("qwen3_5_think_training", "qwen2_5_training", "llama3_training", "phi3_training",
      "glm4moe_training", "deepseekv3_training", "gemma3_training")],
    ids=lambda p: p.stem,
)  # fmt: skip
@settings(max_examples=40, deadline=None)
@given(trace_=conversations(*CHUNKS).map(without_flags))
def test_ids_and_marks_of_trls_training_templates_are_those_of_transformers(
    tmp_path_factory, marked, path, trace_
):
    (row,) = trace_table([trace_]).to_pylist()
    folder = tmp_path_factory.getbasetemp() / path.stem
    folder.mkdir(exist_ok=True)
    (folder / "chat_template.jinja").write_text(path.read_text("utf-8"), "utf-8")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"eos_token": "<|im_end|>", "bos_token": {"content": "<|endoftext|>"}})
    )
    template = named(f"{folder}/")
    expected = marked(row, path)
    try:
        (batch,) = encoded.batches([row], load(), template)
    except RenderError:
        raise AssertionError("a refusal is no exception") from None
    if batch.unrendered:
        assert expected is None
        return
    ids, offsets, target = batch.samples()
    assert list(pairwise(offsets)) == [(0, len(ids))]
    assert expected is not None
    if any(expected[1]):
        differing = [
            k for k, (ours, theirs) in enumerate(zip(target, expected[1], strict=True))
            if ours != theirs
        ]  # fmt: skip
        # Ours end at the end token; a block that goes on is cut there.
        assert all(expected[1][k] and not target[k] for k in differing)
    assert ids.tolist() == expected[0]


@pytest.fixture(scope="module")
def marked():
    """Function (row, template file) -> (ids, mask) of transformers, or None where it refuses."""
    transformers = pytest.importorskip("transformers")
    import tokenizers

    value = json.loads(vocabulary.qwen3_5_json())
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer.from_str(json.dumps(value)),
        eos_token="<|im_end|>",
        bos_token="<|endoftext|>",
    )

    def encode(row, path):
        try:
            out = tokenizer.apply_chat_template(
                [message_value(m) for m in row["messages"]],
                tools=[tool_value(t) for t in row["tools"]] if row["tools"] else None,
                chat_template=path.read_text("utf-8"),
                return_dict=True,
                return_assistant_tokens_mask=True,
            )
        except Exception:
            return None
        return out["input_ids"], [bool(x) for x in out["assistant_masks"]]

    return encode


@settings(max_examples=60, deadline=None)
@given(row=rows)
def test_any_trace_is_cut_into_pieces_that_join_to_the_text(plain_path, row):
    try:
        pieces = render_row(row, plain_path)
    except RenderError:
        return
    sandbox = jinja_templates.sandbox(plain_path, template_hash(plain_path))
    tools = [tool_value(t) for t in row["tools"]] if row["tools"] else None
    whole = sandbox.render([message_value(m) for m in row["messages"]], tools).text
    assert "".join(p.text for p in pieces) == whole
    for piece in pieces:
        assert not piece.target or row["messages"][piece.message]["role"] == "assistant"


@pytest.fixture(scope="module")
def plain_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("template") / "plain.jinja"
    path.write_text(PLAIN, "utf-8")
    return str(path)
