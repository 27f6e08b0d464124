"""Links: each lets its holder see one run, in one epoch, for a time.

A link is a closed log of its own kind. Its labels say what it shows, and hold the digest of its
secret. So every process of a store knows it, its end is that of the log's time to live, and to
revoke it is to delete the log.
"""

import hashlib
import hmac
import secrets
from typing import Final, NamedTuple, Protocol

from runcast._clock import Clock
from runcast._hub.inlets import Inlet
from runcast.errors import Conflict, NotFound
from runcast.events.position import is_run_id, make_log_id
from runcast.stores.base import MAX_LABEL_CHARS, LogInfo, Store

__all__ = ("LINK", "MAX_LINKS", "Link", "find_link", "links_of", "make_link", "revoke_link")

LINK: Final = "link"
"""The kind of the links' logs."""

MAX_LINKS: Final = 100
"""Most links of one run."""

_SECRET_BYTES: Final = 32


class Link(NamedTuple):
    """A link, without its secret. Times are Unix seconds."""

    link_id: str
    run_id: str
    epoch: str
    created_at: float
    expires_at: float
    by: str
    """Who made it; "" if unknown."""
    shows_files: bool
    """Whether the files that the run made can be downloaded."""
    digest: str

    @property
    def log_id(self) -> str:
        """The log that is the link."""
        return make_log_id(LINK, self.link_id)

    def is_opened_by(self, secret: str) -> bool:
        """Return whether this is the link's secret, in a time that reveals nothing about it."""
        return hmac.compare_digest(_digest(secret), self.digest)


class _Hub(Protocol):
    @property
    def store(self) -> Store: ...

    @property
    def clock(self) -> Clock: ...

    async def create(
        self, log_id: str, *, kind: str, labels: dict[str, str], ttl_s: float | None
    ) -> Inlet: ...

    async def info(self, run_id: str) -> LogInfo: ...

    async def delete(self, run_id: str, epoch: str = "") -> None: ...


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


async def make_link(
    hub: _Hub, run: LogInfo, *, lifetime_s: float, by: str = "", shows_files: bool = False
) -> tuple[Link, str]:
    """Make a link to a run in its present epoch; return it and its secret, which nobody keeps.

    Raises:
        Conflict: the run has `MAX_LINKS` links.
    """
    if len(await links_of(hub, run)) >= MAX_LINKS:
        raise Conflict(f"expected at most {MAX_LINKS} links of a run; revoke some of them")
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    link_id = secrets.token_hex(8)
    expires_at = hub.clock.time() + lifetime_s
    labels = {
        "run": run.log_id,
        "epoch": run.epoch,
        "expires": repr(expires_at),
        "files": "yes" if shows_files else "",
        "by": by[:MAX_LABEL_CHARS],
        "digest": _digest(secret),
    }
    kept = {name: value for name, value in labels.items() if value}
    inlet = await hub.create(link_id, kind=LINK, labels=kept, ttl_s=lifetime_s)
    await inlet.append([], close=True)
    return _link(await hub.info(inlet.run_id)), secret


def _link(info: LogInfo) -> Link:
    labels = info.labels
    return Link(
        info.name,
        labels["run"],
        labels["epoch"],
        info.created_at,
        float(labels["expires"]),
        labels.get("by", ""),
        labels.get("files") == "yes",
        labels["digest"],
    )


async def find_link(hub: _Hub, link_id: str) -> Link:
    """Return a link. Raises `NotFound` if it was revoked, has expired, or never was."""
    missing = NotFound("there is no such link: it has expired, was revoked, or never was")
    if not is_run_id(link_id):
        raise missing
    try:
        link = _link(await hub.info(make_log_id(LINK, link_id)))
    except NotFound:
        raise missing from None
    if link.expires_at <= hub.clock.time():
        raise missing
    return link


async def links_of(hub: _Hub, run: LogInfo) -> list[Link]:
    """Return the links to a run's present epoch that are still good, newest first."""
    found = await hub.store.list(
        kind=LINK, labels={"run": run.log_id, "epoch": run.epoch}, limit=500
    )
    now = hub.clock.time()
    return [link for link in map(_link, found) if link.expires_at > now]


async def revoke_link(hub: _Hub, run_id: str, link_id: str) -> None:
    """Make a link of a run worthless, and end what it shows, in every process of the store.

    Raises:
        NotFound: the run has no such link.
    """
    missing = NotFound(f"the run {run_id!r:.140} has no link {link_id!r:.80}")
    if not is_run_id(link_id):
        raise missing
    try:
        log_id = make_log_id(LINK, link_id)
        if _link(await hub.info(log_id)).run_id != run_id:
            raise missing
        await hub.delete(log_id)
    except NotFound:
        raise missing from None
