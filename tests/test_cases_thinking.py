"""Public cases R07, R08, R09, R25: reasoning is told from answers, once, in all its spellings."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from road import Road, fresh, says, travel, user
from tracekit import rules, tokenizers
from tracekit.kernels.loops import loops
from tracekit.recipe import Recipe
from tracekit.render import render_text

words = st.text("abcdefgh .,\n+=", min_size=1, max_size=40).map(lambda t: f"So {t} then.")
answers = st.from_regex(r"[0-9]{1,4}", fullmatch=True)


def talk(reply: dict[str, Any], asked: str = "9*4?") -> dict[str, Any]:
    return {"messages": [user(asked), reply]}


def reply_of(road: Road) -> dict[str, Any]:
    (row,) = road.rows()
    reply: dict[str, Any] = row["messages"][1]
    return reply


@given(words, answers)
@settings(max_examples=6)
def test_r07_the_two_names_of_reasoning_are_one_record_and_the_report_counts_them(
    thought: str, answer: str
) -> None:
    road = travel(
        fresh(),
        {
            "a.jsonl": [
                talk(says(answer, reasoning=thought)),
                talk(says(answer, reasoning_content=thought)),
                talk(says(answer, reasoning=thought, reasoning_content=thought)),
                talk(says(f"<think>\n{thought}\n</think>\n\n{answer}")),
            ]
        },
    )
    reply = reply_of(road)
    assert (reply["reasoning_content"].strip(), reply["content"]) == (thought.strip(), answer)
    dropped = road.said("exact_duplicate") | road.said("near_duplicate")
    assert len(dropped) == 3
    counters = road.report.data["read"]["counters"]
    assert counters == {"reasoning_field:reasoning": 2, "reasoning_field:reasoning_content": 2}
    noted = [note for note in road.report.notes if note.startswith("reasoning was read from")]
    assert noted == ["reasoning was read from reasoning: 2 messages, reasoning_content: 2 messages"]


@given(words, words, answers)
@settings(max_examples=5)
def test_r07_two_different_reasonings_of_one_message_are_a_conflict_that_can_be_dropped(
    one: str, two: str, answer: str
) -> None:
    found = [talk(says(answer, reasoning=one, reasoning_content=two)), talk(says("1"), "one?")]
    folder = fresh()
    road = travel(folder, {"a.jsonl": found})
    wanted = {"made:a.jsonl#0"} if one.strip() != two.strip() else set()
    assert road.said("conflicting_reasoning") == wanted
    kept = road.by_task()["9*4?"]["messages"][1]["reasoning_content"]
    assert kept in (one, two)
    meta = road.traces()[0]["messages"][1]["meta"]
    if wanted:
        assert sorted([kept, *json.loads(meta)["reasoning_conflict"].values()]) == sorted(
            [one, two]
        )
    strict = travel(
        folder, {"a.jsonl": found}, validate={"drop": ["conflicting_reasoning"]}, name="strict"
    )
    assert set(strict.by_task()) == ({"one?"} if wanted else {"one?", "9*4?"})


TAGS = (("<think>", "</think>"), ("<thinking>", "</thinking>"), ("<reasoning>", "</reasoning>"))


@given(words, answers, st.sampled_from(TAGS), st.sampled_from(("\n", "", "\n\n")))
@settings(max_examples=6)
def test_r08_a_closing_tag_alone_parts_reasoning_from_answer_as_both_tags_do(
    thought: str, answer: str, tags: tuple[str, str], gap: str
) -> None:
    opening, closing = tags
    road = travel(
        fresh(),
        {
            "a.jsonl": [
                talk(says(f"{thought}\n{closing}{gap}{answer}")),
                talk(says(f"{opening}\n{thought}\n{closing}{gap}{answer}")),
                talk(says(answer), "without"),
            ]
        },
    )
    one, two, three = (t["messages"][1] for t in road.traces())
    assert (one["reasoning"], one["content"]) == (two["reasoning"], two["content"])
    assert (one["reasoning"], one["content"]) == (thought.strip(), answer)
    assert (three["reasoning"], three["content"]) == (None, answer)
    repairs = road.report.data["read"]["repairs"]
    assert repairs == {"think_closing_only": 1, "think_tags_split": 1}
    text = render_text(road.traces()[0])
    assert (text.count("<think>"), text.count("</think>")) == (1, 1)
    assert "<think>\n\n</think>" not in text
    assert opening == "<think>" or opening not in text


@pytest.mark.parametrize(
    "text",
    [
        "Close the block with </think> and go on.",
        "```\nplan\n</think>\n```\nis what the file holds.",
        "The tags are `<think>` and `</think>`.",
    ],
)
def test_r08_a_tag_that_is_only_mentioned_parts_nothing(tmp_path: Any, text: str) -> None:
    road = travel(tmp_path, {"a.jsonl": [talk(says(text))]})
    assert reply_of(road) == {"role": "assistant", "content": text}
    assert road.said("stray_think") == {"made:a.jsonl#0"}


ROUND = "But how is Ada linked to Ugo? Ada is the child of Iva. Iva is the child of Ole. "
TABLE = "\n".join(
    f"row {k:02d}: " + " ".join(f"{name}={(k >> j) & 1}" for j, name in enumerate("pqrstu"))
    for k in range(64)
)


def quickstart(**changes: Any) -> dict[str, Any]:
    """The switches of the quickstart, for other sources."""
    file = Path(__file__).parent.parent / "pipelines" / "quickstart.yaml"
    held = Recipe.load(file).to_dict()
    return {k: held[k] for k in ("validate", "filter", "dedupe") if k in held} | changes


def looping() -> dict[str, list[dict[str, Any]]]:
    return {
        "a.jsonl": [
            talk(says("<think>\n" + ROUND * 400, finish_reason="length"), "endless"),
            talk(says(f"<think>\n{TABLE}\n</think>\n\nValid."), "table"),
            talk(says(f"<think>\n{ROUND * 2}\n</think>\n\nHer grandson."), "twice"),
        ]
    }


def test_the_quickstart_drops_all_that_the_cases_want_kept_out() -> None:
    file = Path(__file__).parent.parent / "pipelines" / "quickstart.yaml"
    drops = {r.code for r in rules.of_recipe(Recipe.load(file)).rules if r.action == "drop"}
    assert drops >= {
        *("arguments_not_object", "conflicting_reasoning", "control_tokens", "empty_answer"),
        *("empty_message", "empty_target", "loop", "truncated", "unclosed_think", "unknown_tool"),
    }


def test_r09_endless_reasoning_is_dropped_for_its_loop_and_its_open_block_by_the_quickstart(
    tmp_path: Any,
) -> None:
    road = travel(tmp_path, looping(), **quickstart())
    assert set(road.by_task()) == {"table", "twice"}
    codes = road.ledger().filter(road.ledger()["id"] == "made:a.jsonl#0")["code"].to_list()
    assert {"loop", "unclosed_think", "truncated"} <= set(codes)
    others = road.ledger().filter(road.ledger()["id"] != "made:a.jsonl#0")["code"].to_list()
    assert others == []


def test_r09_an_open_block_is_never_an_answer_even_where_it_is_only_flagged(tmp_path: Any) -> None:
    road = travel(tmp_path, looping())
    reply = road.by_task()["endless"]["messages"][1]
    assert reply["content"] == ""
    assert reply["reasoning_content"] == (ROUND * 400).strip()
    assert {"made:a.jsonl#0"} == road.said("unclosed_think") == road.said("loop")


shapes_of_loops = st.tuples(st.integers(2, 40), st.integers(1, 60), st.integers(0, 40))


@given(st.lists(shapes_of_loops, min_size=12, max_size=12))
@settings(max_examples=3)
def test_r09_a_loop_of_any_period_is_measured_from_three_rounds_and_200_tokens_on(
    shapes: list[tuple[int, int, int]],
) -> None:
    found, sizes = [], []
    for k, (n_words, n_rounds, n_lead) in enumerate(shapes):
        block = "".join(f"w{j * j} " for j in range(n_words))
        lead = "".join(f"start{j * 7} " for j in range(n_lead))
        found.append(talk(says("ok", reasoning=lead + block * n_rounds), f"question {k}"))
        sizes.append(tokenizers.load("qwen3.5").count([block * 2, block]))
    road = travel(fresh(), {"a.jsonl": found}, dedupe=False)
    for (_, n_rounds, _), (two, one), tokens in zip(
        shapes, sizes, road.evidence("tokens"), strict=True
    ):
        n_looped, period = tokens["loop_tokens"], int(two - one)
        assert n_looped + period <= tokens["n_reasoning_tokens"] or n_looped == 0
        assert (n_looped == 0) == (tokens["loop_share"] == 0)
        if n_rounds < 3 or n_rounds * period < 190:
            assert n_looped == 0
        # The ends of a text may be cut into other tokens than its middle, hence one round less.
        if n_rounds > 4 and (n_rounds - 1) * period > 210:
            assert tokens["loop_period"] == period
            assert n_looped >= (n_rounds - 2) * period


def n_steps(text: str) -> int:
    """Comparisons that the search for loops makes on the tokens of a text."""
    ids, offsets = tokenizers.load("qwen3.5").encode_flat([text])
    return int(loops(ids, offsets[:1], offsets[1:]).steps_R[0])


@pytest.mark.parametrize(
    "block",
    [ROUND, "a ", "ab" * 40 + " ", "".join(f"{k} " for k in range(3_000)), "0 1 0 1 1 0 2 "],
    ids=["sentences", "word", "half", "long", "repeats within"],
)
def test_r09_ten_times_the_text_takes_ten_times_the_comparisons(block: str) -> None:
    short, long = (n_steps((block * (size // len(block) + 1))[:size]) for size in (10**5, 10**6))
    assert 0 < long <= 12 * short


def line(kind: str, uuid: str, parent: str | None, message: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": kind,
        "uuid": uuid,
        "parentUuid": parent,
        "sessionId": "s1",
        "message": {"role": kind, **message},
    }


def session(replies: list[tuple[str | None, list[str], bool]]) -> list[dict[str, Any]]:
    """Lines of a session: per reply its id, the kinds of its blocks, and usage that grows."""
    made = [line("user", "u", None, {"content": "list the files"})]

    def add(kind: str, message: dict[str, Any]) -> None:
        made.append(line(kind, f"l{len(made)}", made[-1]["uuid"], message))

    for r, (name, kinds, grows) in enumerate(replies):
        for b, kind in enumerate(kinds):
            block = {
                "thinking": {"type": "thinking", "thinking": f"think {r}.{b}"},
                "text": {"type": "text", "text": f"say {r}.{b}"},
                "tool_use": {"type": "tool_use", "id": f"t{r}", "name": "Ls", "input": {"r": r}},
            }[kind]
            n = 57_000 if b == len(kinds) - 1 or not grows else 1
            about = {"usage": {"input_tokens": 10_000, "output_tokens": n}}
            if name is not None:
                about["id"] = name
            add("assistant", {"content": [block], **about})
        if kinds[-1] == "tool_use":
            found = {"type": "tool_result", "tool_use_id": f"t{r}", "content": f"result {r}"}
            add("user", {"content": [found]})
    return made


blocks = st.sampled_from(
    (["thinking", "text", "tool_use"], ["thinking", "tool_use"], ["text", "tool_use"], ["tool_use"])
)


@given(st.lists(st.tuples(blocks, st.booleans()), min_size=1, max_size=4), st.booleans())
@settings(max_examples=8)
def test_r25_lines_of_one_reply_are_one_message_whose_usage_counts_once(
    shapes: list[tuple[list[str], bool]], ends: bool
) -> None:
    replies: list[tuple[str | None, list[str], bool]] = [
        (f"m{r}", kinds, grows) for r, (kinds, grows) in enumerate(shapes)
    ]
    if ends:
        replies.append(("last", ["text"], False))
    road = travel(fresh(), {"s.jsonl": session(replies)})
    (row,) = road.rows()
    roles = [m["role"] for m in row["messages"]]
    wanted = ["user"]
    for _, kinds, _ in replies:
        wanted += ["assistant"] + (["tool"] if kinds[-1] == "tool_use" else [])
    assert roles == wanted
    told = [m for m in row["messages"] if m["role"] == "assistant"]
    for r, (message, (_, kinds, _)) in enumerate(zip(told, replies, strict=True)):
        place = {kind: b for b, kind in enumerate(kinds)}
        thought = f"think {r}.{place['thinking']}" if "thinking" in place else None
        assert message.get("reasoning_content") == thought
        assert message["content"] == (f"say {r}.{place['text']}" if "text" in place else "")
        calls = [c["function"]["arguments"] for c in message.get("tool_calls", ())]
        assert calls == ([{"r": r}] if "tool_use" in place else [])
    (trace,) = road.traces()
    usage = [json.loads(m["meta"])["usage"] for m in trace["messages"] if m["role"] == "assistant"]
    assert usage == [{"input_tokens": 10_000, "output_tokens": 57_000}] * len(replies)
    # Own counts come from the text, whatever the log says about itself.
    (tokens,) = road.evidence("tokens")
    assert row["n_tokens"] == tokens["n_tokens"] < 10_000


def test_r25_lines_without_an_id_are_messages_of_their_own(tmp_path: Any) -> None:
    road = travel(
        tmp_path, {"s.jsonl": session([(None, ["text"], False), (None, ["text"], False)])}
    )
    (row,) = road.rows()
    assert [m["content"] for m in row["messages"]] == ["list the files", "say 0.0", "say 1.0"]
