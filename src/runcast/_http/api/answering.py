"""The page that answers a question by a signed link; and how `/openapi.json` describes it.

Opening the link shows the question and answers nothing: scanners of mails open links. The button of
the page answers. The page has no script, and works in any browser.
"""

from collections.abc import Mapping
from html import escape
from typing import Any, Final
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import Response

from runcast._http.api.describing import Operation, Schema, of_object, parameter, ref
from runcast._http.api.describing import Response as Answer
from runcast._http.api.responses import SAFE_HEADERS
from runcast._http.api.serving import Serving
from runcast.errors import BackendError, NotFound

__all__ = ("ANSWERING_OPERATIONS", "ANSWERS", "Answering", "take_answer_token")

ANSWERS: Final = "/answers"
"""The path of the page."""

_MAX_BYTES: Final = 512 * 1024
"""Longest body: a token, and an answer, whose longest text has 40 000 characters. Forms write up to
twelve bytes for a character."""

_HEADERS: Final = {
    **SAFE_HEADERS,
    # Not no-referrer: then browsers would not say that a form comes from this origin.
    "referrer-policy": "same-origin",
    "content-security-policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
}

_PAGE: Final = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem;
  color-scheme: light dark }}
pre {{ overflow: auto; border: 1px solid; padding: .5rem }}
button {{ font: inherit; padding: .5rem 1rem; margin: 0 .5rem .5rem 0 }}
textarea {{ font: inherit; width: 100%; box-sizing: border-box }}
</style>
<h1>{title}</h1>
{content}
</html>
"""


class Answering:
    """Shows the questions of signed links, and takes their answers."""

    def __init__(self, serving: Serving) -> None:
        self._replies = serving.runs.replies
        self._read = serving.read

    async def answer(self, request: Request) -> Response:
        """Show the question of a link; or answer it, and show the decision."""
        try:
            if request.method != "POST":
                return await self._ask(str(request.scope.get(_TOKEN_KEY, "")))
            body = await self._read(request, _MAX_BYTES)
            form = parse_qs(body.decode("utf-8", "replace"), max_num_fields=10)
            token, answer, text = (
                (form.get(name) or [""])[0] for name in ("token", "answer", "text")
            )
            notice = await self._replies.answer_link(token, answer, text)
            return _page("The answer", f"<p>{escape(notice)}</p>")
        except NotFound as error:
            return _page("Not found", f"<p>{escape(error.message)}</p>", 404)
        except ValueError:
            return _page("Not understood", "<p>Open the link again.</p>", 400)
        except BackendError as error:
            return _page("Try again", f"<p>{escape(error.public)}</p>", error.status)

    async def _ask(self, token: str) -> Response:
        question = await self._replies.question_of_link(token)
        if question.notice:
            return _page("The question", f"<p>{escape(question.notice)}</p>")
        buttons = "".join(_button(answer, label) for answer, label in question.answers)
        shown = f"<pre>{escape(question.details)}</pre>" if question.details else ""
        forms = _form(token, buttons)
        if question.takes_text:
            area = '<textarea name="text" rows="4" required aria-label="Your answer"></textarea>'
            forms += _form(token, f"<p>{area}</p>{_button('response', 'Send this answer')}")
        return _page(question.message or "The run asks for a decision.", shown + forms)


_TOKEN_KEY: Final = "runcast.answer_token"
"""The key of a link's token in the scope of its request."""


def take_answer_token(scope: Any) -> None:
    """Take the token out of the query of a request, before a server logs it."""
    found = parse_qs(scope["query_string"].decode("latin-1"))
    scope[_TOKEN_KEY] = (found.get("token") or [""])[0]
    scope["query_string"] = b""


def _form(token: str, content: str) -> str:
    return (
        '<form method="post" action="answers">'
        f'<input type="hidden" name="token" value="{escape(token)}">{content}</form>'
    )


def _button(answer: str, label: str) -> str:
    return f'<button name="answer" value="{escape(answer)}">{escape(label)}</button>'


def _page(title: str, content: str, status: int = 200) -> Response:
    page = _PAGE.format(title=escape(title), content=content)
    return Response(page, status, _HEADERS, media_type="text/html")


# How it is described.

_HTML: Final = {"text/html": {"type": "string"}}
_FORM: Final[Schema] = {
    **of_object(
        ("token", "answer"),
        token={"type": "string"},
        answer={"type": "string"},
        text={"type": "string"},
    ),
    "additionalProperties": False,
}
_TOKEN: Final = parameter("query", "token", {"type": "string"}, "what the link holds")

ANSWERING_OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = {
    ("/answers", "get"): Operation(
        "show_question",
        "A page with the question of a signed link; it answers nothing",
        "pages",
        {200: Answer("the page", _HTML), 404: Answer("the link is not valid", _HTML)},
        (_TOKEN,),
        is_open=True,
    ),
    ("/answers", "post"): Operation(
        "answer_by_link",
        "Answer the question of a signed link, by the form of its page",
        "pages",
        {
            200: Answer("a page with the decision", _HTML),
            400: Answer("not understood", {**_HTML, "application/problem+json": ref("Problem")}),
            404: Answer("not valid", _HTML),
        },
        (),
        {"application/x-www-form-urlencoded": _FORM},
        (408, 413),
        is_open=True,
    ),
}
