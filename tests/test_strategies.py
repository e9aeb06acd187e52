"""The strategies give what they promise, so that laws tested on them mean something."""

import dataclasses
import json

import pytest
from hypothesis import Phase, find, given, settings

import strategies
from tracekit.schema import trace_door, trace_table, traces_of


@given(strategies.traces())
def test_traces_pass_the_door_and_come_back_from_arrow(trace):
    assert trace_door().validate_python(dataclasses.asdict(trace)) == trace
    assert list(traces_of(trace_table([trace]))) == [trace]


@settings(max_examples=20)
@given(strategies.trace_lists(max_size=4))
def test_lists_of_traces_have_different_ids(traces):
    assert len({t.id for t in traces}) == len(traces)
    assert list(traces_of(trace_table(traces))) == traces


@given(strategies.texts())
def test_texts_can_be_written_as_utf_8(text):
    assert text.encode().decode() == text


@given(strategies.traces())
def test_calls_are_declared_and_answered_in_order(trace):
    for k, message in enumerate(trace.messages):
        ids = [c.id for c in message.tool_calls]
        answers = trace.messages[k + 1 : k + 1 + len(ids)]
        assert [m.tool_call_id for m in answers] == ids
        assert len(set(ids)) == len(ids)
        for call in message.tool_calls:
            assert isinstance(json.loads(call.arguments), dict)
            if trace.tools is not None:
                assert call.name in {t.name for t in trace.tools}
        assert message.content != ""


def _says(trace, word):
    return any(word in (m.content or "") for m in trace.messages)


@pytest.mark.parametrize(
    "wanted",
    [
        lambda t: t.tools is None,
        lambda t: t.tools == (),
        lambda t: bool(t.tools) and any(len(m.tool_calls) > 1 for m in t.messages),
        lambda t: any(m.reasoning == "" for m in t.messages),
        lambda t: any(m.train and m.train.calls for m in t.messages),
        lambda t: _says(t, "<|im_end|>"),
        lambda t: _says(t, "\u2028"),
    ],
    ids=["tools null", "tools empty", "calls", "empty reasoning", "flags", "control", "separator"],
)
def test_odd_cases_are_really_drawn(wanted):
    # Without shrinking: that a case is drawn at all is the question.
    quick = settings(max_examples=3000, database=None, phases=[Phase.generate])
    find(strategies.traces(), wanted, settings=quick)


@given(recipe=strategies.recipes())
def test_recipes_load(recipe, tmp_path_factory):
    from tracekit.recipe import Recipe

    loaded = Recipe.from_dict(recipe, folder=tmp_path_factory.getbasetemp())
    assert set(loaded.sources) == set(recipe["sources"])
