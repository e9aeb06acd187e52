"""Events of OpenHands to messages: actions with what the model wrote, observations as results.

An action that came out of a function call carries the whole answer of the API
(`tool_call_metadata.model_response`): name and arguments are taken from it, since `args` are what
the harness made of them (defaults, translated code). Older events have no such answer: there the
call is the action with the arguments that are the agent's; the harness's own are in the meta.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import agent_text, content_parts, declarations, openai_message
from tracekit.dialects.conversation import add_meta
from tracekit.dialects.dialect import Notes
from tracekit.errors import BadRecord

EVENTS = {
    "agent_state_changed": "The agent went to another state.",
    "change_agent_state": "The harness asked for another state of the agent.",
    "null": "An observation of nothing.",
    "recall": "The harness looked up what it knows of the workspace, or found it.",
    "condensation": "The harness shortened its view of the history.",
    "condensation_request": "The agent asked for a shorter view of the history.",
    "loop_recovery": "The harness took the agent out of a loop.",
    "start_planning": "State of the harness.",
    "user_rejected": "The user refused an action.",
    "other_event": "An event of a kind that this release lacks.",
}
"""Observations and actions that are no message, with what they say."""

EVENT_CODES = tuple(
    Code(name=f"openhands_{name}", kind="event", what=what) for name, what in EVENTS.items()
)
CODES = (
    Code(
        name="action_lifted",
        kind="repair",
        what="An action was recorded as the harness ran it, without the model's own call; it "
        "became a call of that name with the agent's arguments.",
    ),
)

_TALK = ("message", "system")
_ACTIONS = frozenset(
    (
        *("run", "run_ipython", "read", "write", "edit", "browse", "browse_interactive", "think"),
        *("finish", "delegate", "reject", "call_tool_mcp", "task_tracking", "modify_task"),
        *("add_task", "push", "send_pr", "summarize", "save", "load"),
    )
)
_RESULTS = frozenset(
    (
        *("run", "run_ipython", "read", "write", "edit", "browse", "think", "delegate", "error"),
        *("mcp", "task_tracking", "user_rejected", "chat", "success"),
    )
)
_URLS = ("image_urls", "images_urls", "file_urls")
_HARNESS_ARGS = frozenset(
    (
        *("thought", "action_risk", "is_confirmed", "confirmation_state", "kernel_init_code"),
        *("keep_prompt", "blocking", "hidden", "is_static", "is_input", "security_risk"),
        *("translated_ipython_code", "impl_source", "include_extra", "cwd", "final_thought"),
    )
)
_EVENT_KEYS = frozenset(
    (
        *("id", "timestamp", "source", "message", "action", "observation", "args", "content"),
        *("cause", "extras", "tool_call_metadata", "llm_metrics", "success", "timeout"),
    )
)


def kind_of(event: Any) -> str:
    """What an event is: "reply", "talk", "result", or the code of an event that is no message."""
    if not isinstance(event, dict):
        raise BadRecord("message_not_object", f"an event is {type(event).__name__}")
    action, observation = event.get("action"), event.get("observation")
    if isinstance(action, str):
        if action in _TALK:
            return "talk"
        if action in _ACTIONS or isinstance(event.get("tool_call_metadata"), dict):
            return "reply"
        return f"openhands_{action}" if action in EVENTS else "openhands_other_event"
    if isinstance(observation, str):
        if observation == "null" or observation == "agent_state_changed":
            return f"openhands_{observation}"
        if observation in _RESULTS or isinstance(event.get("tool_call_metadata"), dict):
            return "result"
        return f"openhands_{observation}" if observation in EVENTS else "openhands_other_event"
    return "openhands_other_event"


def read_events(
    events: Sequence[dict[str, Any]], meta: dict[str, Any], notes: Notes
) -> tuple[list[dict[str, Any]], list[dict[str, Any]] | None]:
    """Unfinished messages of events, and the tools that the system event declares.

    What is no message is left to the caller, by `kind_of`.
    """
    messages: list[dict[str, Any]] = []
    tools: list[dict[str, Any]] | None = None
    seen: set[str] = set()
    calls: dict[Any, str] = {}
    for event in events:
        kind = kind_of(event)
        if kind == "talk":
            message, given = _talk(event, seen, notes)
            tools = given if given is not None else tools
            if message is not None:
                messages.append(message)
        elif kind == "reply":
            reply = _reply(event, seen, calls, notes)
            if reply is not None:
                messages.append(reply)
        elif kind == "result":
            messages.append(_result(event, calls, bool(messages)))
    models = {m["meta"]["model"] for m in messages if "model" in (m.get("meta") or {})}
    if len(models) == 1:
        meta["model"] = models.pop()
        for message in messages:
            (message.get("meta") or {}).pop("model", None)
    return messages, tools


def _args(event: dict[str, Any]) -> dict[str, Any]:
    """Arguments of an action: in `args`, in older events beside the action."""
    args = event.get("args")
    if isinstance(args, dict):
        return args
    known = {"action", "source", "message", "id", "timestamp", "tool_call_metadata", "llm_metrics"}
    return {key: v for key, v in event.items() if key not in known}


def _stamp(message: dict[str, Any], event: dict[str, Any]) -> None:
    """Time and id of the event, and keys that this release does not know."""
    for key in ("id", "timestamp"):
        if event.get(key) is not None:
            add_meta(message, key, event[key])
    if isinstance(event.get("args"), dict) or isinstance(event.get("extras"), dict):
        rest = {key: v for key, v in event.items() if key not in _EVENT_KEYS}
        agent_text.keep_rest(message, rest)


def _talk(
    event: dict[str, Any], seen: set[str], notes: Notes
) -> tuple[dict[str, Any] | None, list[dict[str, Any]] | None]:
    """A message event, or the system prompt with its tools."""
    args = _args(event)
    if isinstance(event.get("tool_call_metadata"), dict) or event.get("action") == "system":
        reply = None if event["action"] == "system" else _reply(event, seen, {}, notes)
        if event["action"] != "system":
            return reply, None
    role = "system" if event["action"] == "system" else _speaker(event)
    message: dict[str, Any] = {"role": role}
    text = args.get("content", event.get("message"))
    if isinstance(text, str):
        if text:
            message["content"] = text
    elif text is not None:
        raise BadRecord("content_not_text", f"content of an event is {type(text).__name__}")
    if role == "assistant" and "content" in message:
        openai_message.split_text(message, notes, {"calls": "as_text"})
    given = [args.get(key) for key in _URLS]
    urls = [url for one in given if isinstance(one, list) for url in one if isinstance(url, str)]
    if urls:
        part = [content_parts.file_reference({"image_url": url}, "image_url") for url in urls]
        message["attachments"] = part
    rest = {
        key: v
        for key, v in args.items()
        if key not in ("content", "tools", *_HARNESS_ARGS)
        and not (key in _URLS and isinstance(v, list))
        and v not in (None, False, True, "", [], {})
    }
    agent_text.keep_rest(message, rest)
    _stamp(message, event)
    tools = args.get("tools") if role == "system" else None
    return message, None if tools is None else declarations.read_tools(tools)


def _speaker(event: dict[str, Any]) -> str:
    """Role of a message event; the oldest events name no source: there the user speaks first."""
    source = event.get("source")
    if source in ("user", "agent"):
        return "user" if source == "user" else "assistant"
    if source is None:
        return "assistant" if event.get("wait_for_response") is True else "user"
    if source == "environment":
        return "user"
    raise BadRecord("unknown_role", f"an event has the source {source!r:.60}")


def _reply(
    event: dict[str, Any], seen: set[str], calls: dict[Any, str], notes: Notes
) -> dict[str, Any] | None:
    """The reply that an action came from; None where an earlier action of it gave it already."""
    made = event.get("tool_call_metadata")
    response = made.get("model_response") if isinstance(made, dict) else None
    choices = response.get("choices") if isinstance(response, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    said = choice.get("message") if isinstance(choice, dict) else None
    if isinstance(made, dict):
        call_id = made.get("tool_call_id")
        if isinstance(call_id, str):
            calls[_hashable(event.get("id"))] = call_id
    if not isinstance(said, dict):
        return _lifted(event, made, calls, notes)
    assert isinstance(response, dict)
    assert isinstance(choice, dict)
    name = response.get("id")
    if isinstance(name, str) and name:
        if name in seen:
            return None
        seen.add(name)
    message = openai_message.read_message({**said, "role": "assistant"}, 0, notes, {})
    if isinstance(choice.get("finish_reason"), str):
        message["finish_reason"] = choice["finish_reason"]
    if isinstance(response.get("model"), str):
        add_meta(message, "model", response["model"])
    for key in ("id", "usage"):
        if response.get(key) is not None:
            add_meta(message, f"response_{key}" if key == "id" else key, response[key])
    thought = _args(event).get("thought")
    said_so = f"{message.get('content') or ''}\n{message.get('reasoning') or ''}"
    if isinstance(thought, str) and thought.strip() not in said_so:
        add_meta(message, "thought", thought)
    _stamp(message, event)
    return message


def _hashable(value: Any) -> Any:
    return value if isinstance(value, (int, str)) else jsontext.dump(value)


def _lifted(
    event: dict[str, Any], made: Any, calls: dict[Any, str], notes: Notes
) -> dict[str, Any]:
    """A reply of an action without the model's own call."""
    args = _args(event)
    message: dict[str, Any] = {"role": "assistant"}
    thought = args.get("thought")
    if isinstance(thought, str) and thought:
        message["content"] = thought
    elif thought is not None:
        add_meta(message, "thought", thought)
    name = made.get("function_name") if isinstance(made, dict) else None
    call_id = made.get("tool_call_id") if isinstance(made, dict) else None
    own = {k: v for k, v in args.items() if k not in _HARNESS_ARGS and v is not None and v != {}}
    message["tool_calls"] = [
        {
            "id": call_id if isinstance(call_id, str) else "",
            "name": name if isinstance(name, str) and name else event["action"],
            "arguments": jsontext.dump(own),
        }
    ]
    notes.repair("action_lifted")
    rest = {k: v for k, v in args.items() if k in _HARNESS_ARGS and k != "thought"}
    agent_text.keep_rest(message, {k: v for k, v in rest.items() if isinstance(v, str)})
    _stamp(message, event)
    return message


