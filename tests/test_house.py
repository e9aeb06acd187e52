"""The rules of the house that nobody keeps without a test."""

import re
import subprocess
import sys

import pytest

import house

MAX_LINES = 400
MODULES = house.modules()
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "base", "common", "core", "manager", "misc"}

# Each is a way to run what a data file says, or to write where an archive says.
FORBIDDEN = (
    r"\bimport pickle\b",
    r"\bpickle\.loads?\b",
    r"(?<![\w.])eval\(",
    r"(?<![\w.])exec\(",
    r"\byaml\.load\(",
    "trust_remote_code",
    "extractall",
    "shell=True",
    r"\bos\.system\(",
    r"(?<![\w.])print\(",
)
# Written in two pieces, so that this file does not hold what it looks for.
OF_A_MACHINE = (
    "/wor" + "k/(main|shared)",
    "/op" + "t/tk",
    "/root" + "/",
    "/farm" + "/",
    "python" + r"hosted\.org",
    "pypi" + r"\.org/simple",
    "--index" + "-url",
)


@pytest.mark.parametrize("name", MODULES)
def test_a_file_has_a_docstring_and_at_most_400_lines(name):
    text = MODULES[name].read_text("utf-8")
    assert text.count("\n") <= MAX_LINES
    assert text.lstrip().startswith(('"""', 'r"""'))


@pytest.mark.parametrize("name", MODULES)
def test_a_file_is_called_after_its_subject(name):
    assert not EMPTY_NAMES & set(name.split("."))


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_upward_in_the_table_of_layers(name):
    layers = house.layer_of()
    top = name.split(".")[0]
    if top == "__init__":
        pytest.skip("the package itself gives public names of every layer")
    assert top in layers, f"say in tests/house.py to which layer {top} belongs"
    for other in house.imports(MODULES[name]):
        other_top = other.split(".")[0]
        if other_top == "__init__":
            continue
        assert layers[other_top] <= layers[top], f"{name} imports {other}"


def test_every_name_in_the_table_of_layers_is_a_module():
    tops = {name.split(".")[0] for name in MODULES}
    assert set(house.layer_of()) <= tops
    assert sum(len(names.split()) for names in house.LAYERS.values()) == len(house.layer_of())


def test_no_two_modules_import_each_other_when_loaded():
    arrows = {name: house.imports(path, late=False) for name, path in MODULES.items()}

    def reach(name, seen):
        for other in arrows.get(name, ()):
            if other not in seen:
                seen.add(other)
                reach(other, seen)
        return seen

    for name in MODULES:
        if name != "__init__":
            assert name not in reach(name, set()), f"{name} imports itself through others"


@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_the_source_has_no_door_for_foreign_code(pattern):
    found = [
        f"{name}:{k}"
        for name, path in MODULES.items()
        for k, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if re.search(pattern, line) and not line.lstrip().startswith((">>>", "..."))
    ]
    assert not found


def _project_files():
    command = ["git", "ls-files", "-co", "--exclude-standard"]
    try:
        listed = subprocess.run(
            command, cwd=house.ROOT, capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [house.ROOT / name for name in listed.splitlines() if (house.ROOT / name).is_file()]


def test_no_file_names_the_machine_that_it_was_written_on():
    found = []
    for path in _project_files():
        text = path.read_bytes().decode("utf-8", "replace")
        found += [f"{path.name}: {p}" for p in OF_A_MACHINE if re.search(p, text)]
    assert not found


def test_no_large_file_is_kept():
    assert not [p.name for p in _project_files() if p.stat().st_size > 1_000_000]


def test_help_loads_nothing_heavy():
    code = (
        "import sys\n"
        "from tracekit.cli import run\n"
        "try:\n    run(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = 'numpy polars pyarrow pydantic datasets tiktoken numba tokenizers'.split()\n"
        "sys.exit(' '.join(m for m in heavy if m in sys.modules) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout or "usage" in done.stdout


def test_codes_are_snake_case_and_documented():
    registry = pytest.importorskip("tracekit.registry")
    for code in registry.codes():
        assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", code.name), code.name
        assert code.what.endswith("."), code.name
    page = house.ROOT / "docs" / "codes.md"
    if not page.exists():
        pytest.skip("docs/codes.md is not there")
    assert page.read_text("utf-8") == registry.page(), "run `make docs`"


def test_the_table_of_files_is_true():
    assert house.PAGE.read_text("utf-8") == house.page(), "run `make docs`"


def test_the_dialect_of_contributing_md_reads_its_own_record(tmp_path):
    from tracekit import dialects
    from tracekit.errors import BadRecord

    page = (house.ROOT / "CONTRIBUTING.md").read_text("utf-8")
    code = re.search(r"```python\n(.*?)```", page, re.S)[1]
    (tmp_path / "my_file.py").write_text(code, "utf-8")
    dialect = dialects.get(str(tmp_path / "my_file.py"))
    record = {"dialog": [{"who": "human", "said": "9*4?"}, {"who": "bot", "said": "36"}]}
    assert dialect.fits(record)
    notes = dialects.Notes()
    (trace,) = dialect.read([dialects.Record("a.jsonl", 0, record)], notes, {})
    assert [m["role"] for m in trace["messages"]] == ["user", "assistant"]
    with pytest.raises(BadRecord, match="no_messages"):
        dialect.read([dialects.Record("a.jsonl", 1, {"dialog": []})], notes, {})
