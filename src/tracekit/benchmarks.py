"""Sets that are a benchmark: told by the ids, keys and file names of their records.

No question is compared with any other: that is decontamination, and comes much later. This only
says aloud what a set says of itself, so that it is measured and not trained on by default. A rule
speaks where most sampled records of a file bear it out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Value: TypeAlias = dict[str, Any]

MIN_SHARE = 0.5
"""Share of the sampled records that a rule must hold for."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One rule: what the set is, why, and the test of one record with the words of its path."""

    name: str
    why: str
    holds: Callable[[Value, frozenset[str]], bool]
    min_share: float = MIN_SHARE
    """Share of the sampled records that it must hold for, in any case one."""


def _id(key: str, pattern: str) -> Callable[[Value, frozenset[str]], bool]:
    """Does the id under a key look like those of a benchmark?"""
    compiled = re.compile(pattern)

    def holds(value: Value, _: frozenset[str]) -> bool:
        found = value.get(key)
        return isinstance(found, str) and compiled.fullmatch(found) is not None

    return holds


def _keys(*keys: str) -> Callable[[Value, frozenset[str]], bool]:
    """Has a record all of these keys?"""
    wanted = frozenset(keys)
    return lambda value, _: wanted <= value.keys()


def _keys_and_name(keys: Sequence[str], *words: str) -> Callable[[Value, frozenset[str]], bool]:
    """Has a record these keys, in a file whose path has all of these words?"""
    wanted, named = frozenset(keys), frozenset(words)
    return lambda value, path: named <= path and wanted <= value.keys()


def _named(*words: str) -> Callable[[Value, frozenset[str]], bool]:
    """Stand all of these words in the path of the file?"""
    named = frozenset(words)
    return lambda _, path: named <= path


def _inner(key: str, *keys: str) -> Callable[[Value, frozenset[str]], bool]:
    """Has the object under a key all of these keys?"""
    wanted = frozenset(keys)

    def holds(value: Value, _: frozenset[str]) -> bool:
        held = value.get(key)
        return isinstance(held, dict) and wanted <= held.keys()

    return holds


_BFCL = (
    r"(live_)?(simple|multiple|parallel|parallel_multiple|irrelevance|relevance|java|javascript|"
    r"rest|sql|chatable|exec_[a-z_]+|multi_turn_[a-z_]+|simple_[a-z]+|memory_[a-z_]+|"
    r"web_search_[a-z_]+)_[0-9]+(-[0-9]+)*"
)
_SWE_BENCH = (
    r"(astropy|django|matplotlib|mwaskom|pallets|psf|pydata|pylint-dev|pytest-dev|scikit-learn|"
    r"sphinx-doc|sympy|sqlfluff|marshmallow-code|pvlib|pydicom|pyvista)__[A-Za-z0-9_.-]+-[0-9]+"
)
_HUMANEVAL = r"(HumanEval|Python|CPP|Java|JavaScript|Go|Rust)/[0-9]+"

