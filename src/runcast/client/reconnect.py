"""What a client does after each event of its connection: a table, without any I/O.

    state, action = react(state, Answer(503, retry_after_s=5), chance=0.5)
    state, action = react(state, Received("01hq3v5k2m-7", "log"))       Read()
    state, action = react(state, Cut(lasted_s=3.0), chance=0.5)         Connect(wait_s=2.5)

| what happened | what to do |
|---|---|
| 200 with a stream | read it |
| an event; a `retry`; a gap | read on from there |
| a terminal event, 204 | stop: `complete` |
| the stream ended early, the connection broke, or could not be made | connect again later |
| no byte came at the beginning of a stream, or two streams in a row fell silent | poll |
| another stream fell silent | connect again later |
| 408, 425, 429, 5xx | connect again, in a while |
| 401, 403, 404 | stop: `unauthorized`, `forbidden`, `not_found` |
| another answer, or 200 without a stream | stop: `refused` |

A problem document with a `retryable` field decides instead of its status, except for 401, 403 and
404.

The first wait is the value of `retry`. Each further wait is twice as long, up to `longest_s`, until
an event comes or a connection has lasted for `steady_s`. A random part of up to half of the wait is
added, so that clients that lost one server do not reach the next one together. `Retry-After` counts
if it is longer, up to `longest_retry_after_s`. After `attempts` failed connections the client
stops: `unreachable`.

A server sends something at once, and then at each heartbeat. So silence means that the network may
hold streams back. A client that polls asks for pages (long-poll) instead; it tries a stream again
after `poll_s`.

The vectors in `conformance/reconnect.json` test clients of every language against this table.
Source: ours; 204 and `retry` are those of WHATWG HTML 9.2, `Retry-After` of RFC 9110 10.2.3.
"""

from typing import Final, Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from runcast.client.checks import check_count, check_wait
from runcast.errors import InvalidValue
from runcast.events.vocabulary import TERMINAL

__all__ = (
    "Action",
    "Answer",
    "Connect",
    "Cut",
    "Gap",
    "Happened",
    "Poll",
    "Read",
    "Reason",
    "Received",
    "ReconnectOptions",
    "Retry",
    "Silence",
    "State",
    "Stop",
    "options_of",
    "react",
)

_REASONS: Final[dict[int, "Reason"]] = {
    204: "complete",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
}
_PASSING: Final = frozenset({408, 425, 429})
"""Statuses below 500 that mean "try again later"."""

_JITTER: Final = 0.5
"""Largest random part of a wait."""

_MAX_SILENCES: Final = 2
"""Streams that fall silent, one after the other, before the client polls."""

Reason: TypeAlias = Literal[
    "complete", "unauthorized", "forbidden", "not_found", "refused", "unreachable"
]


class ReconnectOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The waits of a client. Times are seconds."""

    first_s: float = 2.0
    """The first wait, until the server sends another one with `retry`."""
    longest_s: float = 30.0
    """The longest wait, unless `retry` itself is longer."""
    longest_retry_after_s: float = 300.0
    """The longest `Retry-After` that is obeyed; longer ones are cut to it."""
    steady_s: float = 10.0
    """A connection that lasted so long does not count as failed, even without an event."""
    attempts: int | None = None
    """Failed connections in a row after which to stop; None never stops."""
    buffered_s: float = 5.0
    """Silence at the beginning of a stream after which the client polls."""
    poll_s: float = 300.0
    """How long to poll before a stream is tried again."""

    def __post_init__(self) -> None:
        """Raise `InvalidValue` if a wait or the number of attempts makes no sense."""
        for name in self.__struct_fields__:
            if name != "attempts":
                check_wait(name, getattr(self, name))
        if self.attempts is not None:
            check_count("attempts", self.attempts, least=1)


def options_of(reconnect: ReconnectOptions | None, attempts: int | None) -> ReconnectOptions:
    """Return the waits that a caller chose, at most one of the two. Raises `InvalidValue`."""
    if reconnect is None:
        return ReconnectOptions(attempts=attempts)
    if not isinstance(reconnect, ReconnectOptions):
        raise InvalidValue(
            "expected reconnect to be a ReconnectOptions of runcast.client.reconnect, like "
            f"ReconnectOptions(first_s=1.0), got {reconnect!r:.80}"
        )
    if attempts is not None:
        raise InvalidValue(
            "expected either attempts or reconnect, got both; "
            "pass ReconnectOptions(attempts=…) as reconnect"
        )
    return reconnect


class State(msgspec.Struct, frozen=True):
    """A client's progress."""

    position: str = ""
    """What to send as `Last-Event-ID`; "" sends none."""
    void_id: str = ""
    """The id that frames without an id still have after a gap; it does not move the position."""
    retry_s: float | None = None
    """The server's last `retry`, seconds."""
    failures: int = 0
    """Failed connections in a row."""
    has_moved: bool = False
    """Whether an event has come on this connection."""
    silences: int = 0
    """Streams that fell silent since the last event."""


