"""A small conversation: thoughts, a tool call, and an answer word by word."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import runcast

__all__ = ("chat", "measure_text")


@runcast.function
async def chat(prompt: str, pause_s: float = 0.05) -> AsyncIterator[dict[str, Any]]:
    """Answer a prompt with facts about its words, streamed like an assistant's answer.

    No language model is used; the tool only counts. `pause_s` is the pause between words, seconds.
    """
    pause_s = min(max(pause_s, 0.0), 5.0)
    for thought in ("I should look at the prompt first.", " Counting its words will tell."):
        yield {"type": "thinking", "data": {"text": thought}}
        await asyncio.sleep(pause_s)
    call = {"call_id": "1", "tool": "measure_text"}
    yield {"type": "tool_call", "data": {**call, "args": {"text": prompt}}}
    measured = measure_text(prompt)
    await asyncio.sleep(pause_s)
    yield {"type": "tool_result", "data": {**call, "result": measured, "ok": True}}
    answer = _answer(measured)
    for index, piece in enumerate(re.findall(r"\S+\s*", answer)):
        yield {"type": "content", "data": {"text": piece, "message_id": "answer", "index": index}}
        await asyncio.sleep(pause_s)
    yield {"type": "content_complete", "data": {"message_id": "answer"}}
    yield {"type": "done", "data": answer}


def measure_text(text: str) -> dict[str, Any]:
    """Return the length of a text, and its words."""
    words = [word.lower() for word in re.findall(r"[^\W\d_]+", text)]
    return {
        "characters": len(text),
        "words": len(words),
        "distinct": len(set(words)),
        "longest": max(words, key=len, default=""),
        "most_frequent": [word for word, _ in Counter(words).most_common(3)],
    }


def _answer(measured: dict[str, Any]) -> str:
    if not measured["words"]:
        return "There is no word in your prompt, so there is nothing that I could say about it."
    words, distinct = measured["words"], measured["distinct"]
    return (
        f"Your prompt has {words} {'word' if words == 1 else 'words'}, {distinct} different. "
        f"The longest is “{measured['longest']}”. "
        f"It speaks mostly of {', '.join(measured['most_frequent'])}."
    )
