"""`runcast answer`: answers what a run asks, by options or by asking back in the terminal."""

import argparse
import json
import os
import sys
from typing import Any, Final
from urllib.parse import quote

from runcast.cli.remote import Remote, add_options
from runcast.errors import InvalidValue, NotFound

__all__ = ("add_to", "run")

_KEYS: Final = {"y": "accept", "n": "reject", "e": "edit", "r": "response"}


def add_to(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "answer",
        help="answer a question a run asks",
        description="Shows what a run asks and sends the answer. Without an option for the answer "
        "it is asked for in the terminal.",
    )
    parser.add_argument("run_id", metavar="RUN_ID")
    parser.add_argument(
        "interrupt_id",
        metavar="INTERRUPT_ID",
        nargs="?",
        help="which question; not needed while only one is open",
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--accept", action="store_true", help="yes")
    kind.add_argument("--reject", action="store_true", help="no")
    kind.add_argument("--edit", metavar="JSON", help="yes, but with these args")
    kind.add_argument("--respond", metavar="TEXT", help="yes, with this feedback")
    parser.add_argument("--by", help="who answers (the user's name)", default=_user())
    add_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Answer a question.

    Raises:
        NotFound: there is no such run, or it asks nothing.
        InvalidValue: the answer is not allowed, was given otherwise before, or cannot be read.
        PeerError: the server cannot be reached.
    """
    remote = Remote(arguments.url)
    path = f"/runs/{quote(arguments.run_id, safe='')}"
    answer = _given(arguments)
    interrupt_id = arguments.interrupt_id
    if answer is None or interrupt_id is None:
        question = _pick(remote.ask("GET", path), interrupt_id)
        interrupt_id = question["interrupt_id"]
        if answer is None:
            answer = _ask_back(question)
    if arguments.by:
        answer["by"] = arguments.by
    told = remote.ask("POST", f"{path}/interrupts/{quote(interrupt_id, safe='')}", answer)
    was = "was answered before" if told["repeated"] else "is answered"
    print(f"{interrupt_id} {was}: {told['decision']['type']}")


def _given(arguments: argparse.Namespace) -> dict[str, Any] | None:
    if arguments.accept:
        return {"type": "accept"}
    if arguments.reject:
        return {"type": "reject"}
    if arguments.edit is not None:
        return {"type": "edit", "args": _parse(arguments.edit)}
    if arguments.respond is not None:
        return {"type": "response", "args": arguments.respond}
    return None


def _pick(shown: dict[str, Any], interrupt_id: str | None) -> dict[str, Any]:
    """Return the open question that is meant."""
    questions: list[dict[str, Any]] = [
        one for one in shown["state"]["interrupts"] if not one.get("is_answered")
    ]
    if interrupt_id is not None:
        questions = [one for one in questions if one["interrupt_id"] == interrupt_id]
    if not questions:
        which = f" {interrupt_id!r}" if interrupt_id else ""
        raise NotFound(f"the run {shown['run_id']} ({shown['status']}) has no open question{which}")
    if len(questions) > 1:
        ids = ", ".join(one["interrupt_id"] for one in questions)
        raise InvalidValue(f"several questions are open; name one of {ids}")
    return questions[0]


def _ask_back(question: dict[str, Any]) -> dict[str, Any]:
    """Show a question and read the answer from the terminal."""
    if not sys.stdin.isatty():
        raise InvalidValue("expected --accept, --reject, --edit or --respond: this is no terminal")
    print(_plain(question.get("message") or question.get("action") or question["interrupt_id"]))
    if question.get("action"):
        print(f"  action  {_plain(question['action'])}")
    if question.get("args") is not None:
        print(f"  args    {json.dumps(question['args'], ensure_ascii=True)}")
    while True:
        kind = _KEYS.get(input("[y]es, [n]o, [e]dit args, [r]espond: ").strip().lower()[:1])
        if kind in ("accept", "reject"):
            return {"type": kind}
        if kind == "response":
            return {"type": kind, "args": input("response: ")}
        if kind == "edit":
            return {"type": kind, "args": _parse(input("args (JSON): "))}


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidValue(f"expected args as JSON: {error}") from None


def _plain(text: str) -> str:
    """Return text without what a terminal would obey: a run's words may be anybody's."""
    return "".join(char if char.isprintable() or char == "\n" else "�" for char in text)


def _user() -> str:
    return os.environ.get("USER", "")
