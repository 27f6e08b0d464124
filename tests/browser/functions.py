"""Functions that a test serves, to see what the console makes of them."""

import asyncio
import datetime
import enum
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypedDict

import msgspec

import runcast

_GATES: Final[dict[str, asyncio.Event]] = defaultdict(asyncio.Event)


class _Kind(enum.Enum):
    WEEKLY = "weekly"
    DAILY = "daily"


@dataclass
class _Owner:
    name: str


class _Place(TypedDict):
    node: str
    agent: str


@runcast.function
async def open_gate(gate: str) -> None:
    """Let the run go on that waits at a gate."""
    _GATES[gate].set()


@runcast.function
async def plan(
    owner: _Owner,
    kind: _Kind = _Kind.WEEKLY,
    due: Annotated[datetime.date | None, "the last day"] = None,
    folder: Path | _Kind = Path("reports"),
) -> list[Any]:
    """Return what was given, and the classes that it arrived as."""
    return [[type(each).__name__, each] for each in (owner, kind, due, folder)]


@dataclass
class _Box:
    """A box of a parcel."""

    width: Annotated[int, msgspec.Meta(ge=1, le=200, description="in centimetres")]
    things: list[str]


@runcast.function
async def pack(
    boxes: list[_Box],
    prices: dict[str, float],
    weight: Annotated[float, msgspec.Meta(gt=0)] | None = None,
    gift: bool | None = None,
    marks: set[Literal["fragile", "heavy", "top"]] = {"top"},  # noqa: B006 - never changed
    to: _Owner | str = "Ada",
    pin: Annotated[str, msgspec.Meta(extra_json_schema={"format": "password"})] = "",
    more: Any = None,
) -> dict[str, Any]:
    """Return what a form with every kind of input has sent."""
    return {
        "boxes": boxes,
        "prices": prices,
        "weight": weight,
        "gift": gift,
        "marks": sorted(marks),
        "to": to,
        "pin": len(pin),
        "more": more,
    }


@runcast.function
async def write_report(
    title: str,
    chapters: int = 2,
    tone: Literal["plain", "warm"] = "plain",
    sources: list[str] = ["archive"],  # noqa: B006 - never changed; the form shows it
    draft: bool = False,
    editor: str | None = None,
) -> dict[str, Any]:
    """Write a report; half of it before the gate `report` is opened.

    Everything that the page can show is in it.
    """
    place: _Place = {"node": "draft", "agent": "writer"}
    runcast.emit("step_start", {"message": "looking around"}, **place)
    runcast.emit("step_start", {"message": "checking facts"}, node="review")
    runcast.emit("step_progress", {"message": "two of three", "percent": 66}, node="review")
    runcast.emit("thinking", {"text": "Where do I begin?"}, **place)
    call = {"call_id": "1", "tool": "search"}
    runcast.emit("tool_call", {**call, "args": {"query": title}}, **place)
    runcast.log("half way", "warning")
    runcast.emit("error", {"message": "the index was slow", "code": "slow"})
    runcast.content("It was a dark ", message_id="a", **place)
    runcast.progress(1, 2, "first half")
    await _GATES["report"].wait()
    runcast.emit("step_complete", {"message": "checked"}, node="review")
    runcast.emit("tool_result", {**call, "result": {"hits": 3}, "ok": True}, **place)
    runcast.content("and stormy night.", message_id="a", **place)
    runcast.progress(2, 2, "second half")
    inputs = {"chapters": chapters, "tone": tone, "sources": sources, "draft": draft}
    return {"title": title, **inputs, "editor": editor, "parts": [{"page": 1, "lines": 40}]}


@runcast.function
async def stay(text: str = "still here") -> None:
    """Say something and never end."""
    runcast.content(text, node="hall")
    runcast.progress(3, 10, "staying")
    await asyncio.Event().wait()


@runcast.function
async def echo(text: str) -> dict[str, str]:
    """Tell a text in every way there is."""
    place: _Place = {"node": text[:200], "agent": text[:200]}
    runcast.emit("step_start", {"message": text}, **place)
    runcast.content(text, message_id=text, **place)
    runcast.progress(1, 2, text)
    runcast.emit("log", {"level": text, "message": text})
    runcast.emit("error", {"message": text, "code": text})
    runcast.emit("tool_call", {"call_id": text, "tool": text, "args": {text: text}}, **place)
    runcast.emit("files", {"files": [text, {"path": text}]})
    runcast.emit("made_up", {text: [text, {"constructor": text, "__proto__": {"a": text}}]})
    return {text: text, "constructor": text, "__proto__": text}


@runcast.function
def fail(key: str) -> None:
    """Fail in a way that nobody has foreseen."""
    raise KeyError(key)


@runcast.function
def leave_files(names: list[str]) -> None:
    """Leave files."""
    for name in names:
        file = runcast.workspace() / "data" / "outputs" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(name, "utf-8")


@runcast.function
def claim_files(urls: list[str]) -> None:
    """Call something files of one's own."""
    runcast.emit("files", {"files": [{"path": url, "url": url} for url in urls]})


@runcast.function
async def log_much(lines: int) -> None:
    """Write many log lines and as many texts, and now and then a step."""
    for number in range(lines):
        if number % 1000 == 0:
            runcast.step_start(f"step {number}", step_id=str(number))
        runcast.log(f"line {number}")
        runcast.content(f"text {number}", message_id=str(number))
        if number % 100 == 0:
            await runcast.flush()
    await _GATES["much"].wait()


@runcast.function
def log_in_color() -> None:
    """Log what programs write for a terminal."""
    runcast.log("\x1b[31mred\x1b[0m and plain \x1b]0;owned\x07\x1b]52;c;b3duZWQ=\x1b\\")
    runcast.log("\x1b[2K\x1b[1A50%")


@runcast.function
async def read_message() -> Any:
    """Return the first message that is sent into the run."""
    runcast.progress(1, 2, "waiting for a message")
    return (await anext(runcast.inbox())).data


@runcast.function
async def ask_first(path: Any) -> Any:
    """Ask before something is done."""
    return await runcast.ask("May this be removed?", action="remove", args={"path": path})


@runcast.function(
    files={
        "texts": {"type": "array", "items": {"type": "InputFile"}, "minItems": 1},
        "cover": {"type": "array", "items": {"type": "InputFile"}, "required": False},
    }
)
def join_texts(between: str = " ") -> str:
    """Join texts."""
    folder = runcast.workspace() / "data" / "inputs"
    return between.join(file.read_text("utf-8") for file in sorted(folder.glob("texts/*")))


@runcast.function
async def ask_for_words() -> Any:
    """Ask for what only a person knows."""
    config = {"allow_accept": False, "allow_edit": False, "response_schema": {"maxLength": 9}}
    return (await runcast.ask("How shall it be called?", config=config)).args


@runcast.function
async def ask_to_choose() -> Any:
    """Ask for one of a few colours."""
    config = {"allow_accept": False, "response_schema": {"enum": ["red", "blue"]}}
    return (await runcast.ask("Which colour?", config=config)).args
