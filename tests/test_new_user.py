"""What a first user ran into: each is told in time, or is right."""

import hashlib
import json
from pathlib import Path

import pytest

import tracekit
from road import Road, fresh, go, says, travel, user, write_files
from tracekit import stages
from tracekit.cli import run as cli
from tracekit.errors import InputError, UsageError
from tracekit.recipe import Recipe
from tracekit.render import render_row

TALK = {"messages": [user("What is nine times four?"), says("It is thirty-six.")]}
OTHER = {"messages": [user("And what is nine times five?"), says("It is forty-five.")]}


def hashes(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_the_order_of_sources_is_kept_in_the_workspace_and_a_change_of_it_is_told(
    tmp_path: Path,
) -> None:
    road = travel(tmp_path, {"zed/a.jsonl": [TALK], "abc/a.jsonl": [TALK]})
    assert [r["source"] for r in road.rows()] == ["zed"]
    here = tracekit.open(road.work)
    assert list(here.recipe.sources) == ["zed", "abc"]
    _, decided = here.decided()
    assert decided.traces.filter(kept=True)["source"].to_list() == ["zed"]
    again = stages.shard(here.recipe, road.work, tmp_path / "again")
    assert hashes(tmp_path / "again" / "data") == hashes(road.out / "data")
    assert any("nothing" in n or "written" in n for n in [*again.notes, "written"])
    swapped = {"abc": {"path": "in/abc/a.jsonl"}, "zed": {"path": "in/zed/a.jsonl"}}
    other = go(tmp_path, {"sources": swapped})
    assert [r["source"] for r in other.rows()] == ["abc"]
    assert any("order of sources" in note for note in other.report.notes)


@pytest.mark.parametrize(
    "rule",
    ["n_tokens", "n_tokenz > 5", "source = 3", "n_tokens > (", "n_tokens > 'a'", "1/0 > n_tokens"],
)
def test_a_rule_that_cannot_be_used_changes_nothing(
    tmp_path: Path, rule: str, capfd: pytest.CaptureFixture[str]
) -> None:
    road = travel(tmp_path, {"a.jsonl": [TALK, OTHER]})
    before = hashes(road.work)
    code = cli(["filter", "-w", str(road.work), "--rule", f"x: {rule}"])
    told = capfd.readouterr().err
    assert "Traceback" not in told
    assert "error[bug]" not in told
    if code != 0:
        assert code == 2
        assert hashes(road.work) == before
    assert cli(["stats", "-w", str(road.work)]) == 0
    assert cli(["filter", "-w", str(road.work), "--max-tokens", "1000"]) == 0
    capfd.readouterr()


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ m.content }{% endfor %}", "no valid Jinja"),
        ("", "does not write what is said"),
        ("{% for m in messages %}x{% endfor %}", "does not write what is said"),
    ],
)
def test_a_template_that_is_none_stops_before_anything_is_read(
    tmp_path: Path, template: str, words: str
) -> None:
    pytest.importorskip("jinja2")
    (tmp_path / "t.jinja").write_text(template, "utf-8")
    with pytest.raises(InputError, match=words):
        travel(tmp_path, {"a.jsonl": [TALK]}, render={"template": "t.jinja"})
    assert not (tmp_path / "run" / "work" / "manifest.json").exists()


def test_a_template_file_trains_what_the_same_template_of_ours_trains(tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    (tmp_path / "t.jinja").write_text(
        "{% for m in messages %}{% if m.role == 'assistant' %}<|im_start|>assistant\n<think>\n"
        "{{ m.reasoning_content or '' }}\n</think>\n\n{{ m.content }}<|im_end|>\n"
        "{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}",
        "utf-8",
    )
    messages = [
        {"role": "user", "content": "9*4?"},
        {"role": "assistant", "content": "36", "reasoning": "nine fours"},
        {"role": "user", "content": "9*5?"},
        {"role": "assistant", "content": "45", "reasoning": None},
    ]
    row = {"messages": messages, "tools": None}
    ours, theirs = (
        [(t, p.target) for p in render_row(row, name) for t in p.text]
        for name in ("qwen3.5", str(tmp_path / "t.jinja"))
    )
    assert ours == theirs


def test_a_template_whose_end_token_the_tokenizer_lacks_is_found(tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    (tmp_path / "t.jinja").write_text(
        "{% for m in messages %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|return|>"
        "{% endfor %}"
    )
    road = travel(tmp_path, {"a.jsonl": [TALK]}, render={"template": "t.jinja"})
    assert len(road.said("end_token_is_text")) == 1


@pytest.mark.parametrize("tag", ["<think>", "</think>", "<tool_call>", "</tool_response>"])
@pytest.mark.parametrize("field", ["user", "reasoning", "result"])
def test_every_tag_that_is_one_token_is_found_wherever_it_stands(tag: str, field: str) -> None:
    text = f"what does {tag} mean here"
    called = says("", tool_calls=[{"id": "c", "function": {"name": "f", "arguments": "{}"}}])
    talks = {
        "user": [user(text), says("A tag.")],
        "reasoning": [user("What?"), says("A tag.", reasoning_content=text)],
        "result": [user("What?"), called, {"role": "tool", "tool_call_id": "c", "content": text},
                   says("A tag.")],
    }  # fmt: skip
    road = travel(fresh(), {"a.jsonl": [{"messages": talks[field]}]})
    assert road.said("tags_in_text") | road.said("stray_think")


def test_a_workspace_inside_of_a_source_is_refused(tmp_path: Path) -> None:
    write_files(tmp_path / "in", {"a.jsonl": [TALK]})
    recipe = Recipe.from_dict({"sources": {"s": {"path": "in"}}}, folder=tmp_path)
    for work in (tmp_path / "in", tmp_path / "in" / "work"):
        with pytest.raises(UsageError, match="inside source s"):
            tracekit.run(recipe, work=work, out=tmp_path / "out")
    assert [p.name for p in (tmp_path / "in").iterdir()] == ["a.jsonl"]


def test_a_record_that_nests_too_deep_is_one_reject_and_no_trace(tmp_path: Path) -> None:
    deep = json.dumps(TALK)[:-1] + ', "m": ' + "[" * 5000 + "]" * 5000 + "}\n"
    source = {"made": {"dialect": "openai"}}
    road: Road = travel(tmp_path, {"a.jsonl": deep.encode()}, sources=source)
    assert [r["code"] for r in road.rejects()] == ["too_deep"]
    assert road.traces() == []
