"""`runcast answer`: answers a run's question, from options or from prompts in the terminal."""

import argparse
import getpass
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from runcast._cli.dialog import Answered, Dialog, Editing, Said, described, parse_json
from runcast._cli.editing import edited_args, has_editor
from runcast._cli.exits import DONE
from runcast._cli.lines import decided
from runcast._cli.reaching import add_options, sendable, with_client
from runcast._cli.texts import plain
from runcast.client.model import RunState
from runcast.errors import AlreadyAnswered, InvalidValue, NotFound

if TYPE_CHECKING:
    from runcast.client.threads import Client

__all__ = ("add_to", "run", "user_name")


def add_to(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "answer",
        help="answer a question of a run",
        description="Shows a run's question and sends the answer. Without an option for the "
        "answer, the command asks in the terminal. To edit the proposed arguments, it opens "
        "$VISUAL or $EDITOR, or asks for each field.",
    )
    parser.add_argument("run_id", metavar="RUN_ID", type=sendable, help="the run")
    parser.add_argument(
        "interrupt_id",
        metavar="INTERRUPT_ID",
        type=sendable,
        nargs="?",
        help="the question's id; not needed while only one question is open",
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--accept", "--approve", dest="accept", action="store_true", help="yes: the answer accept"
    )
    kind.add_argument("--reject", action="store_true", help="no")
    kind.add_argument("--edit", metavar="JSON", type=sendable, help="yes, but with these arguments")
    kind.add_argument("--respond", metavar="TEXT", type=sendable, help="yes, with this feedback")
    parser.add_argument(
        "--by",
        type=sendable,
        help="name of the person who answers (default: the user's name)",
        default=user_name(),
    )
    add_options(parser)
    parser.set_defaults(run=with_client(run))


def run(client: "Client", arguments: argparse.Namespace) -> int:
    """Answer a question.

    Raises:
        NotFound: the run does not exist, or has no open question.
        InvalidValue: the answer is not allowed or malformed.
        AlreadyAnswered: the question has another answer; the message says who decided what.
        ServerUnavailable: the server cannot be reached.
    """
    run_id, interrupt_id = arguments.run_id, arguments.interrupt_id
    answer = _given(arguments)
    if answer is None or interrupt_id is None:
        question = _pick(client.snapshot(run_id), interrupt_id)
        interrupt_id = str(question["interrupt_id"])
        if answer is None:
            answer = _ask_back(question)
    if arguments.by:
        answer["by"] = arguments.by
    try:
        decision = client.answer(run_id, interrupt_id, answer)
    except AlreadyAnswered as error:
        raise AlreadyAnswered(
            f"{interrupt_id} was answered before: {decided(error.decision)}", error.decision
        ) from None
    if decision.repeated:
        print(
            plain(f"{interrupt_id} was answered before: {decided(msgspec.to_builtins(decision))}")
        )
    else:
        print(plain(f"{interrupt_id} is answered: {decision.type}"))
    return DONE


def _given(arguments: argparse.Namespace) -> dict[str, Any] | None:
    if arguments.accept:
        return {"type": "accept"}
    if arguments.reject:
        return {"type": "reject"}
    if arguments.edit is not None:
        return {"type": "edit", "args": parse_json(arguments.edit)}
    if arguments.respond is not None:
        return {"type": "response", "args": arguments.respond}
    return None


def _pick(run: RunState, interrupt_id: str | None) -> dict[str, Any]:
    """Return the open question with this id, or the only one.

    Raises:
        AlreadyAnswered: the question is answered; the message says who decided what.
        NotFound, InvalidValue: there is no such question, or there are several.
    """
    questions = [
        each for each in run.state.interrupts if each.interrupt_id and not each.is_answered
    ]
    if interrupt_id is not None:
        questions = [each for each in questions if each.interrupt_id == interrupt_id]
    if not questions:
        which = f" {interrupt_id!r}" if interrupt_id else ""
        shown = f"the run {run.run_id} ({run.status}) has no open question{which}"
        before = [
            each
            for each in run.state.answered
            if interrupt_id in (None, each.interrupt_id) and each.answer
        ]
        if not before:
            raise NotFound(shown)
        last = before[-1]
        decision = {"type": last.answer, "args": last.args, "by": last.by}
        raise AlreadyAnswered(
            f"{shown}: {last.interrupt_id} was answered before: {decided(decision)}", decision
        )
    if len(questions) > 1:
        ids = ", ".join(each.interrupt_id for each in questions)
        raise InvalidValue(f"several questions are open; name one of {ids}")
    found: dict[str, Any] = msgspec.to_builtins(questions[0])
    return found


def _ask_back(question: dict[str, Any]) -> dict[str, Any]:
    """Show a question and read the answer from the terminal."""
    if not sys.stdin.isatty():
        raise InvalidValue(
            "expected --approve, --reject, --edit or --respond: this is not a terminal"
        )
    for line in described(question):
        print(line)
    if isinstance(question.get("expires_at"), int | float):
        print(f"  until   {_shown_time(question['expires_at'])}")
    dialog = Dialog(has_editor=has_editor())
    dialog.ask(question)
    try:
        return _ask_until_given(dialog)
    except EOFError:
        print()
        raise InvalidValue("no answer was given") from None
    except KeyboardInterrupt:
        print("\nno answer was given; the question stays open", file=sys.stderr)
        raise


def _ask_until_given(dialog: Dialog) -> dict[str, Any]:
    while True:
        meaning = dialog.take(input(dialog.prompt))
        if isinstance(meaning, Editing):
            try:
                meaning = dialog.edited(meaning.interrupt_id, edited_args(meaning.args))
            except InvalidValue as error:
                meaning = Said(error.message)
        if isinstance(meaning, Answered):
            return meaning.answer
        if isinstance(meaning, Said):
            print(meaning.text)


def _shown_time(seconds: float) -> str:
    try:
        at = datetime.fromtimestamp(seconds, UTC).astimezone()
    except (OverflowError, ValueError, OSError):
        return "a date outside the calendar"
    return f"{at:%Y-%m-%d %H:%M:%S %z}"


def user_name() -> str:
    """Return the user's name, or "" if the machine does not know it."""
    try:
        name = os.environ.get("USER") or getpass.getuser()
    except (KeyError, OSError, ImportError):  # a user without a name, as in some containers
        return ""
    return name.encode("utf-8", "replace").decode()
