"""Recipes: exact amounts, places of mistakes, round trips."""

import json
import pickle
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tracekit.amounts import bytes_of, tokens_of
from tracekit.errors import EXIT_USAGE, InputError, StorageError, UsageError
from tracekit.recipe import Recipe, RecipeError
from tracekit.yamlplace import MAX_NODES, Place, excerpt, load

GOOD = """\
# a comment
version: 1
name: reasoning
sources:
  vendor: {path: "traces/*.jsonl", dialect: openai}
  hermes: {path: [a.json, b.json], limit: 3, use: eval-only}
render:
dedupe: {threshold: 0.8}
filter:
  max_tokens: 32k
  rules: [{code: too_dull, keep: "n_tokens > 3", null: keep}]
shard: {tokens_per_shard: 10M, max_bytes: 64MiB}
"""


def told(text: str, name: str = "r.yaml") -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        Recipe.from_yaml(text, name=name)
    return caught.value


def test_a_recipe_reads_with_its_defaults() -> None:
    recipe = Recipe.from_yaml(GOOD)
    assert recipe.filter.max_tokens == 32_000
    assert recipe.shard.tokens_per_shard == 10_000_000
    assert recipe.shard.max_bytes == 64 << 20
    assert recipe.filter.rules[0].null == "keep"
    assert recipe.render.tokenizer == "qwen3.5"
    assert recipe.sources["vendor"].path == ("traces/*.jsonl",)
    assert recipe.sources["hermes"].limit == 3
    assert list(recipe.sources) == ["vendor", "hermes"]
    assert recipe.seed == 42


@pytest.mark.parametrize(
    ("old", "new", "at", "what", "hint"),
    [
        ("max_tokens:", "max_token:", "max_token:", "unknown key 'max_token'", "'max_tokens'"),
        ("  vendor: {path", "  vendor: {paths", "paths", "unknown key 'paths'", "'path'"),
        ("threshold: 0.8", "threshold: high", "high", "dedupe.threshold is 'high'", "a number"),
        ("threshold: 0.8", "threshold: 1.5", "1.5", "dedupe.threshold is 1.5", "less than"),
        ("threshold: 0.8", "threshold: .nan", ".nan", ".nan", "a number"),
        ("32k", "3.5", "3.5", "filter.max_tokens is 3.5", "whole number"),
        ("32k", "32x", "32x", "filter.max_tokens is '32x'", "known units"),
        ("32k", "-1", "-1", "filter.max_tokens is -1", "from 0"),
        ("limit: 3", "limit: yes", "yes", "sources.hermes.limit is 'yes'", "a whole number"),
        ("limit: 3", "limit: 0", "0, use", "sources.hermes.limit is 0", "greater than or equal"),
        ("eval-only", "eval_only", "eval_only", "'eval_only'", "'eval-only'"),
        ("[a.json, b.json]", "[a.json, 3]", "3], limit", "sources.hermes.path[1] is 3", "quote"),
        ("too_dull", "Too Dull", "Too Dull", "'Too Dull'", "snake_case"),
        ("null: keep", "null: drop", "drop}]", "'drop'", "keep, unmeasured"),
        ("  vendor:", "  a/b:", "a/b:", "'a/b'", "letters, digits"),
        ("render:", "render: 3", "3\ndedupe", "render is 3", "a mapping"),
        ("{threshold: 0.8}", "7", "7\nfilter", "dedupe is 7", "a mapping"),
        ("sources:", "source:", "source:", "unknown key 'source'", "'sources'"),
        ("name: reasoning", "name: a\nname: b", "name: b", "key 'name' is given twice", "3"),
        ("name: reasoning", "name: [", ": {path", "not YAML", "flow sequence"),
        ("name: reasoning", "name: !!str x", "!!str", "a tag", "no tags"),
        ("name: reasoning", "name: *x", "*x", "no anchor 'x'", "&x"),
        ("name: reasoning", "<<: {seed: 3}", "<<", "merge key", "written out"),
        ("name: reasoning", "name: a\x07", "\x07", "not YAML", "#x0007"),
    ],
)
def test_a_mistake_is_told_at_its_place(old: str, new: str, at: str, what: str, hint: str) -> None:
    assert GOOD.count(old) == 1
    text = GOOD.replace(old, new)
    error = told(text)
    line, column = map(int, str(error.where).removeprefix("r.yaml:").split(":"))
    rest = "\n".join([text.split("\n")[line - 1][column - 1 :], *text.split("\n")[line:]])
    assert rest.startswith(at)
    assert what in error.what
    assert hint in str(error)
    assert error.exit_code == EXIT_USAGE
    assert error.wrote == "nothing was read or written"
    assert str(error.excerpt).startswith(f"{line} | ")
    assert "^" in str(error.excerpt)


