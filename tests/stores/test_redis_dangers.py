"""What is said about the settings of a Redis server."""

import pytest

from runcast.stores.redis.dangers import dangers_of

SOUND = {
    "aof_enabled": "1",
    "appendfsync": "everysec",
    "maxmemory": "0",
    "maxmemory_policy": "noeviction",
    "role": "master",
    "time": "1000.0",
}

CLUSTER = {
    "cluster_enabled": "1",
    "cluster_state": "ok",
    "url_is_cluster": "1",
    "connected_slaves": "1",
    "wait_replicas": "1",
}


def test_a_sound_server_is_not_complained_of() -> None:
    assert dangers_of(SOUND, 1001.0) == []
    assert dangers_of({**SOUND, **CLUSTER}, 1001.0) == []
    assert dangers_of({}, 1001.0) != []  # nothing known is not the same as sound


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"maxmemory": "9", "maxmemory_policy": "volatile-ttl"}, "events of runs would vanish"),
        ({"aof_enabled": "0", "save": ""}, "loses all runs"),
        ({"aof_enabled": "0", "save": "3600 1"}, "since its last snapshot"),
        ({"appendfsync": "no"}, "never asks the disk"),
        ({"aof_last_write_status": "err"}, "cannot write its append-only file"),
        ({"rdb_last_bgsave_status": "err"}, "last snapshot failed"),
        ({"role": "slave"}, "is a replica"),
        ({"connected_slaves": "1", "min-replicas-to-write": "0"}, "a failover may lose"),
        ({"time": "900"}, "101 s apart"),
        ({"wait_replicas": "2", "connected_slaves": "1"}, "fewer replicas are connected"),
        ({**CLUSTER, "url_is_cluster": "0"}, "names only this member"),
        ({**CLUSTER, "cluster_state": "fail"}, "the cluster is down"),
        ({**CLUSTER, "connected_slaves": "0", "wait_replicas": "0"}, "has no replica"),
    ],
)
def test_each_danger_is_named_with_what_to_do(facts: dict[str, str], said: str) -> None:
    ((text, todo),) = dangers_of({**SOUND, **facts}, 1001.0)

    assert said in text
    assert todo
