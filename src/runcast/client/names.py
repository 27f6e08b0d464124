"""The public names of this layer, which `runcast` loads on demand."""

from runcast.client.asynchronous import AsyncClient
from runcast.client.model import (
    Decision,
    DeliveryInfo,
    FileInfo,
    FunctionInfo,
    RunChange,
    RunInfo,
    RunLink,
    RunState,
    SentMessage,
)
from runcast.client.reconnect import ReconnectOptions
from runcast.client.showing import ShownRun
from runcast.client.threads import Client
from runcast.client.watching import Received

__all__ = (
    "AsyncClient",
    "Client",
    "Decision",
    "DeliveryInfo",
    "FileInfo",
    "FunctionInfo",
    "Received",
    "ReconnectOptions",
    "RunChange",
    "RunInfo",
    "RunLink",
    "RunState",
    "SentMessage",
    "ShownRun",
)