def test_the_caret_stands_under_the_mistake() -> None:
    error = told(GOOD.replace("threshold: 0.8", "treshold: 0.8"))
    shown, marks = str(error.excerpt).split("\n")
    at = marks.index("^")
    assert shown[at : at + len("treshold")] == "treshold"
    assert marks.count("^") == len("treshold")


def test_all_mistakes_are_told_the_first_one_in_full() -> None:
    error = told(GOOD.replace("32k", "x").replace("0.8", "y").replace("limit: 3", "limit: z"))
    assert error.where == "r.yaml:6:43"
    assert "r.yaml:8:21: dedupe.threshold is 'y'" in str(error)
    assert "r.yaml:10:15: filter.max_tokens is 'x'" in str(error)


def test_a_newer_recipe_is_refused_as_input() -> None:
    with pytest.raises(InputError) as caught:
        Recipe.from_yaml(GOOD.replace("version: 1", "version: 2"))
    assert caught.value.exit_code == 65
    assert "newer" in caught.value.what


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "a",
        "3",
        "sources: {}",
        "sources: []",
        "sources: {a: b}",
        "sources: {a: {path: []}}",
        "sources: {a: {path: ''}}",
        "{a: 1}: 2",
        "---\nsources: {a: {path: x}}\n---\n{}",
        "%YAML 1.1\n---\nsources: {a: {path: x}}",
        "[" * 10_000,
        "{a: " * 10_000,
        "a: " + "9" * 5_000,
        "a: &a [*a]",
        "sources: {a: {path: x}}\nfilter: {drop: [loop, loop]}",
        "sources: {a: {path: x}}\nfilter: {drop: [loop], flag: [loop]}",
        "sources: {a: {path: x}}\nfilter: {min_tokens: 3, max_tokens: 2}",
        "sources: {a: {path: x}}\ndedupe: {scopes: [target]}",
        "sources: {a: {path: x}}\ndedupe: {threshold: 0.6, floor: 0.7}",
        "sources: {a: {path: x}}\nworkers: 0",
        "sources: {a: {path: x}}\nseed: true",
    ],
)
def test_what_is_no_recipe_is_refused_without_a_traceback(text: str) -> None:
    assert told(text).what


def test_an_alias_bomb_is_refused_and_a_plain_alias_is_not() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 8)}]\n" for k in range(1, 12))
    assert f"{MAX_NODES:,}" in told(bomb).what
    text = "sources: {a: &s {path: x}, b: *s}"
    recipe = Recipe.from_yaml(text)
    assert recipe.sources["a"] == recipe.sources["b"]


def test_bytes_that_are_no_text_are_refused_with_their_line() -> None:
    with pytest.raises(RecipeError) as caught:
        load(b"a: 1\nb: \xff\n", "r.yaml")
    assert caught.value.where == "r.yaml:2"


def test_yaml_words_are_those_of_the_core_schema() -> None:
    values = load(
        b"{a: off, b: 2026-01-02, c: 0x10, d: 1_000, e: .5, f: ~, g: 'null', h: True, i: 010}", "r"
    ).value
    assert values == {
        "a": "off",
        "b": "2026-01-02",
        "c": 16,
        "d": 1000,
        "e": 0.5,
        "f": None,
        "g": "null",
        "h": True,
        "i": 10,
    }


@given(st.binary(max_size=200))
def test_any_bytes_are_a_document_or_a_recipe_error(raw: bytes) -> None:
    where = "r.yaml"
    try:
        load(raw, "r.yaml")
    except RecipeError as error:
        where = str(error.where)
    assert where.startswith("r.yaml")


@given(st.text(alphabet="ab:-[]{},&*!|>'\"%#\n\t 1\u202e日", max_size=60))
def test_any_text_is_a_recipe_or_a_usage_error(text: str) -> None:
    wrote = None
    try:
        Recipe.from_yaml(text)
    except UsageError as error:
        wrote = error.wrote
    assert wrote == "nothing was read or written"  # too few letters for a recipe