class Answer(msgspec.Struct, frozen=True, tag_field="on", tag="answer"):
    """The head of an answer. `retryable` comes from its problem document, if any."""

    status: int
    is_stream: bool = True
    retry_after_s: float | None = None
    retryable: bool | None = None


class Received(msgspec.Struct, frozen=True, tag_field="on", tag="event"):
    """An event, with the last id of the stream at its end: its own, or an earlier one."""

    id: str
    type: str


class Gap(msgspec.Struct, frozen=True, tag_field="on", tag="gap"):
    """The notice of a loss; the next events follow `after`."""

    after: str


class Retry(msgspec.Struct, frozen=True, tag_field="on", tag="retry"):
    """The server's time to wait."""

    retry_ms: int


class Cut(msgspec.Struct, frozen=True, tag_field="on", tag="cut"):
    """The end of a connection, orderly or not, or an attempt that made none (`lasted_s` is 0)."""

    lasted_s: float = 0.0


class Silence(msgspec.Struct, frozen=True, tag_field="on", tag="silence"):
    """Nothing has come for too long, not even a heartbeat, on a connection that lasted `lasted_s`.

    `is_beginning`: no byte of the stream has come.
    """

    lasted_s: float = 0.0
    is_beginning: bool = False


Happened: TypeAlias = Answer | Received | Gap | Retry | Cut | Silence


class Read(msgspec.Struct, frozen=True, tag_field="do", tag="read"):
    """Continue reading."""


class Connect(msgspec.Struct, frozen=True, tag_field="do", tag="connect"):
    """Wait, then connect with `State.position`."""

    wait_s: float


class Poll(msgspec.Struct, frozen=True, tag_field="do", tag="poll"):
    """Ask for pages with `State.position`, at once."""


class Stop(msgspec.Struct, frozen=True, tag_field="do", tag="stop"):
    """Do not reconnect. `complete` means that everything has been seen."""

    reason: Reason


Action: TypeAlias = Read | Connect | Poll | Stop

_USUAL: Final = ReconnectOptions()


def react(
    state: State, happened: Happened, chance: float = 0.0, options: ReconnectOptions = _USUAL
) -> tuple[State, Action]:
    """Return a client's next state and action.

    Args:
        chance: a random number from 0 up to 1, new for each call.
    """
    match happened:
        case Answer():
            return _answered(state, happened, chance, options)
        case Received():
            state = replace(state, has_moved=True, silences=0)
            if happened.id not in ("", state.void_id):
                state = replace(state, position=happened.id, void_id="")
            return state, Stop("complete") if happened.type in TERMINAL else Read()
        case Gap():
            void_id = state.void_id or state.position
            return replace(state, position=happened.after, void_id=void_id, silences=0), Read()
        case Retry():
            return replace(state, retry_s=happened.retry_ms / 1000), Read()
        case Cut():
            return _cut(state, happened.lasted_s, chance, options)
        case Silence():
            state = replace(state, silences=state.silences + 1)
            if happened.is_beginning or state.silences >= _MAX_SILENCES:
                return replace(state, void_id="", has_moved=False, silences=0), Poll()
            return _cut(state, happened.lasted_s, chance, options)


def _answered(
    state: State, answer: Answer, chance: float, options: ReconnectOptions
) -> tuple[State, Action]:
    reason = _REASONS.get(answer.status)
    if reason is not None:
        return state, Stop(reason)
    if answer.status == 200:
        return state, Read() if answer.is_stream else Stop("refused")
    is_passing = answer.status in _PASSING or answer.status >= 500
    if answer.retryable is not None:
        is_passing = answer.retryable
    if not is_passing:
        return state, Stop("refused")
    least_s = min(answer.retry_after_s or 0.0, options.longest_retry_after_s)
    return _come_back(state, state.failures, least_s, chance, options)


def _cut(
    state: State, lasted_s: float, chance: float, options: ReconnectOptions
) -> tuple[State, Action]:
    is_steady = state.has_moved or lasted_s >= options.steady_s
    return _come_back(state, 0 if is_steady else state.failures, 0.0, chance, options)


def _come_back(
    state: State, failures: int, least_s: float, chance: float, options: ReconnectOptions
) -> tuple[State, Action]:
    state = replace(state, void_id="", failures=failures + 1, has_moved=False)
    if options.attempts is not None and state.failures >= options.attempts:
        return state, Stop("unreachable")
    first_s = options.first_s if state.retry_s is None else state.retry_s
    doubled_s = first_s * 2.0 ** min(failures, 32)  # more would overflow
    wait_s = min(doubled_s, max(first_s, options.longest_s)) * (1 + _JITTER * chance)
    return state, Connect(max(wait_s, least_s))
