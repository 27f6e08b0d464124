"""The gate that every request to a run passes. Nobody learns that another's run exists.

A run that a request may not see is answered like a run that does not exist: with the same words,
after the same time.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Final, Protocol, TypeVar, cast

import msgspec
from starlette.requests import Request
from starlette.types import Scope

from runcast._http.guard.access import Access, Action, Authorize
from runcast._http.guard.links import LinkHold, check_link_path, open_link_hold
from runcast._hub.hub import Hub
from runcast._hub.links import Link, find_link
from runcast._logs import get_logger
from runcast._producing.answers import Answer
from runcast.errors import Forbidden, InvalidValue, NotFound, RuncastError, Stale, Unauthorized
from runcast.stores.base import LogInfo

__all__ = ("Gate", "Held")

_KEY: Final = "runcast.access"
"""The key of a request's access in its scope."""

_FULL: Final = Access()

_LINK: Final = "runcast.link"
"""The key of a request's link in its scope."""

_NOTHING: Final = Access(functions=(), actions=())
"""What a request with a link may do beside seeing the link's run."""

_LEAST_S: Final = 0.01
"""Least time for the answer about a run that is not shown: longer than a read of the store, so that
the time does not reveal whether the run exists."""

_log: Final = get_logger("runcast.http")


class _Opened(Protocol):
    def keep_to(self, epoch: str) -> bool: ...

    def close(self) -> None: ...


_T = TypeVar("_T", bound=_Opened)


class Held:
    """An open response: the runs that it shows, and how to end it."""

    has_ended = False
    """Whether time alone has ended it: never."""

    def __init__(
        self,
        request: Request,
        run_ids: Iterable[str],
        end: Callable[[], None],
        forget: Callable[["Held"], None],
        access: Access | None = None,
    ) -> None:
        self.request = request
        self.access = access
        """What the request might do when it began, if the response ends once that has changed."""
        self.run_ids = tuple(run_ids)
        self.end = end
        self._forget = forget

    def forget(self) -> None:
        """Forget the response, because it has ended. Idempotent."""
        self._forget(self)