def _result(event: dict[str, Any], calls: dict[Any, str], begun: bool) -> dict[str, Any]:
    """A tool message of an observation; without a call it is what the environment says."""
    made = event.get("tool_call_metadata")
    call_id = made.get("tool_call_id") if isinstance(made, dict) else None
    if not isinstance(call_id, str):
        call_id = calls.get(_hashable(event.get("cause")))
    content = event.get("content")
    text = content if isinstance(content, str) else jsontext.dump(content) if content else ""
    observation = event["observation"]
    role = "tool"
    if observation == "error" and call_id is None and event.get("cause") is None:
        role = "user"  # the answer to a reply that the harness could not read, and did not keep
    message: dict[str, Any] = {"role": role}
    if text:
        message["content"] = text
    if role == "user":
        add_meta(message, "from", "environment")
    else:
        if call_id is not None:
            message["tool_call_id"] = call_id
        failed = _failed(event, text)
        if failed is not None:
            message["error"] = failed
    extras = event.get("extras")
    if not isinstance(extras, dict):
        known = {*_EVENT_KEYS, "command_id"}
        extras = {key: v for key, v in event.items() if key not in known}
    empty: tuple[Any, ...] = ("", [], {}, None, text)
    kept = {key: v for key, v in extras.items() if v not in empty}
    if kept:
        add_meta(message, "extras", kept)
    _stamp(message, event)
    return message


def _failed(event: dict[str, Any], text: str) -> bool | None:
    """Did an observed action fail? None while a command runs on, and where nothing says it."""
    if event["observation"] == "error" or text.startswith("ERROR:\n"):
        return True
    extras = event.get("extras")
    extras = extras if isinstance(extras, dict) else {}
    metadata = extras.get("metadata")
    code = metadata.get("exit_code") if isinstance(metadata, dict) else None
    for given in (code, extras.get("exit_code"), event.get("exit_code")):
        if isinstance(given, int) and not isinstance(given, bool):
            return None if given == -1 else given != 0
    if isinstance(event.get("success"), bool):
        return not event["success"]
    return False if event["observation"] in ("edit", "read", "write", "think") else None
