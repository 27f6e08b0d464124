"""What is dangerous about a server's settings. Pure."""

from collections.abc import Iterator, Mapping
from typing import Final

__all__ = ("dangers_of",)

_MAX_APART_S: Final = 5.0
"""Ages are compared with this machine's clock, and leases run by the server's: a few seconds apart
they do no harm."""


def dangers_of(facts: Mapping[str, str], now: float) -> list[tuple[str, str]]:
    """Return each danger as (what, what to do).

    Args:
        facts: as `Server.facts` returns them.
        now: this machine's time, Unix seconds.
    """
    checks = (_of_memory(facts), _of_crashes(facts), _of_role(facts), _of_cluster(facts))
    return [danger for each in (*checks, _of_clocks(facts, now)) for danger in each]


def _of_memory(facts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    policy = facts.get("maxmemory_policy") or facts.get("maxmemory-policy") or "noeviction"
    if policy != "noeviction" and facts.get("maxmemory", "0") != "0":
        text = f"the server removes keys when its memory is full (maxmemory-policy {policy})"
        yield f"{text}: events of runs would vanish", "set maxmemory-policy noeviction"


def _of_crashes(facts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if facts.get("aof_enabled") == "1":
        if facts.get("appendfsync") == "no":
            text = "the server never asks the disk to keep what it writes (appendfsync no)"
            yield text, "set appendfsync everysec, or always"
        if facts.get("aof_last_write_status", "ok") != "ok":
            yield "the server cannot write its append-only file", "look at its disk"
    elif facts.get("save", "unknown") == "":
        yield "a crash of the server loses all runs", "set appendonly yes"
    else:
        text = "a crash of the server loses all since its last snapshot (appendonly no)"
        yield text, "set appendonly yes"
    if facts.get("rdb_last_bgsave_status", "ok") != "ok":
        yield "the server's last snapshot failed", "look at its disk and memory"


def _of_role(facts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if facts.get("role") in ("slave", "replica"):
        yield "the server is a replica, which cannot be written", "name the primary server"
    is_replicated = facts.get("connected_slaves", "0") != "0"
    is_waited_for = facts.get("wait_replicas", "0") != "0"
    if is_replicated and not is_waited_for and facts.get("min-replicas-to-write", "") == "0":
        text = "a failover may lose the last moments, because no replica is waited for"
        yield text, "add ?wait_replicas=1 to the URL of the store, or set min-replicas-to-write 1"
    elif is_waited_for and int(facts["wait_replicas"]) > int(facts.get("connected_slaves", "0")):
        text = "fewer replicas are connected than a commit waits for (wait_replicas)"
        yield f"{text}: nothing can be written", "start replicas, or lower wait_replicas"


def _of_cluster(facts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if facts.get("cluster_enabled", "0") != "1":
        return
    if facts.get("url_is_cluster") == "0":
        text = "the server is a member of a cluster, and the URL names only this member"
        yield f"{text}: a failover would stop all runs", "name it redis+cluster://…"
    if facts.get("cluster_state", "ok") != "ok":
        yield "the cluster is down: some of its slots have no master", "look at its members"
    if facts.get("connected_slaves", "0") == "0":
        text = "the member that has the namespace has no replica: its runs stop if it fails"
        yield text, "add a replica to this shard"


def _of_clocks(facts: Mapping[str, str], now: float) -> Iterator[tuple[str, str]]:
    apart_s = abs(float(facts.get("time", now)) - now)
    if apart_s > _MAX_APART_S:
        text = f"the clocks of this machine and of the server are {apart_s:.0f} s apart"
        yield text, "set both by NTP"
