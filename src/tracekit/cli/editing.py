"""Options to recipes: what a command line says, as a recipe for the workspace it names."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from tracekit.errors import UsageError
from tracekit.report import Cell, Table

WHAT_IF_STEPS = 5
"""Values that `a..b` stands for where no step is given."""
MAX_WHAT_IF_VALUES = 100

_SAMPLE = re.compile(r"(?:[1-9][0-9]*|(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)%)\Z")


def recipe_of(work: Path) -> Any:
    """The effective recipe of an existing workspace. Raises InputError where there is none."""
    from tracekit import manifest, workspace
    from tracekit.recipe import Recipe

    values = manifest.load(workspace.existing(work)).recipe
    return Recipe.from_dict(values, folder=work)


def load_recipe(path: str | Path) -> Any:
    """The recipe in a file, its codes and repairs checked too."""
    from tracekit import edits, rules
    from tracekit.recipe import Recipe

    return Recipe.load(
        path, known={"codes": (*rules.finding_codes(), "loop"), "repairs": edits.REPAIRS}
    )


def is_recipe(path: str) -> bool:
    """Is this argument a recipe rather than data?"""
    return path.endswith((".yaml", ".yml"))


def amount(option: str, value: str | None, parse: Callable[[object], int]) -> int | None:
    """`32k` or `64MiB` of an option as a number. Raises UsageError that names the option."""
    if value is None:
        return None
    try:
        return parse(value)
    except ValueError as error:
        raise UsageError(f"{option} is {value!r}", expected=str(error)) from error


def sample_of(value: str | None) -> str | None:
    """`500` or `5%`, checked."""
    if value is not None and (
        _SAMPLE.match(value) is None or (value.endswith("%") and not 0 < float(value[:-1]) <= 100)
    ):
        raise UsageError(
            f"--sample is {value!r}", expected="a number of records such as 500, or a share as 5%"
        )
    return value


def rule_of(text: str) -> dict[str, str]:
    """`code: expression` as a rule of the recipe.

    >>> rule_of("short_answer: n_answer_tokens >= 5")
    {'code': 'short_answer', 'keep': 'n_answer_tokens >= 5'}
    """
    code, colon, keep = text.partition(":")
    if not colon or not code.strip() or not keep.strip():
        raise UsageError(
            f"--rule is {text!r}", expected='"code: expression", true for traces to keep'
        )
    return {"code": code.strip(), "keep": keep.strip()}


def what_if_of(text: str) -> tuple[str, list[float]]:
    """`name=a..b`, `name=a..b/step` or `name=a,b,c` as the name and its values, ascending.

    >>> what_if_of("loop_share=0.1..0.5")
    ('loop_share', [0.1, 0.2, 0.3, 0.4, 0.5])
    >>> what_if_of("max_tokens=4k,8k")
    ('max_tokens', [4000, 8000])
    """
    name, equals, values = text.partition("=")
    expected = "name=a..b, name=a..b/step or name=a,b,c such as max_loop_share=0.1..0.5"
    if not equals or not name.strip() or not values.strip():
        raise UsageError(f"--what-if is {text!r}", expected=expected)
    try:
        if ".." in values:
            first_text, _, rest = values.partition("..")
            last_text, slash, step_text = rest.partition("/")
            first, last = _number(first_text), _number(last_text)
            step = _number(step_text) if slash else (last - first) / (WHAT_IF_STEPS - 1)
            if last <= first or step <= 0 or (last - first) / step > MAX_WHAT_IF_VALUES:
                raise ValueError
            steps = [first + k * step for k in range(int((last - first) / step) + 1)]
        else:
            steps = sorted({_number(v) for v in values.split(",")})
    except (ValueError, InvalidOperation):
        raise UsageError(f"--what-if is {text!r}", expected=expected) from None
    return name.strip(), [int(v) if v == v.to_integral_value() else float(v) for v in steps]


def _number(text: str) -> Decimal:
    value = text.strip()
    scale = {"k": 1000, "M": 1_000_000}.get(value[-1:], 1)
    number = Decimal(value[:-1] if scale > 1 else value) * scale
    if not number.is_finite():
        raise ValueError
    return number


def ingest_recipe(
    paths: Sequence[str],
    named: Sequence[str],
    work: Path,
    dialect: str | None,
    tools_from: str | None = None,
) -> Any:
    """The recipe of an ingest: what the workspace has, and the sources that are named now.

    paths: files, folders, globs or one recipe. named: `name=path`. dialect, tools_from: of every
    source that is named now. Raises UsageError.
    """
    from tracekit import manifest, workspace
    from tracekit.recipe import Recipe

    recipes = [path for path in paths if is_recipe(path)]
    if recipes:
        if len(paths) > 1 or named:
            raise UsageError(
                "a recipe and other inputs together",
                where=recipes[0],
                expected="one recipe, or paths of data",
            )
        for key, given in (("dialect", dialect), ("tools_from", tools_from)):
            if given is not None:
                raise UsageError(
                    f"a recipe and --{key.replace('_', '-')} together",
                    where=recipes[0],
                    fix=f"`{key}: {given}` in the source of the recipe that it is for",
                )
        return load_recipe(recipes[0]).moved(work)
    sources = _sources(paths, named)
    if not sources:
        raise UsageError(
            "nothing to ingest", expected="files, folders, a recipe, or --source name=path"
        )
    for key, given in (("dialect", dialect), ("tools_from", tools_from)):
        for source in sources.values() if given is not None else ():
            source[key] = given
    new = Recipe.from_dict({"sources": sources}).moved(work)
    held = manifest.load(workspace.Workspace(work)).recipe
    if not held:
        return new
    merged = dict(held["sources"])
    for name, source in new.to_dict()["sources"].items():
        before = merged.get(name)
        if before is not None:
            source = {
                **before,
                "path": list(dict.fromkeys([*before["path"], *source["path"]])),
                "dialect": source["dialect"] or before["dialect"],
                "tools_from": source["tools_from"] or before.get("tools_from"),
            }
        merged[name] = source
    return Recipe.from_dict({**held, "sources": merged}, folder=work)


def _sources(paths: Sequence[str], named: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Source name to its keys: a folder is a source, and a file's source is its folder."""
    from tracekit.inputs import expand
    from tracekit.remote import is_remote, name_of

    sources: dict[str, dict[str, Any]] = {}
    for text in named:
        name, equals, path = text.partition("=")
        if not equals or not name or not path:
            raise UsageError(f"--source is {text!r}", expected="name=path")
        sources.setdefault(name, {"path": []})["path"].append(path)
    for path in filter(is_remote, paths):
        sources.setdefault(name_of(path), {"path": []})["path"].append(path)
    files = [path for path in paths if path != "-" and not is_remote(path)]
    # Which files of a folder are read is seen later: here only the names of sources matter.
    found = expand(files, whole_is_record=lambda _: True).sources if files else ()
    folders = {Path(path).absolute() for path in files if Path(path).is_dir()}
    for source in found:
        if source.name in sources:
            raise UsageError(
                f"source {source.name!r} is named twice",
                where=f"{sources[source.name]['path'][0]} and {source.root}",
                expected="one name for each source",
                fix=f"--source ANOTHER_NAME={source.root}",
            )
        whole = source.root.absolute() in folders
        inside = [source.root] if whole else [source.root / file for file in source.files]
        sources[source.name] = {"path": [_below_here(path) for path in inside]}
    if "-" in paths:
        sources.setdefault("stdin", {"path": []})["path"].append("-")
    return sources


