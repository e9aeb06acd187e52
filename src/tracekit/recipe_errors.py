"""What is wrong with a recipe, told at the place where it stands.

pydantic says which value is wrong; this says where in the file, what is known there, and what was
probably meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from tracekit.errors import did_you_mean
from tracekit.yamlplace import Path, Placed, RecipeError

if TYPE_CHECKING:
    from tracekit.recipe import Known, Recipe

_MAX_MORE = 5
"""Further problems that are listed under the first."""

_TAGS = ("on", "off", "word", "keys")
"""Names of the members of unions, which pydantic puts into a location."""

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text (quote it where YAML would read a number or a boolean)",
    "bool_type": "true or false",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "tuple_type": "a list",
    "finite_number": "a finite number",
    "string_too_short": "some text",
    "too_short": "at least one entry",
}


def explain(error: ValidationError, placed: Placed, model: type[BaseModel]) -> RecipeError:
    """The first problem in file order as an error with place, and the others in one line each."""
    told = [_told(item, placed, model) for item in error.errors(include_url=False)]
    # A missing key is often a misspelt one, so the key that is there comes first.
    told.sort(key=lambda t: (t["absent"], *placed.position(t["path"], at_key=t["at_key"])))
    # A list is also empty where all its entries were refused: then those are the problem.
    told = [
        t
        for t in told
        if not t["hollow"] or all(o is t or o["path"][: len(t["path"])] != t["path"] for o in told)
    ]
    first, rest = told[0], told[1:]
    more = [
        "{}:{}:{}: {}".format(
            placed.name, *placed.position(t["path"], at_key=t["at_key"]), t["what"]
        )
        for t in rest[:_MAX_MORE]
    ]
    if len(rest) > _MAX_MORE:
        more.append(f"and {len(rest) - _MAX_MORE} more")
    if not placed.text:
        # A recipe from a dict has no file to show; the key path is its place.
        return RecipeError(
            first["what"] + (f" {first['mark']}" if first["mark"] else ""),
            where=_dotted(first["path"]),
            expected=first["expected"],
            excerpt="\n".join(f"  also {_dotted(t['path'])}: {t['what']}" for t in rest[:_MAX_MORE])
            or None,
        )
    return placed.error(
        first["what"],
        first["path"],
        at_key=first["at_key"],
        mark=first["mark"],
        expected=first["expected"],
        fix=first["fix"],
        more="\n".join(["also:", *more]) if more else "",
    )


def check_names(recipe: Recipe, placed: Placed, known: Known) -> None:
    """Raises RecipeError at the first code or repair that does not exist."""
    lists: list[tuple[Path, tuple[str, ...], str]] = [(("repairs",), recipe.repairs, "repairs")]
    own = {rule.code for rule in recipe.filter.rules}
    for section, actions in (("validate", recipe.validation), ("filter", recipe.filter)):
        lists += [((section, a), getattr(actions, a), "codes") for a in ("drop", "flag", "off")]
    for path, names, kind in lists:
        if kind not in known:
            continue
        words = sorted({*known[kind], *(own if kind == "codes" else ())})  # type: ignore[index]
        for k, name in enumerate(names):
            if name not in words:
                raise placed.error(
                    f"unknown {kind[:-1]} {name!r}",
                    (*path, k),
                    mark=did_you_mean(name, words).strip(),
                    fix="tracekit explain lists them",
                )


def _told(item: Mapping[str, Any], placed: Placed, model: type[BaseModel]) -> dict[str, Any]:
    path, parent = _path(item["loc"], placed.value)
    kind, given = item["type"], item["input"]
    told: dict[str, Any] = {
        "path": path,
        "at_key": False,
        "mark": "",
        "expected": None,
        "fix": None,
    }
    told["absent"] = kind == "missing"
    told["hollow"] = kind == "too_short"
    name = _dotted(path)
    if kind == "extra_forbidden":
        known = _known_keys(model, item["loc"][:-1])
        key = str(path[-1])
        told.update(
            what=f"unknown key {key!r}",
            at_key=True,
            mark=did_you_mean(key, known).strip(),
            expected=f"one of {', '.join(known)}" if known else None,
        )
    elif kind == "missing":
        where = f" in {_dotted(path[:-1])}" if path[:-1] else ""
        told.update(what=f"the key {str(item['loc'][-1])!r} is missing{where}", at_key=True)
    elif kind == "literal_error":
        words = [w.strip("' ") for w in item["ctx"]["expected"].replace(" or ", ",").split(",")]
        guess = did_you_mean(given, words).strip() if isinstance(given, str) else ""
        told.update(what=f"{name} is {_shown(given)}", mark=guess, expected=f"one of {_or(words)}")
    elif kind == "value_error":
        told.update(what=f"{name} is not right", expected=str(item["ctx"]["error"]))
        if not isinstance(given, (dict, list)):
            told["what"] = f"{name} is {_shown(given)}"
    elif kind == "string_pattern_mismatch":
        of_source = item["loc"][-1] == "[key]"
        told.update(
            what=f"the name {_shown(given)} cannot be used",
            at_key=of_source,
            expected="letters, digits, `_`, `-` and `.`; a letter or digit first"
            if of_source
            else "snake_case: lower-case letters, digits and `_`, a letter first",
        )
    else:
        expected = _EXPECTED.get(kind) or item["msg"].removeprefix("Input should be ")
        told.update(what=f"{name} is {_shown(given)}", expected=expected)
    if parent is None and not path:
        told["what"] = told["what"].replace(" is ", "the recipe is ", 1)
    return told


def _path(loc: tuple[int | str, ...], value: Any) -> tuple[Path, Any]:
    """Steps of a pydantic location that exist in the document, and the last one where it is a
    key that is missing; what pydantic adds (union tags, `[key]`) is left out."""
    path: list[int | str] = []
    node = value
    for step in loc:
        if step == "[key]":
            break
        if isinstance(node, dict):
            is_there = step in node
        else:
            is_there = isinstance(node, (list, tuple)) and isinstance(step, int)
        if is_there:
            node = node[step]
        elif step in _TAGS or isinstance(step, int):
            # A union's tag, or the one item of what stands there as plain text.
            continue
        else:
            path.append(step)
            return tuple(path), None
        path.append(step)
    return tuple(path), node


def _known_keys(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Keys of the model that a location leads to."""
    current: Any = model
    for step in loc:
        if isinstance(step, str) and current is not None and step in _fields(current):
            current = _model_in(_fields(current)[step])
    return list(_fields(current)) if current is not None else []


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    return {f.alias or n: f.annotation for n, f in model.model_fields.items()}


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The recipe model that an annotation names, however deep in lists, maps and unions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation):
        found = _model_in(inner)
        if found is not None:
            return found
    return None


def _dotted(path: Path) -> str:
    """`filter.rules[0].keep`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def _or(words: list[str]) -> str:
    return ", ".join(words)


def _shown(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, (dict, list, tuple)):
        return "a mapping" if isinstance(value, dict) else "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
