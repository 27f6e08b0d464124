"""A chat agent: a model that calls tools, and a person who approves what cannot be undone.

The model is scripted, so that the example needs no key and no network. A real one is asked in the
same place, `MODEL`, and streams in the same way.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import runcast

ORDERS = {"17": {"item": "teapot", "price": 30}}


def find_order(order: str) -> dict[str, Any]:
    """Look an order up."""
    return ORDERS.get(order) or {"error": f"there is no order {order}"}


def refund(order: str, amount: int) -> str:
    """Pay money back. Nobody can undo this, so a person is asked before."""
    return f"{amount} paid back for order {order}"


TOOLS = {"find_order": find_order, "refund": refund}
NEEDS_APPROVAL = {"refund"}


async def scripted_model(messages: list[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    """Stream the next turn of the assistant: pieces of text, or a call of a tool."""
    results = [message["content"] for message in messages if message["role"] == "tool"]
    if not results:
        yield {"thinking": "An order is mentioned. I look it up."}
        yield {"tool": "find_order", "args": {"order": "17"}}
    elif len(results) == 1:
        yield {"text": "I found your teapot. "}
        yield {"tool": "refund", "args": {"order": "17", "amount": results[0]["price"]}}
    else:
        answer = "I may not pay it back." if results[1] is None else f"Done: {results[1]}."
        for word in answer.split(" "):
            await asyncio.sleep(0.05)
            yield {"text": word + " "}


MODEL = scripted_model


@runcast.function
async def chat(message: str) -> str:
    """Answer a message of a customer."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": message}]
    step = runcast.StreamWriter(node="assistant")
    text = ""
    for turn in range(10):
        call = None
        async for piece in MODEL(messages):
            if "thinking" in piece:
                step.thinking(piece["thinking"])
            elif "text" in piece:
                step.content_streaming(piece["text"])
                text += piece["text"]
            else:
                call = piece
        if call is None:
            break
        result = await use_tool(step, f"call-{turn}", call["tool"], call["args"])
        messages.append({"role": "tool", "content": result})
    return text.strip()


async def use_tool(
    step: runcast.StreamWriter, call_id: str, tool: str, args: dict[str, Any]
) -> Any:
    """Call a tool, after a person has approved it where that is needed; None if nobody has."""
    if tool in NEEDS_APPROVAL:
        answer = await runcast.ask(f"May I {tool}?", action=tool, args=args, interrupt_id=call_id)
        if not answer.approved:
            return None
        args = answer.args or args  # the person may have changed them
    step.tool_call(tool, args, call_id=call_id)
    result = TOOLS[tool](**args)
    step.tool_result(tool, result, call_id=call_id)
    return result
