"""Conversations of the sample as records of each dialect."""

from __future__ import annotations

from typing import Any

from tracekit.sample.wording import Talk, dump

MODEL = "sample-teacher-1"


def _calls(message: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "id": c["id"],
            "type": "function",
            "function": {
                "name": c["name"],
                "arguments": a if isinstance(a := c["arguments"], str) else dump(a),
            },
        }
        for c in message.get("calls", ())
    ]


def openai(talk: Talk, key: str) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    if talk.system:
        messages.append({"role": "system", "content": talk.system})
    for m in talk.messages:
        out: dict[str, Any] = {"role": m["role"], "content": m["content"]}
        if m.get("reasoning"):
            out["reasoning_content"] = m["reasoning"]
        if m.get("calls"):
            out["tool_calls"] = _calls(m)
        if m["role"] == "tool":
            out["tool_call_id"] = m["call_id"]
            out["name"] = m["name"]
        messages.append(out)
    record: dict[str, Any] = {"id": key, "model": MODEL, "messages": messages}
    if talk.tools is not None:
        record["tools"] = [{"type": "function", "function": t} for t in talk.tools]
    return record


def exchange(talk: Talk, key: str, finish_reason: str) -> dict[str, Any]:
    record = openai(talk, key)
    *before, reply = record["messages"]
    choice = {"index": 0, "message": reply, "finish_reason": finish_reason}
    return {
        "id": key,
        "request": {"model": MODEL, "messages": before},
        "response": {"id": f"resp-{key}", "model": MODEL, "choices": [choice]},
    }


def _think(message: dict[str, Any]) -> str:
    text = message["content"] or ""
    return (
        f"<think>\n{message['reasoning']}\n</think>\n\n{text}" if message.get("reasoning") else text
    )


def sharegpt(talk: Talk, key: str, *, as_text: bool = False) -> dict[str, Any]:
    """`as_text`: calls as `<tool_call>` text of `gpt`; else as turns of their own."""
    turns: list[dict[str, str]] = []
    for m in talk.messages:
        if m["role"] != "assistant":
            role = {"user": "human", "tool": "observation"}[m["role"]]
            turns.append({"from": role, "value": m["content"]})
            continue
        calls = [{"name": c["name"], "arguments": c["arguments"]} for c in m.get("calls", ())]
        if as_text and calls:
            text = "\n".join(f"<tool_call>\n{dump(c)}\n</tool_call>" for c in calls)
            turns.append({"from": "gpt", "value": f"{_think(m)}{text}"})
        elif calls:
            turns.extend({"from": "function_call", "value": dump(c)} for c in calls)
        else:
            turns.append({"from": "gpt", "value": _think(m)})
    record: dict[str, Any] = {"id": key, "conversations": turns}
    if talk.system:
        record["system"] = talk.system
    if talk.tools is not None:
        record["tools"] = dump(talk.tools)
    return record


def anthropic(talk: Talk, key: str) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for m in [*talk.messages, None]:
        if results and (m is None or m["role"] != "tool"):
            messages.append({"role": "user", "content": results})
            results = []
        if m is None:
            break
        if m["role"] == "tool":
            block: dict[str, Any] = {
                "type": "tool_result",
                "tool_use_id": m["call_id"],
                "content": [{"type": "text", "text": m["content"]}],
            }
            results.append({**block, "is_error": True} if m["error"] else block)
        elif m["role"] == "user":
            messages.append({"role": "user", "content": m["content"]})
        else:
            blocks: list[dict[str, Any]] = []
            if m.get("reasoning"):
                blocks.append({"type": "thinking", "thinking": m["reasoning"], "signature": "none"})
            if m["content"]:
                blocks.append({"type": "text", "text": m["content"]})
            blocks.extend(
                {"type": "tool_use", "id": c["id"], "name": c["name"], "input": c["arguments"]}
                for c in m.get("calls", ())
            )
            messages.append({"role": "assistant", "content": blocks})
    record: dict[str, Any] = {"id": key, "model": MODEL, "messages": messages}
    if talk.system:
        record["system"] = talk.system
    if talk.tools is not None:
        record["tools"] = [
            {**{k: v for k, v in t.items() if k != "parameters"}, "input_schema": t["parameters"]}
            for t in talk.tools
        ]
    return record


def pair(talk: Talk, key: str) -> dict[str, Any]:
    return {"id": key, "prompt": talk.messages[0]["content"], "response": _think(talk.messages[1])}
