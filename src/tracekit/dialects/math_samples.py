"""Dialect `math_samples`: several answers of models to one problem, with what became of each.

    {"idx": 4, "question": "3 + 4?", "gt": "7", "gt_cot": "Count on.", "code": ["It is 7.", "6"],
     "pred": ["7", "6"], "score": [true, false], "report": [null, null]}
    {"id": "t-1", "gt": "7", "gt_cot": "Count on.",
     "messages": [{"role": "user", "content": "3 + 4?"}, {"role": "assistant",
     "content": "```python\\nshow(3 + 4)\\n```\\n```output\\n7\\n```\\nSeven."}]}
    {"question": "3 + 4?", "ground_truth": "Count on.\\nA: 7",
     "6b_tuned": {"is_correct": false, "solution": "3 + 4 = 6"}}

Decided here:
- One trace a sample. The samples of a record have one `task_key`: the record's own number.
- Element k of every list as long as the samples belongs to sample k; no other list is cut up.
- A program with its output behind it is a call and a result (`calls: lift`, the default): as text
  of the assistant the interpreter's output would be trained. Tool and argument have no name in the
  text; they are called `python` and `code`, declared as inferred. A `<system>` note that a harness
  put between program and output becomes a user message behind the output.
- The worked reference (`gt_cot`, `ground_truth`) is no answer of a model: it stays in the meta.
- `pred` is what the source read out of a sample: meta. `score` and `is_correct` are verdicts of
  comparing it, `pred_score` is one of a reward model.
- A sample that does not compare equal is a trace all the same; its outcome says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.dialects import code_blocks, conversation, openai_message, record_keys
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.dialects.worked_answers import final_answer
from tracekit.errors import BadRecord

_QUESTIONS = ("question", "problem", "query")
_SAMPLES = ("response", "responses", "code", "samples", "solutions", "completions", "generations")
"""Lists of answers, by rank: `response` is what the model wrote, `code` what was run of it."""
_REPLIES = ("completion", "generation", "generated_solution", "output")
"""As texts these, and the keys above, hold the one reply of another dialect."""
_ANSWERS = ("gt", "ground_truth_answer", "expected_answer", "answer")
_VERDICTS = {"score": "exact_match", "pred_score": "judge"}
_NUMBERS = ("idx", "id", "problem_id", "unique_id")


def _question(value: dict[str, Any]) -> str | None:
    return next((key for key in _QUESTIONS if isinstance(value.get(key), str)), None)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)


def _sampled(value: dict[str, Any]) -> str | None:
    return next((key for key in _SAMPLES if _texts(value.get(key))), None)


def _models(value: dict[str, Any]) -> list[str]:
    """Keys under which a record holds the solution of one model with its verdict."""
    return [
        key
        for key, v in value.items()
        if isinstance(v, dict) and isinstance(v.get("solution"), str) and "is_correct" in v
    ]


def fits(value: Any) -> str:
    """Evidence that a record holds samples of one problem.

    >>> fits({"question": "3 + 4?", "gt": "7", "code": ["7"], "pred": ["7"]})
    'question and samples in code'
    """
    if not isinstance(value, dict):
        return ""
    if isinstance(value.get("messages"), list):
        worked = isinstance(value.get("gt_cot"), str) and "gt" in value
        return "messages with gt and gt_cot" if worked else ""
    question = _question(value)
    if question is None or any(isinstance(value.get(key), str) for key in _SAMPLES + _REPLIES):
        return ""
    models = _models(value)
    if models:
        return f"{question} and solutions of {len(models)} models"
    samples = _sampled(value)
    return "" if samples is None else f"{question} and samples in {samples}"


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """One trace for each sample of a record."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    value = {key: v for key, v in value.items() if v != []}
    if isinstance(value.get("messages"), list):
        return [_conversation(value, notes, options)]
    question = _question(value)
    if question is None or not value[question]:
        raise BadRecord("no_messages", "no text of a question")
    models = _models(value)
    if models:
        return _by_model(value, question, models, notes, options)
    samples = _sampled(value)
    if samples is None:
        raise BadRecord("no_assistant_message", "no list of sampled answers")
    return _by_place(value, question, samples, notes, options)


def _task_key(value: dict[str, Any]) -> str | None:
    """Number of the problem in its set, which all its samples share."""
    for key in _NUMBERS:
        given = value.get(key)
        if isinstance(given, str) and given:
            return given
        if isinstance(given, int) and not isinstance(given, bool):
            return str(given)
    return None


def _described(
    value: dict[str, Any], used: set[str], notes: Notes
) -> tuple[dict[str, Any], dict[str, Any]]:
    fields, meta = record_keys.describe(value, used, notes)
    key = _task_key(value)
    if key is not None:
        fields["task_key"] = key
    return fields, meta


def _answer(value: dict[str, Any], used: set[str], fields: dict[str, Any]) -> None:
    for key in _ANSWERS:
        given = value.get(key)
        if isinstance(given, str) and given:
            fields["answer"] = given
            used.add(key)
            return


def _turns(
    value: dict[str, Any], question: str, text: str, notes: Notes, options: Mapping[str, str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]] | None]:
    messages: list[dict[str, Any]] = []
    system = value.get("system")
    if isinstance(system, str) and system:
        messages.append({"role": "system", "content": system})
    messages.append({"role": "user", "content": value[question]})
    replies = _replies(text, notes, options)
    messages.extend(replies)
    return messages, _tools(replies)


