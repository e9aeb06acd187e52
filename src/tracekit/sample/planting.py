"""The files of the built-in sample and the truth about what is planted in them.

Every folder is filled with sound records first; then some of these are copied, altered or broken,
each at most once, and the order of each file is drawn.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from tracekit.sample import written
from tracekit.sample.problems import problem
from tracekit.sample.session_logs import sessions
from tracekit.sample.tool_talks import TOOL_TALKS, code_edit, restock, trains, weather
from tracekit.sample.wording import Dice, Talk, dump, instruction

_SURROGATE = "\ue000"
"""Stands for a lone surrogate until the line is written: UTF-8 has no bytes for one."""


@dataclass(frozen=True, slots=True)
class Planted:
    """One planted thing: its code, its record, and for a copy the record that it copies."""

    code: str
    file: str
    row: int
    twin: tuple[str, int] | None = None


@dataclass(slots=True, eq=False)
class _Entry:
    """A record on its way into a file; `talk` where it may still be copied or altered."""

    value: Any
    talk: Talk | None = None
    codes: tuple[str, ...] = ()
    twin: _Entry | None = None
    break_line: bool = False


@dataclass(slots=True)
class _Shelf:
    """Entries by file, before their order is drawn."""

    files: dict[str, list[_Entry]] = field(default_factory=dict)

    def put(self, file: str, entry: _Entry) -> _Entry:
        self.files.setdefault(file, []).append(entry)
        return entry

    def talks(self, file: str, fit: Callable[[Talk], bool]) -> list[_Entry]:
        """Entries without any planted thing whose talk fits, in order."""
        found = self.files[file]
        return [e for e in found if e.talk and not e.codes and e.twin is None and fit(e.talk)]


def _solved(dice: Dice, *, reasoning: bool = True, n_turns: int = 1) -> Talk:
    messages: list[dict[str, Any]] = []
    for _ in range(n_turns):
        question, thoughts, steps, answer = problem(dice)
        messages.append({"role": "user", "content": question})
        messages.append(
            {
                "role": "assistant",
                "content": f"{steps}\n\n**{answer}**",
                "reasoning": thoughts if reasoning else None,
            }
        )
    return Talk(messages, answer=answer)


def _altered(talk: Talk, **changes: Any) -> Talk:
    """The talk with another last message."""
    return replace(talk, messages=[*talk.messages[:-1], {**talk.messages[-1], **changes}])


def _nearly(talk: Talk, dice: Dice) -> Talk:
    """About 1 % of the words of the last reasoning replaced; numbers stay.

    A replaced word changes five shingles of five words, so k of W words leave a similarity of
    (W - 5k) / (W + 5k); k is chosen to keep it above 0.85.
    """
    words = talk.messages[-1]["reasoning"].split(" ")
    n_all = sum(any(c.isalnum() for c in w) for w in words)
    places = [k for k, w in enumerate(words) if w.isalpha() and w.islower()]
    for k in dice.some(places, max(1, n_all * 8 // 500)):
        words[k] = dice.pick(("indeed", "simply", "clearly", "also", "again", "now", "then"))
    return _altered(talk, reasoning=" ".join(words))


def _looped(talk: Talk, dice: Dice) -> Talk:
    thoughts = talk.messages[-1]["reasoning"]
    block = thoughts[len(thoughts) // 3 : len(thoughts) * 2 // 3].strip() + " "
    return _altered(talk, reasoning=thoughts + " " + block * dice.between(9, 20))


def _is_plain(talk: Talk) -> bool:
    return talk.tools is None and len(talk.messages) == 2 and not talk.messages[-1].get("reasoning")


def _is_reasoned(talk: Talk) -> bool:
    return talk.tools is None and bool(talk.messages[-1].get("reasoning"))


_AGENTS = "openai_agents/loops.jsonl.gz"
_CHAT = "openai/chat.jsonl"
_REQUESTS = "openai/requests.jsonl"
_SHAREGPT = "sharegpt/conversations.json"
_ANTHROPIC = "anthropic/messages.jsonl"
_PAIRS = "prompt_response/think.jsonl"
_ALPACA = "alpaca/instructions.json"
_QUESTIONS = "questions/word_problems.jsonl"
_SESSIONS = "claude_code/"


def _fill(shelf: _Shelf) -> None:
    """The sound records of all folders but the sessions."""
    dice = Dice(20260301)
    for k in range(72):
        talk = (
            dice.pick((weather, trains))(dice)
            if k % 3 == 2
            else _solved(dice, reasoning=k % 3 == 0)
        )
        shelf.put(_CHAT, _Entry(written.openai(talk, f"oa-{k:04d}"), talk))
    for k in range(12):
        talk = _solved(dice)
        reason = "length" if k % 3 == 1 else "stop"
        if reason == "length":
            text = talk.messages[-1]["content"]
            talk = _altered(talk, content=text[: len(text) // 2])
        codes = ("truncated",) if reason == "length" else ()
        shelf.put(_REQUESTS, _Entry(written.exchange(talk, f"rq-{k:04d}", reason), codes=codes))
    for k in range(30):
        talk = (restock, code_edit)[k % 2](dice)
        shelf.put(_AGENTS, _Entry(written.openai(talk, f"ag-{k:04d}"), talk))
    for k in range(42):
        if k % 3 == 0:
            talk = dice.pick(TOOL_TALKS)(dice)
        else:
            talk = _solved(dice, reasoning=k % 3 == 1, n_turns=1 + (k % 4 == 2))
        record = written.sharegpt(talk, f"sg-{k:04d}", as_text=k % 2 == 0)
        shelf.put(_SHAREGPT, _Entry(record, talk))
    for k in range(40):
        talk = _solved(dice) if k % 4 == 0 else dice.pick(TOOL_TALKS)(dice)
        shelf.put(_ANTHROPIC, _Entry(written.anthropic(talk, f"an-{k:04d}"), talk))
    for k in range(45):
        talk = _solved(dice, reasoning=k % 3 < 2)
        record = written.pair(talk, f"pr-{k:04d}")
        if k % 3 == 1:  # as written by models whose prompt ends in the opening tag
            record["response"] = record["response"].removeprefix("<think>\n")
        shelf.put(_PAIRS, _Entry(record, talk))
    for _ in range(44):
        ask, given, output = instruction(dice)
        talk = Talk([{"role": "user", "content": ask}, {"role": "assistant", "content": output}])
        record = {"instruction": ask, "input": given, "output": output}
        shelf.put(_ALPACA, _Entry(record, None if given else talk))
    for _ in range(46):
        question, _, steps, answer = problem(dice)
        record = {"question": question, "answer": f"{steps}\n#### {answer}"}
        shelf.put(_QUESTIONS, _Entry(record))


def _copy(shelf: _Shelf) -> None:
    """Exact copies across sources and within one, and near copies."""
    dice = Dice(20260302)

    def plain(file: str, n: int) -> list[_Entry]:
        return shelf.talks(file, _is_plain)[:n]

    exact = [
        *((e, _CHAT, written.openai) for e in plain(_CHAT, 6)),
        *((e, _CHAT, written.openai) for e in plain(_ALPACA, 6)),
        *((e, _CHAT, written.openai) for e in plain(_SHAREGPT, 4)),
        *((e, _CHAT, written.openai) for e in shelf.files[_AGENTS][:4]),
        *((e, _PAIRS, written.pair) for e in plain(_CHAT, 10)[6:]),
    ]
    near = [
        *((e, _CHAT, written.openai) for e in shelf.talks(_CHAT, _is_reasoned)[:10]),
        *((e, _SHAREGPT, written.sharegpt) for e in shelf.talks(_CHAT, _is_reasoned)[10:16]),
        *((e, _ANTHROPIC, written.anthropic) for e in shelf.talks(_SHAREGPT, _is_reasoned)[:6]),
        *((e, _PAIRS, written.pair) for e in shelf.talks(_ANTHROPIC, _is_reasoned)[:4]),
    ]
    for k, (entry, file, write) in enumerate(exact):
        assert entry.talk is not None
        record = write(entry.talk, f"xc-{k:04d}")
        shelf.put(file, _Entry(record, codes=("exact_duplicate",), twin=entry))
        entry.talk = None
    for k, (entry, file, write) in enumerate(near):
        assert entry.talk is not None
        record = write(_nearly(entry.talk, dice), f"nc-{k:04d}")
        shelf.put(file, _Entry(record, codes=("near_duplicate",), twin=entry))
        entry.talk = None


def _spoil(shelf: _Shelf) -> None:
    """Records that are new and carry one defect each."""
    dice = Dice(20260303)

    def chat(code: str, talk: Talk, **more: Any) -> None:
        key = f"df-{len(shelf.files[_CHAT]):04d}"
        shelf.put(_CHAT, _Entry(written.openai(talk, key), codes=(code,), **more))

    def pair(code: str, talk: Talk, **more: Any) -> _Entry:
        key = f"df-{len(shelf.files[_PAIRS]):04d}"
        return shelf.put(_PAIRS, _Entry(written.pair(talk, key), codes=(code,), **more))

    for _ in range(3):
        chat("loop", _looped(_solved(dice), dice))
        pair("loop", _looped(_solved(dice), dice))
        talk = _solved(dice)
        opened = f"Let me see.\n<think>\n{talk.messages[-1]['reasoning']}"
        chat("unclosed_think", _altered(talk, content=opened, reasoning=None))
        entry = pair("think_unclosed", _solved(dice))
        entry.value["response"] = entry.value["response"].split("\n</think>")[0]
        talk = _solved(dice, reasoning=False)
        text = talk.messages[-1]["content"]
        mark = dice.pick(("<|im_end|>", "<|endoftext|>", "<|im_start|>user"))
        chat("control_tokens", _altered(talk, content=f"{text}{mark}"))
        chat("empty_target", _altered(_solved(dice), content="", reasoning=None))
        chat("line_separator", _altered(talk := _solved(dice), content=f"{text}\u2028Done."))
        talk = _solved(dice, reasoning=False)
        text = talk.messages[-1]["content"]
        chat("lone_surrogate", _altered(talk, content=f"{text} {_SURROGATE}"))
        chat("invalid_json", _solved(dice), break_line=True)
        talk = _solved(dice)
        chat("no_assistant_message", replace(talk, messages=talk.messages[:1]))
        chat("arguments_not_object", _recalled(weather(dice), lambda a: dump(a)[:-3]))
        chat("unknown_tool", _renamed(trains(dice)))
        chat("results_reordered", _turned(weather(dice)))
    for role in ("critic", "narrator"):
        talk = _solved(dice, reasoning=False)
        chat(
            "unknown_role",
            replace(talk, messages=[*talk.messages, {**talk.messages[1], "role": role}]),
        )


def _recalled(talk: Talk, change: Callable[[dict[str, Any]], Any]) -> Talk:
    """The talk with the arguments of its first call changed."""
    k = next(k for k, m in enumerate(talk.messages) if m.get("calls"))
    first, *others = talk.messages[k]["calls"]
    calls = [{**first, "arguments": change(first["arguments"])}, *others]
    messages = list(talk.messages)
    messages[k] = {**messages[k], "calls": calls}
    return replace(talk, messages=messages)


def _renamed(talk: Talk) -> Talk:
    """The talk with one call, and its result, of a tool that nobody declared."""
    name = "reserve_seat_v2"
    messages = [
        {**m, "calls": [{**c, "name": name} for c in m["calls"]]}
        if any(c["name"] == "book_seat" for c in m.get("calls", ()))
        else {**m, "name": name}
        if m.get("name") == "book_seat"
        else m
        for m in talk.messages
    ]
    return replace(talk, messages=messages)


def _turned(talk: Talk) -> Talk:
    """The talk with the results of its parallel calls in reverse."""
    results = [m for m in talk.messages if m["role"] == "tool"]
    left = iter(reversed(results))
    messages = [next(left) if m["role"] == "tool" else m for m in talk.messages]
    return replace(talk, messages=messages)


@cache
def made() -> tuple[dict[str, bytes], tuple[Planted, ...]]:
    """Bytes of each file by its name, and all that is planted. Made once a process, in 0.2 s."""
    shelf = _Shelf()
    _fill(shelf)
    _copy(shelf)
    _spoil(shelf)
    dice = Dice(20260304)
    place: dict[int, tuple[str, int]] = {}
    for file, entries in shelf.files.items():
        shelf.files[file] = dice.some(entries, len(entries))
        for row, entry in enumerate(shelf.files[file]):
            place[id(entry)] = (file, row)
    truth = [
        Planted(code, *place[id(e)], None if e.twin is None else place[id(e.twin)])
        for entries in shelf.files.values()
        for e in entries
        for code in e.codes
    ]
    files = {file: _bytes(file, entries) for file, entries in shelf.files.items()}
    for name, lines in sessions(Dice(20260305)).items():
        files[_SESSIONS + name] = "".join(dump(line) + "\n" for line in lines).encode()
        truth.extend(
            Planted("call_refused_by_user", _SESSIONS + name, row)
            for row, line in enumerate(lines)
            if str(line.get("toolUseResult", "")).startswith("Error: The user doesn't want")
        )
    return dict(sorted(files.items())), tuple(sorted(truth, key=lambda p: (p.code, p.file, p.row)))


def _bytes(file: str, entries: list[_Entry]) -> bytes:
    if file.endswith(".json"):
        text = "[\n" + ",\n".join(dump(e.value) for e in entries) + "\n]\n"
        return text.encode()
    lines = []
    for entry in entries:
        line = dump(entry.value).replace(_SURROGATE, "\\ud83d")
        if entry.break_line:
            line = line.replace('"messages":', '"messages"', 1)
        lines.append(line + "\n")
    data = "".join(lines).encode()
    return _gzip(data) if file.endswith(".gz") else data


def _gzip(data: bytes) -> bytes:
    """A gzip member of stored blocks: compressed bytes would differ between builds of zlib."""
    header = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # no name, time 0, unknown system
    blocks = []
    for start in range(0, max(1, len(data)), 0xFFFF):
        block = data[start : start + 0xFFFF]
        last = start + 0xFFFF >= len(data)
        blocks.append(struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF) + block)
    tail = struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)
    return header + b"".join(blocks) + tail
