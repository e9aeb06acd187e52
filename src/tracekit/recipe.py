"""The run as a value: what to read, how to render, which rules, what to write.

A recipe is a YAML file or the same as a dict. It is checked whole before anything is read, and a
mistake is told with its line, column and the known words. Two recipes are equal when their values
are; `fingerprint()` leaves out what cannot change a trace (worker count, output folder).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    ValidationError,
    model_validator,
)

from tracekit.errors import InputError, StorageError, did_you_mean
from tracekit.recipe_sections import (
    INFERRED,
    CodeName,
    Dedupe,
    Filter,
    Ingest,
    Listed,
    Model,
    Render,
    Rule,
    Section,
    Shard,
    Source,
    SourceName,
    ToolsFrom,
    Validation,
    Word,
    is_off,
    is_template_file,
    one_action,
    true_means_defaults,
)
from tracekit.yamlplace import Placed, RecipeError, load

__all__ = [
    "RECIPE_VERSION",
    "Dedupe",
    "Filter",
    "Ingest",
    "Recipe",
    "RecipeError",
    "Render",
    "Rule",
    "Shard",
    "Source",
    "Validation",
]

RECIPE_VERSION = 1


class Recipe(Model):
    """A whole run."""

    version: Literal[1] = 1
    name: Word = "mix"
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 42
    """Decides the order of traces in the shards, with their content."""
    sources: Annotated[dict[SourceName, Source], Field(min_length=1)]
    """By name; an earlier source wins where a duplicate could be kept from either."""
    render: Section[Render] = Render()
    repairs: Listed[CodeName] = ()
    """Repairs that change text, by name; each change is an edit in the ledger."""
    validation: Section[Validation] = Field(default=Validation(), alias="validate")
    dedupe: Annotated[
        Annotated[Dedupe, Tag("on")] | Annotated[Literal[False], Tag("off")],
        Discriminator(is_off),
        BeforeValidator(true_means_defaults),
    ] = Dedupe()
    """false: no trace leaves for being a duplicate."""
    filter: Section[Filter] = Filter()
    shard: Section[Shard] = Shard()
    ingest: Section[Ingest] = Ingest()
    workers: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Processes; null: one a core. Never changes a result."""

    _folder: Path = PrivateAttr(default=Path())

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        one_action({"repairs": self.repairs})
        return self

    @property
    def folder(self) -> Path:
        """The folder that relative paths start from."""
        return self._folder

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, known: Known | None = None) -> Recipe:
        """The recipe in a YAML file.

        known: names of codes and repairs to check against, with their places. Raises RecipeError
        with line and column, InputError for a newer version, StorageError if unreadable.
        """
        file = Path(path)
        try:
            raw = file.read_bytes()
        except OSError as error:
            raise _unreadable(file, error) from error
        return cls.from_placed(load(raw, str(path)), folder=file.parent, known=known)

    @classmethod
    def from_yaml(cls, text: str, *, name: str = "recipe", folder: Path = Path()) -> Recipe:
        """The recipe in YAML text; `name` stands in messages. Raises as `load`."""
        return cls.from_placed(load(text.encode("utf-8", "surrogatepass"), name), folder=folder)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, folder: Path = Path()) -> Recipe:
        """The recipe in a dict of the same shape as the YAML file. Raises as `load`."""
        return cls.from_placed(Placed("recipe", "", dict(values), {}, {}), folder=folder)

    @classmethod
    def from_placed(cls, placed: Placed, *, folder: Path, known: Known | None = None) -> Recipe:
        """The recipe in a YAML document with places. Raises as `load`."""
        from tracekit.recipe_errors import check_names, explain

        value = placed.value
        if not isinstance(value, dict):
            raise placed.error("a recipe is a mapping of keys to values", (), expected="`sources:`")
        version = value.get("version", RECIPE_VERSION)
        if isinstance(version, int) and version > RECIPE_VERSION:
            line, column = placed.position(("version",))
            raise InputError(
                f"recipe version {version} is newer than this release knows ({RECIPE_VERSION})",
                where=f"{placed.name}:{line}:{column}",
                fix="upgrade tracekit",
                wrote="nothing was read or written",
            )
        try:
            recipe = cls.model_validate(value)
        except ValidationError as error:
            raise explain(error, placed, cls) from None
        recipe._folder = folder
        if known is not None:
            check_names(recipe, placed, known)
        return recipe

    def paths(self, source: str) -> tuple[str, ...]:
        """Paths of a source as this process can open them."""
        return tuple(self.resolve(path) for path in self.sources[source].path)

    def resolve(self, path: str) -> str:
        """A path of the recipe as this process can open it; `-` and addresses stay."""
        if _is_remote(path) or Path(path).is_absolute():
            return path
        # `work/../traces` must be found before `work` is made.
        return os.path.normpath(self._folder / path)

    def tools_from(self, source: str) -> ToolsFrom | None:
        """Where a source's tools come from, `inferred` or a file that this process can open."""
        given = self.sources[source].tools_from
        if isinstance(given, str):
            given = ToolsFrom(catalogue=given)
        if given is None or given.catalogue == INFERRED:
            return given
        return given.model_copy(update={"catalogue": self.resolve(given.catalogue)})

    @property
    def tokenizer(self) -> str:
        """Name of the tokenizer, or its file as this process can open it."""
        name = self.render.tokenizer
        return self.resolve(name) if _is_tokenizer_file(name) else name

    @property
    def template(self) -> str:
        """Name of the template, or its file as this process can open it."""
        name = self.render.template
        return self.resolve(name) if is_template_file(name) else name

    def edited(self, changes: Mapping[str, Any]) -> Recipe:
        """A copy with some keys set: `{"filter": {"max_tokens": 4096}}` sets that one key."""
        values = self.to_dict()
        for key, change in changes.items():
            old = values.get(key)
            if isinstance(change, Mapping) and isinstance(old, dict):
                change = {**old, **change}
            values[key] = change
        return Recipe.from_dict(values, folder=self._folder)

    def moved(self, folder: Path) -> Recipe:
        """The same recipe for another folder: relative paths are rewritten to start from it."""

        def moved(path: str) -> str:
            if _is_remote(path) or Path(path).is_absolute():
                return path
            return Path(os.path.relpath(self._folder / path, folder)).as_posix()

        values = self.to_dict()
        for source in values["sources"].values():
            source["path"] = [moved(path) for path in source["path"]]
            if (source["dialect"] or "").endswith(".py"):
                source["dialect"] = moved(source["dialect"])
            tools = source["tools_from"]
            if isinstance(tools, dict) and tools["catalogue"] != INFERRED:
                tools["catalogue"] = moved(tools["catalogue"])
            elif isinstance(tools, str) and tools != INFERRED:
                source["tools_from"] = moved(tools)
        if _is_tokenizer_file(self.render.tokenizer):
            values["render"]["tokenizer"] = moved(self.render.tokenizer)
        if is_template_file(self.render.template):
            values["render"]["template"] = moved(self.render.template)
        if self.shard.out is not None:
            values["shard"]["out"] = moved(self.shard.out)
        return Recipe.from_dict(values, folder=folder)

    def to_dict(self) -> dict[str, Any]:
        """Plain values of every key, defaults included."""
        return self.model_dump(mode="json", by_alias=True)

    def to_yaml(self) -> str:
        """YAML that loads to an equal recipe."""
        from io import StringIO

        from ruamel.yaml import YAML

        yaml: Any = YAML(typ="safe", pure=True)
        yaml.default_flow_style = False
        yaml.sort_base_mapping_type_on_output = False
        yaml.allow_unicode = True
        yaml.width = 4096
        stream = StringIO()
        yaml.dump(_without_nulls(self.to_dict()), stream)
        return stream.getvalue()

    def fingerprint(self) -> str:
        """xxh3-128 of the canonical JSON of all that can change a trace, a decision or a shard."""
        import orjson
        import xxhash

        values = self.to_dict()
        del values["workers"], values["shard"]["out"]
        # The order of sources is meaning (it decides duplicates), so it is kept beside the map.
        values["order"] = list(values["sources"])
        return xxhash.xxh3_128_hexdigest(orjson.dumps(values, option=orjson.OPT_SORT_KEYS))

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """JSON Schema of a recipe file, for editors: `schemas/recipe-v1.json`."""
        return cls.model_json_schema(by_alias=True)


Known = Mapping[Literal["codes", "repairs"], Iterable[str]]
"""Names that exist, for `Recipe.load`; a missing entry is not checked."""


def _without_nulls(values: dict[str, Any]) -> dict[str, Any]:
    return {
        k: _without_nulls(v) if isinstance(v, dict) and k != "options" else v
        for k, v in values.items()
        if v is not None
    }


def _is_remote(path: str) -> bool:
    return path == "-" or re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", path) is not None


def _is_tokenizer_file(name: str) -> bool:
    return not name.startswith("hf:") and ("/" in name or name.endswith(".json"))


def _unreadable(file: Path, error: OSError) -> Exception:
    if isinstance(error, (FileNotFoundError, IsADirectoryError, NotADirectoryError)):
        folder = file.parent
        near = [p.name for p in folder.iterdir()] if folder.is_dir() else []
        what = "is a folder"
        if not isinstance(error, IsADirectoryError):
            what = f"does not exist.{did_you_mean(file.name, near)}"
        return RecipeError(
            f"recipe {str(file)!r} {what}",
            where=str(file),
            expected="a YAML file",
        )
    return StorageError(
        f"could not read the recipe: {error.strerror} (errno {error.errno})", where=str(file)
    )