class Gate:
    """Asks the application what a request may do, and enforces the answer.

    Args:
        authorize: None lets every request do everything.
        pause: an async function that waits for a number of seconds.
    """

    def __init__(
        self,
        hub: Hub,
        authorize: Authorize | None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._hub = hub
        self._pause = pause
        self._authorize = authorize
        self._held: dict[str, set[Held]] = {}

    @property
    def is_asking(self) -> bool:
        """Whether an application decides about requests."""
        return self._authorize is not None

    async def admit(self, request: Request) -> None:
        """Ask the application, once per request.

        Raises:
            Unauthorized: the application refuses this request.
        """
        if self._authorize is not None:
            request.scope[_KEY] = await self._ask(self._authorize, request)

    async def admit_link(self, request: Request, token: str, path: str) -> None:
        """Let a request pass that brings a link's token and asks for what the link shows.

        Raises:
            Unauthorized: there is no such link (any more).
            NotFound, Forbidden: the link does not show this.
        """
        link_id, _, secret = token.partition(".")
        try:
            link = await find_link(self._hub, link_id)
        except NotFound as error:
            raise Unauthorized(error.message) from None
        if not link.is_opened_by(secret):
            raise Unauthorized("this is not the secret of the link")
        check_link_path(link, request.method, path)
        request.scope[_LINK] = link
        request.scope[_KEY] = _NOTHING

    def link(self, scope: Scope) -> Link | None:
        """Return the link that a request was let in by, or None."""
        return cast("Link | None", scope.get(_LINK))

    async def _check_link(self, link: Link, run_id: str, action: Action) -> LogInfo:
        """Let a request with a link pass. Raises as `check` does."""
        info = await self._find(run_id)
        if run_id != link.run_id or info is None or info.epoch != link.epoch:
            raise NotFound(f"there is no run {run_id!r:.140}")
        if action != "see" and not (action == "download" and link.shows_files):
            raise Forbidden(f"this link shows the run {run_id!r:.140} and does not {action} it")
        return info

    async def _ask(self, authorize: Authorize, request: Request) -> Access:
        access: object = await authorize(request)
        if access is None:
            raise Unauthorized("expected a request of a user that this application knows")
        if not isinstance(access, Access):
            raise TypeError(f"expected authorize to return an Access or None, got {access!r:.80}")
        return access

    def access(self, scope: Scope) -> Access:
        """Return what a request may do."""
        return cast("Access", scope.get(_KEY, _FULL))

    async def check(self, request: Request, run_id: str, action: Action = "see") -> LogInfo | None:
        """Let a request for a run pass; return the run's description, or None if all may pass.

        Raises:
            NotFound: the run does not exist, or the request may not see it.
            Forbidden: the request may see the run, but not do this.
        """
        link = self.link(request.scope)
        if link is not None:
            return await self._check_link(link, run_id, action)
        access = self.access(request.scope)
        if access.is_unlimited and access.may(action, {}):
            return None
        begun = self._hub.clock.monotonic()
        info = await self._find(run_id)
        if info is None or not access.may("see", info.labels):
            spent_s = self._hub.clock.monotonic() - begun
            await self._pause(max(0.0, _LEAST_S - spent_s))
            raise NotFound(f"there is no run {run_id!r:.140}")
        if not access.may(action, info.labels):
            raise Forbidden(f"you may see the run {run_id!r:.140}, but not {action} it")
        return info

    @asynccontextmanager
    async def passing(
        self, request: Request, run_id: str, action: Action = "see"
    ) -> AsyncIterator[str]:
        """Let a request for a run pass; yield the epoch that the request may act in, "" for any.

        Until the request acts, the id may become that of another user's run. Then the act raises
        `Stale`, and this raises `NotFound`, as for a run that does not exist.

        Raises what `check` raises.
        """
        info = await self.check(request, run_id, action)
        try:
            yield "" if info is None else info.epoch
        except Stale:
            if info is None:
                raise
            raise NotFound(f"there is no run {run_id!r:.140}") from None

    async def opened(self, request: Request, run_id: str, make: Callable[[], Awaitable[_T]]) -> _T:
        """Return the result of `make` for a run and an epoch that the request may see.

        Raises what `check` and `make` raise.
        """
        while True:
            info = await self.check(request, run_id)
            made = await make()
            if info is None or made.keep_to(info.epoch):
                return made
            made.close()  # the run was begun again between the two

    async def replaceable(self, request: Request, run_id: str) -> str:
        """Return the epoch of a run that a request may replace: one that it may see and delete.

        "" also if there is no such run: there is nothing to replace, and a run that another
        client begins meanwhile must stay.
        """
        info = await self._find(run_id)
        access = self.access(request.scope)
        if info is None or not all(access.may(it, info.labels) for it in ("see", "delete")):
            return ""
        return info.epoch

    async def _find(self, run_id: str) -> LogInfo | None:
        try:
            return await self._hub.info(run_id)
        except NotFound:
            return None

    def may_invoke(self, scope: Scope, name: str) -> bool:
        """Return whether a function may be invoked."""
        return self.access(scope).may_invoke(name)

    def check_action(self, scope: Scope, action: Action) -> None:
        """Raise `Forbidden` if a request may do this on no run."""
        if not self.access(scope).may(action):
            raise Forbidden(f"you may not {action} here")

    def stamped(self, scope: Scope, given: Mapping[str, str]) -> dict[str, str]:
        """Return the labels for a run that a request starts.

        Raises:
            InvalidValue: a given label differs from the application's.
        """
        ours = self.access(scope).visible
        for name, value in ours.items():
            if given.get(name, value) != value:
                raise InvalidValue(
                    f"expected no label {name!r}, which this application sets itself"
                )
        return {**given, **ours}

    # Open responses.

    def signed(self, scope: Scope, answer: Answer) -> Answer:
        """Return an answer that names who gives it: the subject, if the application names one.

        Raises:
            InvalidValue: the answer names somebody else.
        """
        by = self.author(scope, answer.by, "by")
        return answer if by == answer.by else msgspec.structs.replace(answer, by=by)

    def author(self, scope: Scope, given: str, field: str) -> str:
        """Return who sends something: the subject, if the application names one.

        Args:
            given: who sends it, as the request says in this field; "" if it does not say.

        Raises:
            InvalidValue: the request names somebody else.
        """
        subject = self.access(scope).subject
        if subject and given not in ("", subject):
            raise InvalidValue(f"expected no `{field}`, which this application sets itself")
        return subject or given

    async def check_again(self, request: Request, run_id: str) -> None:
        """Let an answer pass for which a request with a link has waited.

        Raises what `admit_link` and `check` raise.
        """
        link = self.link(request.scope)
        if link is not None:
            try:
                await find_link(self._hub, link.link_id)
            except NotFound as error:
                raise Unauthorized(error.message) from None
            await self.check(request, run_id)

    async def hold(
        self, request: Request, run_id: str, end: Callable[[], None]
    ) -> "Held | LinkHold | None":
        """End a response of one run once its request may no longer see the run.

        Raises:
            Unauthorized: the request's link was revoked meanwhile.
        """
        link = self.link(request.scope)
        if link is None:
            return self.add(request, [run_id], end)
        try:
            return await open_link_hold(self._hub, link, end)
        except NotFound:
            raise Unauthorized("the link was revoked") from None

    def add(self, request: Request, run_ids: Iterable[str], end: Callable[[], None]) -> Held | None:
        """End a response once its request may no longer see a run, until `Held.forget`."""
        if self._authorize is None:
            return None
        held = Held(request, run_ids, end, self._discard)
        self._held.setdefault(self.access(request.scope).subject, set()).add(held)
        return held

    def add_list(self, request: Request, end: Callable[[], None]) -> Held | None:
        """End a list of runs once its request may see other runs than now, until `Held.forget`."""
        if self._authorize is None:
            return None
        access = self.access(request.scope)
        held = Held(request, (), end, self._discard, access)
        self._held.setdefault(access.subject, set()).add(held)
        return held

    def _discard(self, held: Held) -> None:
        subject = self.access(held.request.scope).subject
        group = self._held.get(subject, set())
        group.discard(held)
        if not group:
            self._held.pop(subject, None)

    async def look_again(self, subject: str | None) -> None:
        """Ask again about a subject's open responses, and end the ones refused now.

        None asks about all subjects.
        """
        subjects = list(self._held) if subject is None else [subject]
        for held in [held for one in subjects for held in self._held.get(one, ())]:
            if not await self._is_allowed(held):
                held.end()

    async def _is_allowed(self, held: Held) -> bool:
        if self._authorize is None:
            return True
        try:
            access = await self._ask(self._authorize, held.request)
        except RuncastError:
            return False
        except Exception:  # noqa: BLE001 - the application's; no answer means no
            _log.exception("authorize failed; an open stream is ended")
            return False
        if held.access is not None and access != held.access:
            return False
        for run_id in held.run_ids:
            info = await self._find(run_id)
            if info is not None and not access.may("see", info.labels):
                return False
        return True
