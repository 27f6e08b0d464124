"""What the agents of the research demo are asked, and what they say where no model is configured.

The script only counts: it knows nothing of its topic, and says so.
"""

from typing import Any, Final

from runcast.demo.chat import measure_text
from runcast.testing import ModelCall, ModelTurn

__all__ = (
    "PLANNER",
    "QUESTIONS",
    "RESEARCHER",
    "SECTIONS",
    "WRITER",
    "look_up",
    "report_of",
    "turn_for",
)

PLANNER: Final = "You plan research. Answer with two questions about the topic, one on each line."
RESEARCHER: Final = "You research. Look the question up with your tool, then answer in a sentence."
WRITER: Final = "You write one section of a report from notes, in two sentences, without a title."

QUESTIONS: Final = ("Which words does “{}” have?", "How long is “{}”?")
SECTIONS: Final = ("Findings", "Outlook")


def look_up(question: str) -> str:
    """Look a question up. The demo has no library: it measures the quoted words."""
    topic = question.partition("“")[2].rpartition("”")[0] or question
    measured = measure_text(topic)
    words = ", ".join(measured["most_frequent"]) or "none"
    return f"{measured['words']} words, {measured['characters']} characters; the first: {words}"


def report_of(topic: str, sections: list[tuple[str, str]]) -> str:
    """Return the report as Markdown."""
    parts = [f"# {topic}", *(f"## {title}\n\n{text.strip()}" for title, text in sections)]
    return "\n\n".join(parts) + "\n"


def turn_for(call: ModelCall) -> ModelTurn:
    """Return what the model says: it knows the agent by its instructions."""
    messages: list[Any] = [*call.body.get("messages", ())]
    asked = str(messages[0].get("content")) if messages else ""
    if asked == PLANNER:
        questions = "\n".join(question.format(call.prompt) for question in QUESTIONS)
        return ModelTurn(thinking="Two questions will do.", text=questions)
    if asked == RESEARCHER and messages[-1].get("role") != "tool":
        return ModelTurn(tools=[("look_up", {"question": call.prompt})])
    if asked == RESEARCHER:
        found = str(messages[-1].get("content"))
        return ModelTurn(text=f"It has {found}. Nothing else is known, because this is a script.")
    return ModelTurn(text=f"This section rests on these notes. {call.prompt.strip()}")
