"""Session logs of a coding agent for the built-in sample: split replies, a sub-agent, a refusal.

The shape is that of Claude Code logs: one line a content block, blocks of one reply share
`message.id`, lines link by `parentUuid` and a sub-agent has a file of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tracekit.sample.bugs import Repair, repair
from tracekit.sample.wording import Dice, say

_REFUSED = (
    "The user doesn't want to proceed with this tool use. The tool use was rejected (eg. if it was "
    "a file edit, the new_string was NOT written to the file). STOP what you are doing and wait "
    "for "
    "the user to tell you how to proceed."
)


@dataclass(slots=True)
class _Log:
    """Lines of one session file, each linked to the one before."""

    dice: Dice
    session: str
    agent: str | None = None
    lines: list[dict[str, Any]] = field(default_factory=list)
    parent: str | None = None
    n_replies: int = 0

    def _key(self) -> str:
        a, b = self.dice.below(1 << 32), self.dice.below(1 << 48)
        return f"{a:08x}-{b >> 32 & 0xFFFF:04x}-4{b >> 36 & 0xFFF:03x}-8{a & 0xFFF:03x}-{b:012x}"

    def _time(self) -> str:
        n = len(self.lines) * 7
        return f"2026-03-02T09:{n // 60:02d}:{n % 60:02d}.000Z"

    def event(self, kind: str, **fields: Any) -> None:
        self.lines.append(
            {"type": kind, **fields, "sessionId": self.session, "timestamp": self._time()}
        )

    def line(self, kind: str, message: dict[str, Any], **fields: Any) -> None:
        key = self._key()
        self.lines.append(
            {
                "parentUuid": self.parent,
                "isSidechain": self.agent is not None,
                "userType": "external",
                "cwd": "/home/dev/project",
                "sessionId": self.session,
                "version": "2.1.33",
                "gitBranch": "main",
                **({"agentId": self.agent} if self.agent else {}),
                "type": kind,
                "message": message,
                "uuid": key,
                "timestamp": self._time(),
                **fields,
            }
        )
        self.parent = key

    def user(self, text: str) -> None:
        self.line("user", {"role": "user", "content": text})

    def reply(self, *blocks: dict[str, Any], stop: str | None = None) -> None:
        """One reply, a line for each of its blocks."""
        self.n_replies += 1
        key = f"msg_{self.session[:8]}{self.agent or ''}{self.n_replies:03d}"
        for block in blocks:
            self.line(
                "assistant",
                {
                    "id": key,
                    "type": "message",
                    "role": "assistant",
                    "model": "sample-coder-1",
                    "content": [block],
                    "stop_reason": stop if block is blocks[-1] else None,
                    "stop_sequence": None,
                    "usage": {"input_tokens": 3, "output_tokens": 1},
                },
                requestId=f"req_{key[4:]}",
            )

    def result(
        self, key: str, text: str, *, error: bool | None = None, detail: object = None
    ) -> None:
        block: dict[str, Any] = {"tool_use_id": key, "type": "tool_result", "content": text}
        if error is not None:
            block["is_error"] = error
        shown = text if detail is None else detail
        self.line("user", {"role": "user", "content": [block]}, toolUseResult=shown)


def _thinking(text: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": text, "signature": "none"}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _use(key: str, name: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": key, "name": name, "input": arguments}


def _numbered(code: str) -> str:
    return "\n".join(f"{k:6d}→{line}" for k, line in enumerate(code.splitlines(), 1))


def _opening(log: _Log, r: Repair, call: str) -> None:
    """Ask, read the file and run the tests in one reply; results arrive in order of completion."""
    log.user(r.ask)
    log.reply(
        _thinking(
            say(
                log.dice,
                "[The user reports|It is said] that {seen}. [Read|Open] {m} and [run|start] its "
                "tests [together|at once].",
                seen=r.seen, m=r.module,
            )
        ),
        _text(say(log.dice, "[I will look at|Let me open] `{m}` and [see|watch] it "
            "fail.", m=r.module)),
        _use(f"{call}a", "Read", file_path=r.module),
        _use(f"{call}b", "Bash", command=f"pytest -q {r.module}", description="Run the tests"),
    )  # fmt: skip
    log.result(f"{call}a", _numbered(r.before))
    log.result(f"{call}b", f"E  {r.seen}\n1 failed", error=True)


def _edit(log: _Log, r: Repair, call: str) -> None:
    log.reply(
        _thinking(
            say(
                log.dice,
                "`{w}`: {why}. [A small edit will do|One line is enough].",
                w=r.wrong,
                why=r.why,
            )
        ),
        _use(f"{call}c", "Edit", file_path=r.module, old_string=r.wrong, new_string=r.right),
    )


def _closing(log: _Log, r: Repair, call: str) -> None:
    log.reply(_use(f"{call}d", "Bash", command=f"pytest -q {r.module}", description="Run again"))
    log.result(f"{call}d", "all passed", error=False)
    log.reply(
        _text(
            say(
                log.dice,
                "[Fixed|Done]: in `{m}` {why}. The tests [pass|are green] [now|again], `{w}` is "
                "gone.",
                m=r.module, why=r.why, w=r.wrong,
            )
        ),
        stop="end_turn",
    )  # fmt: skip


def _plain(log: _Log) -> None:
    r = repair(log.dice)
    log.event("queue-operation", operation="dequeue")
    _opening(log, r, "toolu_s1")
    _edit(log, r, "toolu_s1")
    log.result("toolu_s1c", f"The file {r.module} has been updated.")
    _closing(log, r, "toolu_s1")


def _refused(log: _Log) -> None:
    """The user refuses the edit, says what is wanted, and gets it."""
    r = repair(log.dice)
    _opening(log, r, "toolu_s2")
    _edit(log, r, "toolu_s2")
    log.result("toolu_s2c", _REFUSED, error=True, detail=f"Error: {_REFUSED}")
    log.user("[Request interrupted by user for tool use]")
    log.user(
        say(
            log.dice,
            "[First|Before that] [add|write] a test [which|that] shows: {seen}.",
            seen=r.seen,
        )
    )
    log.reply(
        _thinking(
            say(log.dice, "A test [comes first|is wanted first]; [the edit|the change] can wait.")
        ),
        _use("toolu_s2e", "Write", file_path=f"tests/{r.module}", content=f"# {r.seen}\n{r.after}"),
    )
    log.result("toolu_s2e", f"File created at tests/{r.module}")
    _edit(log, r, "toolu_s2x")
    log.result("toolu_s2xc", f"The file {r.module} has been updated.")
    _closing(log, r, "toolu_s2")


def _delegated(log: _Log, agent: str) -> None:
    """A sub-agent is sent to find the wrong line; its own log is another file."""
    r = repair(log.dice)
    log.event("file-history-snapshot", messageId=log.session, isSnapshotUpdate=False)
    log.user(r.ask)
    prompt = f"Find the wrong line in {r.module} and say why: {r.seen}."
    log.reply(
        _thinking(
            say(
                log.dice,
                "[Searching|Finding the place] can be [done by|left to] a sub-agent for {m}.",
                m=r.module,
            )
        ),
        _use(
            "toolu_s3t", "Task", description="Find the bug", prompt=prompt, subagent_type="Explore"
        ),
    )
    found = f"`{r.wrong}` in {r.module}: {r.why}."
    log.result(
        "toolu_s3t", found, detail={"status": "completed", "prompt": prompt, "agentId": agent}
    )
    _edit(log, r, "toolu_s3")
    log.result("toolu_s3c", f"The file {r.module} has been updated.")
    _closing(log, r, "toolu_s3")
    other = _Log(log.dice, log.session, agent)
    other.user(prompt)
    other.reply(
        _thinking(
            say(
                log.dice,
                "[Open|Read] {m} [and look|with an eye] for what makes: {seen}.",
                m=r.module,
                seen=r.seen,
            )
        ),
        _use("toolu_s3r", "Read", file_path=r.module),
    )
    other.result("toolu_s3r", _numbered(r.before))
    other.reply(_text(found), stop="end_turn")
    log.lines.append({"subagent": other.lines})


def sessions(dice: Dice) -> dict[str, list[dict[str, Any]]]:
    """Lines of each session file by its name below `claude_code/`."""
    files: dict[str, list[dict[str, Any]]] = {}
    for make in (_plain, _refused, _plain):
        log = _Log(dice, _Log(dice, "")._key())
        make(log)
        files[f"{log.session}.jsonl"] = log.lines
    log = _Log(dice, _Log(dice, "")._key())
    agent = f"a{dice.below(1 << 24):06x}"
    _delegated(log, agent)
    files[f"{log.session}/subagents/agent-{agent}.jsonl"] = log.lines.pop()["subagent"]
    files[f"{log.session}.jsonl"] = log.lines
    return files
