"""A research agent: it plans, looks things up, writes sections, asks, and keeps a report.

With langgraph, langchain and langchain-openai its steps are a graph. Without them the same steps
run one after the other, and nothing is asked of a model.
"""

import asyncio
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import runcast
from runcast.demo import research_script as script

__all__ = ("research",)

_PACKAGES: Final = ("langgraph", "langchain", "langchain_openai")


@runcast.function
async def research(topic: str, pause_s: float = 0.05) -> dict[str, Any]:
    """Research a topic with several agents, and ask before the report is published.

    The model is that of `OPENAI_BASE_URL` (and `OPENAI_MODEL`, `OPENAI_API_KEY`) if it is set, and
    otherwise a script. `pause_s` is the pause between the words of the script, seconds.
    """
    if not topic.strip():
        raise runcast.RunFailed("expected a topic, got an empty text", "invalid_inputs")
    pause_s = min(max(pause_s, 0.0), 5.0)
    missing = [name.replace("_", "-") for name in _PACKAGES if find_spec(name) is None]
    if missing:
        runcast.log(
            "the steps run without LangGraph and without a model, because packages are missing: "
            f"pip install {' '.join(missing)}",
            "warning",
        )
        report, answer = await _research_plainly(topic, pause_s)
    else:
        in_graph = await asyncio.to_thread(_load)  # which takes a second
        report, answer = await in_graph(topic, pause_s)
    return await asyncio.to_thread(_publish, report, answer)


def _load() -> Any:
    from runcast.demo.research_graph import research_in_graph

    return research_in_graph


def _publish(report: str, answer: dict[str, Any]) -> dict[str, Any]:
    """Keep the report as a file, unless the answer was no."""
    if answer["type"] in ("reject", "expired"):
        return {"published": False}
    args = answer.get("args")
    if answer["type"] == "response":
        report += f"\n> {args}\n"
    name = args.get("file") if answer["type"] == "edit" and isinstance(args, dict) else None
    file = Path(str(name or "report.md")).name or "report.md"
    outputs = runcast.workspace() / "data" / "outputs"
    outputs.mkdir(parents=True, exist_ok=True)
    (outputs / file).write_text(report, "utf-8")
    return {"published": True, "file": file, "characters": len(report)}


# The same steps without LangGraph.


async def _research_plainly(topic: str, pause_s: float) -> tuple[str, dict[str, Any]]:
    runcast.step_start("plan", node="plan", agent="planner")
    questions = [question.format(topic) for question in script.QUESTIONS]
    await _say("\n".join(questions), "plan", "plan", "planner", pause_s)
    runcast.step_complete(node="plan", agent="planner")
    async with asyncio.TaskGroup() as group:
        looking = [
            group.create_task(_look_up(str(number), question, pause_s))
            for number, question in enumerate(questions)
        ]
    notes = " ".join(task.result() for task in looking)
    runcast.step_start("write", node="write", agent="writer")
    sections = []
    for title in script.SECTIONS:
        text = f"This section rests on these notes. {notes}"
        await _say(text, title, "write", "writer", pause_s)
        sections.append((title, text))
    runcast.step_complete(node="write", agent="writer")
    args = {"file": "report.md"}
    answer = await runcast.ask("Publish the report?", action="publish", args=args)
    return script.report_of(topic, sections), answer.document()


async def _look_up(number: str, question: str, pause_s: float) -> str:
    node, agent = "research", "researcher"
    runcast.step_start("research", step_id=number, node=node, agent=agent)
    args = {"question": question}
    runcast.tool_call("look_up", args, call_id=number, node=node, agent=agent)
    found = script.look_up(question)
    await asyncio.sleep(pause_s)
    runcast.tool_result("look_up", found, call_id=number, ok=True, node=node, agent=agent)
    await _say(f"It has {found}.", number, node, agent, pause_s)
    runcast.step_complete(step_id=number, node=node, agent=agent)
    return f"It has {found}."


async def _say(text: str, message_id: str, node: str, agent: str, pause_s: float) -> None:
    for piece in re.findall(r"\S+\s*", text):
        runcast.content(piece, message_id=message_id, node=node, agent=agent)
        await asyncio.sleep(pause_s)