RULES: tuple[Benchmark, ...] = (
    Benchmark("BFCL", "ids such as live_simple_0-0-0", _id("id", _BFCL)),
    Benchmark(
        "tau-bench", "task_id, trial and reward", _keys("task_id", "trial", "reward", "traj")
    ),
    Benchmark("tau-bench", "a Mock...DomainEnv file", _named("mockairlinedomainenv")),
    Benchmark("tau-bench", "a Mock...DomainEnv file", _named("mockretaildomainenv")),
    Benchmark("tau2-bench", "tasks under one info", _keys("timestamp", "info", "tasks")),
    Benchmark(
        "tau2-bench",
        "a task with its simulated user",
        _keys("user_scenario", "evaluation_criteria"),
    ),
    Benchmark(
        "tau2-bench",
        "a simulation: task_id, termination_reason, trial",
        _keys("task_id", "termination_reason", "trial", "seed"),
    ),
    Benchmark(
        "Who&When (questions of GAIA)",
        "mistake_agent and mistake_step",
        _keys("question_ID", "mistake_agent", "mistake_step"),
    ),
    Benchmark(
        "GAIA",
        "Question, Level and Final answer",
        _keys("task_id", "Question", "Level", "Final answer"),
    ),
    Benchmark(
        "GSM8K test",
        "question and answer in a test file",
        _keys_and_name(("question", "answer"), "gsm8k", "test"),
    ),
    Benchmark(
        "GSM8K test",
        "model solutions of its repository",
        _keys("question", "ground_truth", "175b_verification"),
    ),
    Benchmark(
        "GSM8K test",
        "gt and pred of an evaluation",
        _keys_and_name(("gt", "pred", "report"), "gsm8k"),
    ),
    Benchmark(
        "MATH test",
        "gt and pred of an evaluation",
        _keys_and_name(("gt", "pred", "report"), "math"),
    ),
    Benchmark(
        "MATH test",
        "ids such as test/algebra/12.json",
        _id("unique_id", r"test/[a-z_]+/[0-9]+\.json"),
    ),
    Benchmark(
        "MATH test", "ids such as test/algebra/12.json", _id("id", r"test/[a-z_]+/[0-9]+\.json")
    ),
    Benchmark(
        "MATH test",
        "problem and level in a test file",
        _keys_and_name(("problem", "level", "type"), "math", "test"),
    ),
    Benchmark("an evaluation's predictions", "gt, pred and report", _keys("gt", "pred", "report")),
    Benchmark("AIME", "year and number of a contest in each row", _keys("year", "aime_number")),
    Benchmark("AIME", "ids such as 2024-I-3", _id("id", r"(19|20)[0-9]{2}-I{1,2}-[0-9]{1,2}")),
    Benchmark("AIME", "ids such as 2024-I-3", _id("ID", r"(19|20)[0-9]{2}-I{1,2}-[0-9]{1,2}")),
    Benchmark(
        "OCWCourses",
        "problem and solution in an ocw file",
        _keys_and_name(("problem", "solution"), "ocw"),
    ),
    Benchmark(
        "MMLU-Pro",
        "options with answer_index and src",
        _keys("question_id", "options", "answer_index"),
    ),
    Benchmark(
        "GPQA",
        "Correct Answer and Incorrect Answer 1",
        _keys("Correct Answer", "Incorrect Answer 1"),
    ),
    Benchmark("HumanEval", "ids such as HumanEval/12", _id("task_id", _HUMANEVAL)),
    Benchmark("MBPP", "task_id with test_list", _keys("task_id", "test_list", "code")),
    Benchmark(
        "LiveCodeBench",
        "contest_id with public_test_cases",
        _keys("contest_id", "public_test_cases"),
    ),
    Benchmark("SWE-bench", "instance ids of its repositories", _id("instance_id", _SWE_BENCH)),
    Benchmark("IFEval", "instruction_id_list with kwargs", _keys("instruction_id_list", "kwargs")),
    Benchmark(
        "Arena-Hard", "judgement-gen-base", _keys("judgement-gen-base", "judgement-base-gen")
    ),
    Benchmark(
        "ToolTalk",
        "suites_used, apis_used and a scenario",
        _keys("suites_used", "apis_used", "scenario"),
    ),
    Benchmark("WebArena", "intent with eval and sites", _keys("intent", "eval", "sites")),
    Benchmark(
        "an evaluation log of Inspect",
        "eval.task with eval.dataset",
        _inner("eval", "task", "dataset"),
        min_share=0.0,  # of an archive, the header alone
    ),
    Benchmark(
        "WebArena",
        "its tasks in a webarena file",
        _keys_and_name(("task_id", "intent"), "webarena"),
    ),
    Benchmark("HotpotQA dev", "a hotpotqa dev file", _named("hotpotqa", "dev")),
    Benchmark(
        "MBPP", "tests in an mbpp file", _keys_and_name(("prompt", "test", "entry_point"), "mbpp")
    ),
    Benchmark(
        "HumanEval",
        "tests in a humaneval file",
        _keys_and_name(("prompt", "test", "entry_point"), "humaneval"),
    ),
    Benchmark("HumanEvalFix", "a humanevalfix file", _named("humanevalfix")),
    Benchmark("SWE-bench", "a swe-bench file", _named("swe", "bench")),
    Benchmark(
        "API-Bank", "an apibank file", _keys_and_name(("query", "tools", "answers"), "apibank")
    ),
    Benchmark(
        "Seal-Tools", "a sealtool file", _keys_and_name(("query", "tools", "answers"), "sealtool")
    ),
    Benchmark(
        "ToolAlpaca test",
        "a toolalpaca file",
        _keys_and_name(("query", "tools", "answers"), "toolalpaca"),
    ),
    Benchmark(
        "ToolAlpaca test",
        "statistics of a toolalpaca evaluation",
        _keys_and_name(("statistics",), "toolalpaca7b"),
    ),
    Benchmark("ToolEval of ToolBench", "a tooleval file", _named("tooleval")),
)

_LETTER_KEYS = ("actual_answer_label", "actual_answer")
_TEN_OPTIONS = frozenset("ABCDEFGHIJ")


def _ten_options(values: Sequence[Value]) -> bool:
    """Are the right answers letters of ten options? Four or five options are everywhere."""
    letters = [
        value[key]
        for value in values
        if "question_id" in value
        for key in _LETTER_KEYS
        if isinstance(value.get(key), str) and value[key] in _TEN_OPTIONS
    ]
    return len(letters) >= MIN_SHARE * len(values) and any(letter > "E" for letter in letters)


def words_of(path: str) -> frozenset[str]:
    """Words of a path in lower case.

    >>> sorted(words_of("gsm8k/test_socratic.head300.jsonl"))
    ['gsm8k', 'head300', 'jsonl', 'socratic', 'test']
    """
    return frozenset(re.findall(r"[a-z0-9]+", path.lower()))


def benchmark_of(path: str, values: Sequence[Any]) -> tuple[str, str] | None:
    """(benchmark, why) that sampled records of a file say that they are, or None.

    >>> benchmark_of("a.json", [{"id": "live_simple_3-1-0", "question": []}])
    ('BFCL', 'ids such as live_simple_0-0-0')
    >>> benchmark_of("gsm8k/train.jsonl", [{"question": "9*4?", "answer": "#### 36"}])
    """
    # What a container says beside the record (the member of an archive) is not the record's.
    inner = [
        value["value"] if value.keys() == {"member", "value"} else value
        for value in values
        if isinstance(value, dict)
    ]
    objects = [value for value in inner if isinstance(value, dict)]
    if not objects:
        return None
    words = words_of(path)
    for rule in RULES:
        n = sum(rule.holds(value, words) for value in objects)
        if n and n >= rule.min_share * len(values):
            return rule.name, rule.why
    if _ten_options(objects):
        return "MMLU-Pro", "question_id with answers among ten options"
    return None
