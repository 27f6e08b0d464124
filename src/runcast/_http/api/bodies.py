"""JSON bodies of requests: read as events are, and refused with what is wrong."""

import codecs
import json
from typing import Any, Final

import msgspec
from starlette.requests import Request

from runcast.errors import InvalidValue
from runcast.events.fields import is_deeper, mend

__all__ = ("MAX_BODY_DEPTH", "check_json", "parse_json")

MAX_BODY_DEPTH: Final = 500
"""Most levels of lists and objects in a body. Python's stack is 1,000 deep: what can be read must
not run out of it later, where the stack is fuller by the application around us."""

_ESCAPE: Final = b"\\u"


def check_json(request: Request) -> None:
    """Refuse bodies that a web page could send without asking first (a form, plain text).

    Raises:
        InvalidValue: the content type is neither JSON nor absent.
    """
    given = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if given != "application/json" and not given.endswith("+json"):
        raise InvalidValue(f"expected a body of type application/json, got {given[:80]!r}")


def parse_json(body: bytes, example: str) -> Any:
    """Return the value of a JSON body.

    A byte order mark before the value is ignored (RFC 8259 §8.1). Half a surrogate pair, which
    JavaScript writes of a text that was cut inside an emoji, becomes U+FFFD, as in events.

    Args:
        example: a body that would be right, for the message.

    Raises:
        InvalidValue: it is not JSON, or nested more than `MAX_BODY_DEPTH` deep.
    """
    value = _decode(body.removeprefix(codecs.BOM_UTF8), example)
    if body.count(b"[") + body.count(b"{") > MAX_BODY_DEPTH and is_deeper(value, MAX_BODY_DEPTH):
        raise _too_deep()
    return value


def _too_deep() -> InvalidValue:
    return InvalidValue(f"expected a body nested at most {MAX_BODY_DEPTH} deep, got more")


def _decode(body: bytes, example: str) -> Any:
    try:
        return msgspec.json.decode(body)
    except RecursionError:
        raise _too_deep() from None
    except (msgspec.DecodeError, ValueError) as error:
        if _ESCAPE in body:
            try:
                return _mended(body)
            except RecursionError:
                raise _too_deep() from None
            except ValueError:
                pass
        if body[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise InvalidValue("expected the body in UTF-8, got UTF-16") from None
        raise InvalidValue(f"expected a body like {example}: {error!s:.300}") from None


def _mended(body: bytes) -> Any:
    """Return the value of JSON that only Python's lenient parser reads. Raises `ValueError`."""
    lenient = json.dumps(json.loads(body), ensure_ascii=False)
    return msgspec.json.decode(mend(lenient))
