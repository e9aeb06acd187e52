"""A Codex rollout while it is read: cut by compactions and by turns that were taken back."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from tracekit.codes import Code
from tracekit.dialects import session_log
from tracekit.dialects.conversation import add_meta
from tracekit.dialects.dialect import Notes, Record
from tracekit.dialects.session_log import Talk, text_of

HISTORY = Code(
    name="compacted_history_not_trained",
    kind="repair",
    what="An assistant message of the history that replaces a compacted one; it is no target.",
    why="It is a target where it was said, before the compaction.",
)
_MIN_CHARS = 20
"""Characters from which on a text that stands in a message is there by no chance."""


@dataclass(eq=False, slots=True)
class Stretch:
    """One conversation of a rollout."""

    talk: Talk
    cut: Record | None = None
    """The compaction that began it."""
    n_given: int = 0
    """Messages at its beginning that were said before: a history, or turns that were kept."""
    turns: list[tuple[int, int]] = field(default_factory=list)
    """Messages and records before each prompt of the user, to go back to."""
    taken_back: bool = False
    """Did the user go back from here?"""
    went_back: bool = False
    """Did it begin when the user went back?"""

    def spoke(self) -> bool:
        """Does an assistant speak after what was given?"""
        return any(m["role"] == "assistant" for m in self.talk.messages[self.n_given :])


class Log:
    """A rollout while it is read: the conversation so far, and the reply that is still open."""

    def __init__(self, notes: Notes, tags: tuple[str, ...]) -> None:
        self.notes = notes
        self.tags = tags
        self.stretches = [Stretch(Talk(tags=tags))]
        self.headers: list[Record] = []
        self.reply: dict[str, Any] | None = None
        self.model: str | None = None
        self.system: str | None = None

    @property
    def talk(self) -> Talk:
        """The conversation that goes on."""
        return self.stretches[-1].talk

    def say(self, record: Record, message: dict[str, Any]) -> None:
        """A whole message; the reply before it is over."""
        self.reply = None
        if message["role"] == "user" and "injected" not in (message.get("meta") or {}):
            place = (len(self.talk.messages), len(self.talk.records))
            self.stretches[-1].turns.append(place)
        self.talk.say(record, message)

    def open_reply(self, record: Record, value: dict[str, Any], *, fresh: bool) -> dict[str, Any]:
        """The assistant message that a line adds to; `fresh`: what it holds must be over."""
        if self.reply is None or fresh:
            self.reply = {"role": "assistant"}
            session_log.keep_time(value, self.reply)
            if self.model is not None:
                add_meta(self.reply, "model", self.model)
            self.talk.say(record, self.reply)
        else:
            self.talk.say(record)
        return self.reply

    def set_system(self, text: str) -> None:
        """The system prompt, before whatever was said."""
        self.system = text
        self.talk.messages.insert(0, {"role": "system", "content": text})
        stretch = self.stretches[-1]
        stretch.turns = [(n_messages + 1, n_records) for n_messages, n_records in stretch.turns]

    def begin(self) -> Talk:
        """A new conversation of the same session."""
        old = self.talk
        talk = Talk(tags=self.tags, fields=dict(old.fields), meta=dict(old.meta))
        talk.meta.pop("refused_lines", None)
        self.stretches.append(Stretch(talk))
        self.reply = None
        return talk

    def cut(self, record: Record, payload: dict[str, Any], history: list[dict[str, Any]]) -> None:
        """Begins the conversation that goes on after a compaction, with what replaces its past."""
        n_cuts = sum(stretch.cut is not None for stretch in self.stretches)
        talk = self.begin()
        session = talk.fields.get("session_id")
        if session is not None:
            talk.fields["parent_id"] = talk.meta["continues"] = session
        talk.meta["compaction"] = n_cuts + 1
        for key in ("window_id", "previous_window_id"):
            if isinstance(payload.get(key), str):
                talk.meta[key] = payload[key]
        if self.system is not None:
            talk.messages.append({"role": "system", "content": self.system})
        for message in history:
            if message["role"] == "assistant":
                session_log.no_target(message, "history")
                self.notes.repair(HISTORY.name)
        talk.messages.extend(history)
        summary = text_of(payload, "message")
        if summary is not None and not any(summary in (m.get("content") or "") for m in history):
            told = {"role": "user", "content": summary, "meta": {"summary": True}}
            talk.messages.append(told)
        talk.records.append(record)
        self.stretches[-1].cut = record
        self.stretches[-1].n_given = len(talk.messages)

    def take_back(self, n_turns: int) -> None:
        """Begins the conversation that goes on before the last prompts, as if never asked."""
        old = self.stretches[-1]
        if n_turns < 1 or not old.turns:
            return
        n_messages, n_records = old.turns[max(0, len(old.turns) - n_turns)]
        old.taken_back = True
        talk = self.begin()
        talk.messages.extend(copy.deepcopy(old.talk.messages[:n_messages]))
        talk.records.extend(old.talk.records[:n_records])
        new = self.stretches[-1]
        new.cut = old.cut
        new.n_given = n_messages
        new.went_back = True
        new.turns = [place for place in old.turns if place[0] < n_messages]

    def settled(self, latest_only: bool) -> list[Talk]:
        """The conversations, with the lines that describe them all.

        A compaction that nobody spoke after becomes an event, as do the lines of turns that were
        taken back, where only the latest branch is asked for.
        """
        kept: list[Talk] = []
        dropped: dict[tuple[str, int], tuple[Record, str]] = {}
        for stretch in self.stretches:
            talk = stretch.talk
            if stretch.taken_back and latest_only:
                for record in talk.records:
                    dropped.setdefault((record.file, record.row), (record, "abandoned_branch"))
                continue
            alone = latest_only and stretch.went_back  # what it goes on from is left out
            if stretch.n_given and not stretch.spoke() and not alone:
                if stretch.cut is not None and stretch.cut in talk.records:
                    talk.records.remove(stretch.cut)
                    place = (stretch.cut.file, stretch.cut.row)
                    dropped.setdefault(place, (stretch.cut, session_log.COMPACTION))
                if not talk.records:
                    continue
                talk.messages = [{"role": "user"}]  # nobody answers: refused by its reason
            _keep_instructions_once(talk)
            kept.append(talk)
        used = {(r.file, r.row) for talk in kept for r in talk.records}
        for place, (record, kind) in dropped.items():
            if place not in used:
                self.notes.event(record, kind)
        for talk in kept:
            talk.records[:0] = self.headers
        return kept


def _keep_instructions_once(talk: Talk) -> None:
    text = talk.meta.get("instructions")
    if isinstance(text, str) and len(text) >= _MIN_CHARS:
        for k, message in enumerate(talk.messages):
            if text in (message.get("content") or ""):
                talk.meta["instructions"] = {"in_message": k, "chars": len(text)}
                return