def _below_here(path: Path) -> str:
    """A path below the current folder is kept relative, so that a project folder can move."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def inputs_table(recipe: Any) -> Table:
    """What an ingest would read: one row a source, one a file that it would skip."""
    from tracekit.inputs import expand
    from tracekit.planning import is_record
    from tracekit.remote import is_remote

    rows: list[tuple[Cell, ...]] = []
    for name, source in recipe.sources.items():
        elsewhere = [path for path in recipe.paths(name) if is_remote(path)]
        paths = [path for path in recipe.paths(name) if path != "-" and not is_remote(path)]
        rows += [(name, source.dialect, None, None, f"{path}: is fetched") for path in elsewhere]
        if elsewhere and not paths:
            continue
        fits = is_record(recipe, name)
        found = expand(paths, source=name, whole_is_record=fits) if paths else None
        files = [s.root / f for s in found.sources for f in s.files] if found else []
        n_bytes = sum(file.stat().st_size for file in files)
        dialect = source.dialect or "by structure"
        rows.append((name, dialect, len(files), n_bytes, str(files[0]) if files else "-"))
        skipped = found.skipped if found else ()
        rows += [(name, None, None, None, f"{s.path}: {s.reason}") for s in skipped]
    return Table(
        "", ("source", "dialect", "files", "bytes", "first file or what is skipped"), tuple(rows)
    )