@given(st.integers(0, 2**53), st.sampled_from(["", "k", "M", "G"]))
def test_amounts_are_exact(number: int, unit: str) -> None:
    scale = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}[unit]
    if number * scale < 2**63:
        assert tokens_of(f"{number}{unit}") == number * scale
        assert tokens_of(f"{number:_}{unit}") == number * scale
        assert bytes_of(f"{number} {unit}") == number * scale


@pytest.mark.parametrize("text", ["", "M", "1.0000001M", "1e6", "0x10", "１", "1__0", "-1", "1 2"])
def test_amounts_that_are_not_exact_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="number"):
        tokens_of(text)


def test_a_tenth_of_a_million_is_exact() -> None:
    assert tokens_of("0.1M") == 100_000
    assert tokens_of("1.5k") == 1500
    assert bytes_of("0.5MiB") == 1 << 19


NAMES = st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,8}\Z")
CODES = st.lists(st.from_regex(r"\A[a-z][a-z0-9_]{0,8}\Z"), unique=True, max_size=3)
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)


@st.composite
def recipe_dicts(draw: st.DrawFn) -> dict[str, object]:
    source = st.fixed_dictionaries(
        {"path": st.one_of(TEXT, st.lists(TEXT, min_size=1, max_size=3))},
        optional={
            "dialect": TEXT,
            "limit": st.integers(1, 99),
            "use": st.sampled_from(["train", "eval-only"]),
            "options": st.dictionaries(TEXT, st.one_of(st.none(), st.booleans(), TEXT)),
        },
    )
    threshold = draw(st.floats(0.01, 1))
    rule = st.fixed_dictionaries({"code": st.just("mine"), "keep": TEXT})
    optional = {
        "name": TEXT,
        "seed": st.integers(0, 2**63 - 1),
        "repairs": CODES,
        "validate": st.fixed_dictionaries({}, optional={"drop": CODES}),
        "dedupe": st.sampled_from([False, True, {"threshold": threshold}]),
        "filter": st.fixed_dictionaries(
            {},
            optional={
                "max_tokens": st.sampled_from(["32k", 7, "1_000"]),
                "max_loop_share": st.floats(0, 1),
                "flag": CODES,
                "rules": st.lists(rule, max_size=1),
            },
        ),
        "workers": st.integers(1, 64),
    }
    return draw(
        st.fixed_dictionaries(
            {"sources": st.dictionaries(NAMES, source, min_size=1, max_size=3)}, optional=optional
        )
    )


@given(recipe_dicts())
def test_recipes_go_through_yaml_and_dicts_unchanged(values: dict[str, object]) -> None:
    recipe = Recipe.from_dict(values)
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    assert list(Recipe.from_yaml(recipe.to_yaml()).sources) == list(recipe.sources)
    assert Recipe.from_yaml(recipe.to_yaml()).fingerprint() == recipe.fingerprint()


def test_the_fingerprint_sees_what_changes_a_shard_and_nothing_else() -> None:
    recipe = Recipe.from_yaml(GOOD)
    same = [{"workers": 3}, {"shard": {"out": "elsewhere"}}]
    other = [{"seed": 1}, {"filter": {"max_tokens": 7}}, {"dedupe": False}, {"name": "b"}]
    assert {recipe.edited(c).fingerprint() for c in same} == {recipe.fingerprint()}
    assert len({recipe.edited(c).fingerprint() for c in [{}, *other]}) == len(other) + 1
    turned = dict(reversed(recipe.to_dict()["sources"].items()))
    assert recipe.edited({"sources": turned}).to_dict() == recipe.to_dict()
    values = {**recipe.to_dict(), "sources": turned}
    assert Recipe.from_dict(values).fingerprint() != recipe.fingerprint()


