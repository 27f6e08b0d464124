"""What a request may do: the application answers once per request, before anything is read.

async def authorize(request):
    user = request.session.get("user")
    return Access(subject=user, labels={"owner": user}) if user else None

asgi(hub, authorize=authorize)
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, get_args

from starlette.requests import Request

from runcast._producing.labels import check_labels
from runcast.errors import InvalidValue

__all__ = ("ACTIONS", "Access", "Action", "Authorize", "everyone")

Action = Literal[
    "invoke",
    "see",
    "answer",
    "message",
    "cancel",
    "delete",
    "download",
    "upload",
    "write",
    "share",
    "deliver",
]

ACTIONS: Final[tuple[Action, ...]] = get_args(Action)
"""All actions of requests. Every action on an existing run also needs `see`."""

_NO_LABELS: Final[Mapping[str, str]] = MappingProxyType({})
_NO_LIMITS: Final[Mapping[Action, Mapping[str, str]]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What one request may do. `Access()` may do everything.

    Args:
        subject: the user, for `hub.revoke(subject)`; idempotency keys and uploads of two subjects
            never meet.
        labels: the request may see the runs with all of these labels. A run that the request
            starts also gets them.
        functions: names of the functions that may be invoked; None allows all.
        actions: the allowed actions on these runs.
        limits: further labels that a run must have for one action, as in
            `{"delete": {"owner": "ada"}}`.

    Raises:
        InvalidValue: a label or an action is malformed.
    """

    subject: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: _NO_LABELS)
    functions: Collection[str] | None = None
    actions: Collection[Action] = ACTIONS
    limits: Mapping[Action, Mapping[str, str]] = field(default_factory=lambda: _NO_LIMITS)

    def __post_init__(self) -> None:
        if not isinstance(self.subject, str):
            raise InvalidValue(f"expected the subject to be a text, got {self.subject!r:.80}")
        if isinstance(self.functions, str) or isinstance(self.actions, str):
            raise InvalidValue("expected functions and actions to be collections of names")
        unknown = sorted({*self.actions, *self.limits} - set(ACTIONS))
        if unknown:
            raise InvalidValue(f"expected actions among {', '.join(ACTIONS)}; got {unknown[0]!r}")
        for labels in (self.labels, *self.limits.values()):
            check_labels(labels)
            if not all(isinstance(value, str) and value for value in labels.values()):
                raise InvalidValue(f"expected labels to have texts as values, got {labels!r:.200}")

    @property
    def is_unlimited(self) -> bool:
        """Whether every run may be seen."""
        return not self.labels and not self.limits.get("see") and "see" in self.actions

    @property
    def visible(self) -> Mapping[str, str]:
        """The labels that a run must have to be seen."""
        return {**self.labels, **self.limits.get("see", _NO_LABELS)}

    def may(self, action: Action, labels: Mapping[str, str] | None = None) -> bool:
        """Return whether an action is allowed, on a run with these labels."""
        if action not in self.actions:
            return False
        if labels is None:
            return True
        needed = {**self.labels, **self.limits.get(action, _NO_LABELS)}
        return all(labels.get(name) == value for name, value in needed.items())

    def may_invoke(self, function: str) -> bool:
        """Return whether a function may be invoked."""
        return "invoke" in self.actions and (self.functions is None or function in self.functions)


Authorize: TypeAlias = Callable[[Request], Awaitable[Access | None]]
"""Called once for each request, before anything is read. None refuses the request with 401. An
exception of Starlette's (`HTTPException`) is answered unchanged. The request has the headers, the
cookies, and the user that the application's middleware found."""


async def everyone(request: Request) -> Access:
    """Let every client that can reach the application see all runs and do everything."""
    return Access()
