"""All peers by name, in the order of the tables."""

from benchmarks.peers.nchan import NchanPeer
from benchmarks.peers.peer import ALL_SCENARIOS, AsgiPeer, Peer
from benchmarks.peers.runcast_server import RuncastPeer

_OF_SEED = frozenset({"runs500", "threads500", "idle", "emit"})
_WITHOUT_REPLAY = frozenset({"fanout", "sustained", "runs500", "idle"})

PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        RuncastPeer(),
        NchanPeer(),
        AsgiPeer("starlette", "starlette_queue", ("starlette",), ALL_SCENARIOS | {"threads500"}),
        AsgiPeer("starlette-join", "starlette_join", ("starlette",), ALL_SCENARIOS - {"emit"}),
        AsgiPeer("litestar", "litestar_channels", ("litestar",), _WITHOUT_REPLAY),
        AsgiPeer(
            "sse-starlette",
            "sse_starlette_queue",
            ("sse-starlette", "starlette"),
            ALL_SCENARIOS - {"emit"},
        ),
        AsgiPeer("fastapi", "fastapi_sse", ("fastapi",), ALL_SCENARIOS - {"emit"}),
        # One watcher a stream is all that the pattern allows.
        AsgiPeer("seed", "seed", ("starlette",), _OF_SEED),
    )
}