def test_paths_start_from_the_folder_of_the_recipe(tmp_path: Path) -> None:
    file = tmp_path / "pipes" / "r.yaml"
    file.parent.mkdir()
    file.write_text(GOOD.replace("[a.json, b.json]", "['-', /x/y.json, 'hf:org/name', ../up]"))
    recipe = Recipe.load(file)
    folder = file.parent
    assert recipe.paths("vendor") == (str(folder / "traces/*.jsonl"),)
    assert recipe.paths("hermes") == ("-", "/x/y.json", "hf:org/name", str(tmp_path / "up"))
    moved = recipe.moved(tmp_path / "work")
    assert moved.sources["vendor"].path == ("../pipes/traces/*.jsonl",)
    assert moved.sources["hermes"].path == ("-", "/x/y.json", "hf:org/name", "../up")
    for name in recipe.sources:
        before = [Path(p).resolve() for p in recipe.paths(name) if p.startswith("/")]
        assert [Path(p).resolve() for p in moved.paths(name) if p.startswith("/")] == before


def test_a_recipe_that_is_not_there_is_told_with_a_guess(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(GOOD)
    with pytest.raises(RecipeError, match=r"Did you mean 'recipe\.yaml'"):
        Recipe.load(tmp_path / "recipes.yaml")
    with pytest.raises(RecipeError, match="is a folder"):
        Recipe.load(tmp_path)
    with pytest.raises((StorageError, RecipeError)):
        Recipe.load(tmp_path / ("x" * 5000))


def test_unknown_codes_and_repairs_are_told_at_their_place(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(GOOD + "validate: {drop: [unclosed_thnk]}\nrepairs: []\n")
    known = {"codes": ["unclosed_think", "loop"], "repairs": ["trim_tail"]}
    with pytest.raises(RecipeError) as caught:
        Recipe.load(file, known=known)
    assert caught.value.where == f"{file}:13:19"
    assert "Did you mean 'unclosed_think'?" in str(caught.value)
    file.write_text(GOOD + "validate: {drop: [too_dull]}\nrepairs: [trim]\n")
    with pytest.raises(RecipeError, match="unknown repair 'trim'"):
        Recipe.load(file, known=known)


def test_a_dict_is_told_by_its_key_path() -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.from_dict({"sources": {"a": {"pth": "x"}}})
    assert caught.value.where == "sources.a.pth"
    assert "'path'" in str(caught.value)


def test_a_recipe_is_frozen() -> None:
    recipe = Recipe.from_yaml(GOOD)
    with pytest.raises(ValidationError):
        recipe.seed = 3  # type: ignore[misc]


def test_the_floor_follows_a_lower_threshold() -> None:
    recipe = Recipe.from_dict({"sources": {"a": {"path": "x"}}, "dedupe": {"threshold": 0.5}})
    assert recipe.dedupe is not False
    assert recipe.dedupe.floor == 0.5


def test_the_schema_knows_every_key_with_a_description() -> None:
    schema = Recipe.json_schema()
    assert set(schema["properties"]) == {
        "version", "name", "seed", "sources", "render", "repairs", "validate", "dedupe", "filter",
        "shard", "ingest", "workers",
    }  # fmt: skip
    assert schema["$defs"]["Filter"]["properties"]["max_loop_share"]["description"]
    assert schema["$defs"]["Dedupe"]["properties"]["scopes"]["minItems"] == 1
    jsonschema = pytest.importorskip("jsonschema_rs")
    validator = jsonschema.validator_for(schema)
    assert validator.is_valid(load(GOOD.replace("render:\n", "").encode(), "r").value)
    assert not validator.is_valid({"sources": {"a": {"pth": "x"}}})


def test_the_quickstart_is_a_recipe_whose_schema_line_names_a_file() -> None:
    file = Path(__file__).parent.parent / "pipelines" / "quickstart.yaml"
    recipe = Recipe.load(file)
    assert recipe.filter.max_tokens == 32_000
    first = file.read_text("utf-8").partition("\n")[0]
    match = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert match is not None
    assert match[1] == "../schemas/recipe-v1.json"


def test_an_excerpt_of_a_long_line_keeps_the_caret_in_sight() -> None:
    line = "a: [" + "日, " * 500 + "oops, " + "x, " * 500 + "]"
    at = line.index("oops")
    shown, marks = excerpt(line, Place(0, at, 4)).split("\n")
    assert "oops" in shown
    assert marks.count("^") == 4
    assert len(shown) < 200


def test_the_templates_that_a_recipe_names_are_those_that_render() -> None:
    from tracekit import recipe_sections, render

    assert tuple(render.TEMPLATES) == recipe_sections.TEMPLATES
