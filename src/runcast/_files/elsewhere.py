"""Where the files of runs are, if nodes share a store but not their files."""

import re
import socket
from typing import Final

from runcast._hub.hub import Hub
from runcast._settings import Settings
from runcast.errors import BackendError
from runcast.events.model import decode_event
from runcast.events.position import Position, split_frames
from runcast.stores.base import LogInfo, Store

__all__ = ("check_elsewhere", "is_shared", "name_of_node")

_LONGEST_NAME: Final = 64


def is_shared(store: Store) -> bool:
    """Return whether nodes on other machines may have the same store open."""
    return store.is_lasting and store.path is None


def name_of_node(settings: Settings) -> str:
    """Return the name of this node, which may be part of an upload's id."""
    named = settings.node_name or socket.gethostname()
    return re.sub(r"[^A-Za-z0-9_.-]", "-", named)[:_LONGEST_NAME] or "unnamed"


async def check_elsewhere(hub: Hub, info: LogInfo) -> None:
    """Raise an error if an ended run made files, because none were found here.

    Files that are older than `keep_files_s` are expected to be gone.

    Raises:
        BackendError: the files are on another node, or were lost; the message says which.
    """
    keep_s = hub.settings.keep_files_s
    if info.head < 2 or (keep_s and hub.clock.time() - (info.closed_at or 0.0) > keep_s):
        return
    # If a run made files, its event before the last one lists them.
    page = await hub.read_page(info.log_id, Position(info.epoch, info.head - 2))
    event = decode_event(split_frames(page.frames)[0])
    if event.type != "files":
        return
    node, here = str(event.data.get("node", "")), name_of_node(hub.settings)
    if node == here:
        raise BackendError(
            f"the files of the run {info.log_id!r} were on the node {node}, and are gone, or with "
            "another server of that name; without data_dir or files, only the server that ran it "
            "has them, until it ends"
        )
    raise BackendError(
        f"the files of the run {info.log_id!r} are on the node {node or 'that ran it'}, not on "
        f"{here}: ask that node, or have the nodes share their files (data_dir, files)"
    )
