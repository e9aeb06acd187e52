"""Records of two kinds of line: {"session": ..., "say": ...} and {"tick": true}."""

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
