"""A run of a dozen parts that can be killed at any write, for the tests of trust.

Children come from a fork server that has the tokenizer loaded, so a run costs a second and not
five. `door.disk` is the one place through which all writes go: it counts, and kills or fails.
"""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

SESSIONS = '''"""Records of two kinds of line: {"session": ..., "say": ...} and {"tick": true}."""

from tracekit import Dialect
from tracekit.codes import Code


def read(records, notes, options):
    said = [r for r in records if "say" in r.value]
    for r in records:
        if "say" not in r.value:
            notes.event(r, "tick")
    if not said:
        return []
    return [
        {
            "session_id": said[0].value["session"],
            "messages": [
                {"role": ("user", "assistant")[i % 2], "content": r.value["say"]}
                for i, r in enumerate(said)
            ],
            "rows": [(r.file, r.row) for r in said],
        }
    ]


dialect = Dialect(
    name="ticks",
    version=1,
    unit="session",
    fits=lambda value: "say" if isinstance(value, dict) and "session" in value else "",
    read=read,
    key=lambda value: value.get("session"),
    events=(Code(name="tick", kind="event", what="A line that only says that time went by."),),
)
'''


def write_inputs(folder: Path) -> Path:
    """Two sources, some 60 records with rejects, events and duplicates; returns the recipe."""
    (folder / "chat").mkdir(parents=True)
    (folder / "logs").mkdir()
    (folder / "ticks.py").write_text(SESSIONS, "utf-8")
    lines = []
    for i in range(36):
        k = i if i % 9 else 0  # every ninth is a copy of the first
        asked = f"What is {k} plus {k * 7 + 1}, and which town is number {k} on the list?"
        told = " ".join(f"{k + j} and {k * j} make {k + j + k * j}." for j in range(12))
        said = {"role": "assistant", "content": f"{k * 8 + 1}.", "reasoning_content": told}
        lines.append(json.dumps({"messages": [{"role": "user", "content": asked}, said]}))
    lines[7] = lines[7][:40]
    lines[20] = '{"messages": []}'
    (folder / "chat" / "a.jsonl").write_text("\n".join(lines[:20]) + "\n", "utf-8")
    (folder / "chat" / "b.jsonl").write_text("\n".join(lines[20:]) + "\n", "utf-8")
    log = []
    for i in range(12):
        for turn in range(4):
            log.append({"session": f"s{i}", "say": f"{turn} of {i}: " + f"word{i * turn} " * 20})
        log.append({"tick": True})
    text = "\n".join(json.dumps(one) for one in log) + "\n"
    (folder / "logs" / "l.jsonl").write_text(text, "utf-8")
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        "version: 1\n"
        "sources:\n"
        "  chat: {path: chat}\n"
        "  logs: {path: logs, dialect: ticks.py}\n"
        "ingest: {part_bytes: 2000}\n"
        "shard: {tokens_per_shard: 3k}\n",
        "utf-8",
    )
    return recipe


def run_here(recipe: str, work: str, out: str) -> None:
    """The whole road, in this process."""
    os.environ["TRACEKIT_WORKERS"] = "0"
    from tracekit.recipe import Recipe
    from tracekit.running import run

    run(Recipe.load(recipe), work=work, out=out)


OPERATIONS = ("open", "fsync", "rename", "fsync_folder", "mkdir")


def counted(at: int, operations: tuple[str, ...], act: Callable[[str, int], None]) -> list[str]:
    """Call `act(operation, n)` before each counted operation from `at` on; returns their log."""
    from tracekit import door

    log: list[str] = []

    def wrap(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*args: Any) -> Any:
            log.append(name)
            if len(log) >= at:
                act(name, len(log))
            return real(*args)

        return operation

    for name in operations:
        setattr(door.disk, name, wrap(name, getattr(door.disk, name)))
    return log


def _die_at(at: int, operations: tuple[str, ...], recipe: str, work: str, out: str) -> None:
    counted(at, operations, lambda name, n: os._exit(9))
    run_here(recipe, work, out)


def _fail_at(
    at: int, number: int, forever: bool, operations: tuple[str, ...], recipe: str, work: str,
    out: str, told: str,
) -> None:  # fmt: skip
    from tracekit.errors import TracekitError

    def act(name: str, n: int) -> None:
        if n == at or forever:
            raise OSError(number, os.strerror(number))

    counted(at, operations, act)
    try:
        run_here(recipe, work, out)
    except TracekitError as error:
        Path(told).write_text(json.dumps([error.exit_code, str(error)]), "utf-8")
        os._exit(error.exit_code)


def _verify_and_run(recipe: str, work: str, out: str, told: str) -> None:
    """Look at what is there, as a reader would, then go on."""
    from tracekit.verifying import verify

    for folder in (Path(work), Path(out)):
        if (folder / "manifest.json").exists():
            report = verify(folder)
            assert not report.failed, report.failed
    run_here(recipe, work, out)
    assert not verify(work).failed
    assert not verify(out).failed
    Path(told).write_text(json.dumps(contents(Path(out))), "utf-8")


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a product; of its manifest all but the recipe, which has paths."""
    from tracekit.door import sha256_of
    from tracekit.manifest import fingerprint

    found = {
        file.relative_to(folder).as_posix(): sha256_of(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    manifest = json.loads((folder / "manifest.json").read_bytes())
    del manifest["recipe"], manifest["seal"]
    return found | {"manifest.json": fingerprint(manifest)}


def child(function: Callable[..., None], *args: Any) -> int:
    """Exit code of a function in a child of the fork server."""
    os.environ.setdefault("TRACEKIT_PRELOAD", "qwen3.5")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tracekit.preload"])
    process = context.Process(target=function, args=args)
    process.start()
    process.join(120)
    assert process.exitcode is not None, "the child hangs"
    return process.exitcode


def die_at(at: int, operations: tuple[str, ...], recipe: Path, work: Path, out: Path) -> bool:
    """Kill a run before its `at`-th operation; False where the run survived."""
    code = child(_die_at, at, operations, str(recipe), str(work), str(out))
    assert code in (0, 9), code
    return code == 9


def fail_at(
    at: int, number: int, forever: bool, operations: tuple[str, ...], recipe: Path, work: Path,
    out: Path,
) -> tuple[int, str]:  # fmt: skip
    """Let an operation fail with an errno; (exit code, message), (0, "") where the run survived."""
    told = recipe.parent / f"told-{work.name}.json"
    code = child(
        _fail_at, at, number, forever, operations, str(recipe), str(work), str(out), str(told)
    )
    if code == 0:
        return 0, ""
    assert told.exists(), f"exit code {code} without an error of ours"
    exit_code, message = json.loads(told.read_text("utf-8"))
    assert exit_code == code
    return exit_code, message


def go_on(recipe: Path, work: Path, out: Path) -> dict[str, str]:
    """Verify what is there, run again, verify; the files of the product."""
    told = recipe.parent / f"contents-{work.name}.json"
    assert child(_verify_and_run, str(recipe), str(work), str(out), str(told)) == 0
    found: dict[str, str] = json.loads(told.read_text("utf-8"))
    return found


def leftovers(work: Path, out: Path) -> list[str]:
    """Names that must not be there after a finished run."""
    found = [str(p) for p in (*work.rglob("*"), *out.parent.iterdir()) if ".tmp-" in p.name]
    found += [str(work / n) for n in ("spill", "spool", "receipts") if any((work / n).rglob("*"))]
    found += [str(p) for p in out.parent.iterdir() if p.name.startswith(f".{out.name}.")]
    return found


ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO}
