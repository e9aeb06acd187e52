"""The shape of the house as data: layers, sizes, and the table of files in docs/house.md.

python tests/house.py --write        # make docs: writes the table anew
"""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "tracekit"
PAGE = ROOT / "docs" / "house.md"
BEGIN, END = "<!-- files: written by `make docs` -->", "<!-- end of files -->"

# A module imports from its own layer and from those above it in this table, never from below.
# A folder counts as one module.
LAYERS = {
    "values": "amounts benchmarks card codes columns data drawing errors progress report samples "
    "stress types wire",
    "doors": "door executors jinja_process jinja_sandbox jsonheads jsontext output pieces schema "
    "vocabulary",
    "kernels": "kernels tokenizer_json tokenizers",
    "text": "dialects edits encoded findings jinja_pieces jinja_templates leaves "
    "lineage render renderers sketch structure_codes template_lint text tokens tool_catalogue",
    "rules": "decide dedupe keep_order pairs recipe recipe_errors recipe_sections rules "
    "shared_prefixes yamlplace",
    "input": "archives columnar containers cutting documents framing glimpse inputs manifest "
    "parts places plugged preload remote spool workspace yamldocs",
    "stages": "evidence frames ingesting measuring planning product reading registry rereading "
    "profiles scattering sharding shard_rows sniffing spilling stages summary token_plan "
    "token_rows token_scatter verifying",
    "views": "contexts drafting opened running sample views",
    "command line": "cli __main__",
}


def layer_of() -> dict[str, int]:
    return {name: k for k, names in enumerate(LAYERS.values()) for name in names.split()}


def modules() -> dict[str, Path]:
    """Every source file by its dotted name below `tracekit`."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name or "__init__"] = path
    return found


def imports(path: Path, *, late: bool = True) -> set[str]:
    """Modules of ours that a file imports; `late`: also those inside functions.

    What stands under TYPE_CHECKING is left out: it is gone when the program runs.
    """
    tree = ast.parse(path.read_text("utf-8"))
    known = modules()
    found = set()
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tracekit":
            module = (node.module or "").partition(".")[2]
            for alias in node.names:
                inner = f"{module}.{alias.name}".lstrip(".")
                found.add(inner if inner in known else module or "__init__")
        elif isinstance(node, ast.Import):
            ours = [a.name.partition(".")[2] for a in node.names if a.name.startswith("tracekit.")]
            found.update(ours)
        elif late or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting.extend(ast.iter_child_nodes(node))
    return found


def first_sentence(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    sentence = re.split(r"(?<=[.])\s", " ".join(text.split()), maxsplit=1)[0]
    return sentence.rstrip(".").replace("|", "\\|")


def table() -> str:
    """One line a file, by layer."""
    layers = layer_of()
    rows = [BEGIN, "| layer | file | what is in it |", "|---|---|---|"]
    names = list(LAYERS)
    known = [(layers.get(name.split(".")[0], -1), name, path) for name, path in modules().items()]
    for layer, _, path in sorted(known):
        shown = names[layer] if layer >= 0 else "-"
        file = path.relative_to(SOURCE).as_posix()
        rows.append(f"| {shown} | `{file}` | {first_sentence(path)} |")
    return "\n".join([*rows, END])


def page() -> str:
    """docs/house.md with the table as it should be."""
    text = PAGE.read_text("utf-8")
    before, rest = text.split(BEGIN, 1)
    return before + table() + rest.split(END, 1)[1]


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    PAGE.write_text(page(), "utf-8")
