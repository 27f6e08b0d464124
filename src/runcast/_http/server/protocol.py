"""Which protocol of uvicorn our own server speaks."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

from runcast._http.server.connection import DirectProtocol
from runcast._http.vanished import VanishedClients
from runcast._settings import Settings

__all__ = ("protocol_class",)


class _DirectH11(DirectProtocol, H11Protocol):
    """h11, which is always there. Its parser bounds what it keeps (`h11_max_incomplete…`)."""


def protocol_class(settings: Settings) -> type[asyncio.Protocol]:
    """Return the fastest protocol installed, which keeps to these settings."""
    protocol: type[DirectProtocol] = _DirectH11
    try:
        from runcast._http.server.httptools_protocol import DirectHttpTools
    except ImportError:
        pass
    else:
        protocol = DirectHttpTools
    shared = {"settings": settings, "vanished": VanishedClients(settings.stall_s)}
    return type(protocol.__name__, (protocol,), shared)
