"""The public names of this layer, which `runcast` loads on demand."""

from runcast.client.asynchronous import AsyncClient
from runcast.client.model import Decision, FileInfo, FunctionInfo, RunChange, RunInfo, RunState
from runcast.client.threads import Client

__all__ = (
    "AsyncClient",
    "Client",
    "Decision",
    "FileInfo",
    "FunctionInfo",
    "RunChange",
    "RunInfo",
    "RunState",
)