def _replies(text: str, notes: Notes, options: Mapping[str, str]) -> list[dict[str, Any]]:
    if options.get("calls") != "as_text":
        replies = code_blocks.messages(text, notes)
    else:
        replies = [{"role": "assistant", "content": text} if text else {"role": "assistant"}]
    for reply in replies:
        if reply["role"] == "assistant" and "content" in reply:
            openai_message.split_text(reply, notes, {"calls": "as_text"})
    return replies


def _tools(replies: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """Declaration of the interpreter, where a call of it was lifted."""
    if any("tool_calls" in reply for reply in replies):
        return [dict(tool) for tool in code_blocks.TOOLS]
    return None


def _by_place(
    value: dict[str, Any],
    question: str,
    samples: str,
    notes: Notes,
    options: Mapping[str, str],
) -> list[dict[str, Any]]:
    texts = value[samples]
    n = len(texts)
    used = {question, samples, "system"}
    shared: dict[str, Any] = {}
    _answer(value, used, shared)
    used.update(
        key for key in value if key not in used and _says_the_same(value, key, question, samples)
    )
    lists = [key for key, v in value.items() if isinstance(v, list) and len(v) == n > 0]
    beside = [key for key in lists if key not in used]
    fields, meta = _described(value, used | set(beside), notes)
    fields |= shared
    traces = []
    for k, text in enumerate(texts):
        of_sample = {"sample": k} if n > 1 else {}
        outcomes = []
        for key in beside:
            element = value[key][k]
            if element is None:
                continue
            kind = _VERDICTS.get(key)
            if kind is not None and _is_verdict(element):
                outcomes.append({"value": jsontext.dump(element), "kind": kind, "name": key})
            else:
                of_sample[key] = element
        messages, tools = _turns(value, question, text, notes, options)
        own = dict(fields)
        if outcomes:
            own["outcomes"] = [*own.get("outcomes", ()), *outcomes]
        trace_meta = {**meta, **of_sample}
        conversation.finish(messages, notes, trace_meta)
        traces.append(record_keys.trace(messages, tools, own, trace_meta, notes))
    return traces


def _is_verdict(element: Any) -> bool:
    if isinstance(element, list):  # a reward model gives one number a step
        return bool(element) and all(isinstance(v, (bool, int, float)) for v in element)
    return isinstance(element, (bool, int, float))


def _says_the_same(value: dict[str, Any], key: str, question: str, samples: str) -> bool:
    """Does a key repeat the question, the samples or the worked reference, word for word?"""
    v = value[key]
    if key in _QUESTIONS:
        return bool(v == value[question])
    if key in _SAMPLES:
        return bool(v == value[samples])
    return key == "solution" and isinstance(v, str) and v == value.get("gt_cot")


def _by_model(
    value: dict[str, Any],
    question: str,
    models: list[str],
    notes: Notes,
    options: Mapping[str, str],
) -> list[dict[str, Any]]:
    used = {question, "system", *models}
    worked = value.get("ground_truth")
    answer = final_answer(worked) if isinstance(worked, str) else None
    if isinstance(worked, str):
        used.add("ground_truth")
    fields, meta = _described(value, used, notes)
    if isinstance(worked, str) and worked:
        meta["ground_truth"] = worked
        last = worked.rstrip().rsplit("\n", 1)[-1]
        answer = answer or (last.removeprefix("A:").strip() if last.startswith("A:") else None)
        if answer:
            fields["answer"] = answer
    traces = []
    for model in models:
        given = value[model]
        messages, tools = _turns(value, question, given["solution"], notes, options)
        own = {**fields, "model": model}
        verdict = given["is_correct"]
        rest = {key: v for key, v in given.items() if key not in ("solution", "is_correct")}
        if isinstance(verdict, bool):
            told = {"value": jsontext.dump(verdict), "kind": "exact_match", "name": "is_correct"}
            own["outcomes"] = [*own.get("outcomes", ()), told]
        elif verdict is not None:
            rest["is_correct"] = verdict
        trace_meta = {**meta, **({"sample": rest} if rest else {})}
        conversation.finish(messages, notes, trace_meta)
        traces.append(record_keys.trace(messages, tools, own, trace_meta, notes))
    return traces


def _conversation(
    value: dict[str, Any], notes: Notes, options: Mapping[str, str]
) -> dict[str, Any]:
    used = {"messages"}
    shared: dict[str, Any] = {}
    _answer(value, used, shared)
    fields, meta = _described(value, used, notes)
    fields |= shared
    messages: list[dict[str, Any]] = []
    replies: list[dict[str, Any]] = []
    for k, turn in enumerate(value["messages"]):
        message = openai_message.read_message(turn, k, notes, {"calls": "as_text"})
        if message["role"] != "assistant" or "tool_calls" in message or "content" not in message:
            messages.append(message)
            continue
        lifted = _replies(message["content"], notes, options)
        first = lifted[0]
        lifted[0] = {key: v for key, v in message.items() if key != "content"} | first
        replies.extend(lifted)
        messages.extend(lifted)
    conversation.finish(messages, notes, meta)
    return record_keys.trace(messages, _tools(replies), fields, meta, notes)


dialect = Dialect(
    name="math_samples",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=(
        *conversation.CODES,
        *openai_message.CODES,
        *record_keys.CODES,
        *code_blocks.CODES,
    ),
    options=(code_blocks.CALLS,),
)
