"""runcast: stream the life of long-running Python work to its watchers."""

import logging
from importlib import import_module
from typing import TYPE_CHECKING

from runcast._clock import Clock
from runcast._files.model import FileReference
from runcast._functions.decorator import function
from runcast._functions.function import Function
from runcast._functions.kept_inputs import KeptInputs
from runcast._producing.answers import Answer, Asked
from runcast._producing.attaching import JobRuns, set_job_runs
from runcast._producing.calls import Flushed, PlaceFields, Waited
from runcast._producing.context import (
    ask,
    bind,
    content,
    current_writer,
    drain,
    emit,
    flush,
    inbox,
    keep,
    log,
    progress,
    track,
    using,
    workspace,
)
from runcast._producing.inbox import Inbox
from runcast._producing.messages import Message, Sent
from runcast._producing.pools import ThreadPoolExecutor
from runcast._producing.returned import add_finder
from runcast._producing.stream_writer import EventSink, StreamWriter
from runcast._producing.typed import (
    step_complete,
    step_progress,
    step_start,
    thinking,
    tool_call,
    tool_call_delta,
    tool_result,
    usage,
)
from runcast._producing.writer import Writer
from runcast._settings import Settings
from runcast.errors import (
    AlreadyAnswered,
    BackendError,
    BodyTooLarge,
    CallerError,
    Cancelled,
    Conflict,
    EventTooLarge,
    FileTooLarge,
    Forbidden,
    Gone,
    HeadTooLarge,
    InvalidEvent,
    InvalidInputs,
    InvalidValue,
    KeyReused,
    MissingSecret,
    NotFound,
    OutOfSequence,
    Overloaded,
    PeerError,
    ProcessTraceback,
    RangeNotSatisfiable,
    RequestTooSlow,
    RuncastError,
    RunClosed,
    RunFailed,
    RunTooLarge,
    ServerUnavailable,
    Stale,
    StoreReadOnly,
    StoreUnavailable,
    StoreUnusable,
    Unauthorized,
    UncheckedInput,
)
from runcast.events.model import Event
from runcast.events.outcome import Outcome
from runcast.events.position import Position
from runcast.events.snapshot import Snapshot
from runcast.events.thread import ThreadEvent
from runcast.events.view import ViewSpec
from runcast.sources import runner_of
from runcast.stores.base import LogInfo, Store

# A library configures no logging: its records go where the application's logging sends them.
logging.getLogger("runcast").addHandler(logging.NullHandler())

add_finder(runner_of)  # a function may return a crew


def _make_job_runs() -> JobRuns:
    from runcast._app.attaching import StoredJobRuns  # on demand, like the names below

    return StoredJobRuns()


set_job_runs(_make_job_runs)  # a job of a task engine may be a run

if TYPE_CHECKING:
    from runcast import sources as sources
    from runcast._app import (
        AnyFunction,
        AttachOpener,
        DeliveryInThread,
        HubOpener,
        OpenHub,
        OpenHubInThread,
        RunInThread,
        RunOpener,
        asgi,
        attach,
        deliver,
        open_hub,
        run,
        sse_response,
    )
    from runcast._http.app import HttpApp
    from runcast._http.guard.access import Access, everyone
    from runcast._remote.outbox import OutboxStatistics
    from runcast._remote.run import RemoteRun
    from runcast._remote.writer import RemoteWriter
    from runcast._runs.attached_run import AttachedRun
    from runcast._runs.launch import Launcher
    from runcast._runs.owned_run import OwnedRun
    from runcast._runs.run import Run
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

    __version__: str
else:
    _ON_DEMAND = {
        "_app": (
            *("AnyFunction", "AttachOpener", "DeliveryInThread", "HubOpener", "OpenHub"),
            *("OpenHubInThread", "RunInThread", "RunOpener", "asgi", "attach", "deliver"),
            *("open_hub", "run", "sse_response"),
        ),
        "_http.app": ("HttpApp",),
        "_http.guard.access": ("Access", "everyone"),
        "_remote.names": ("OutboxStatistics", "RemoteRun", "RemoteWriter"),
        "_runs.attached_run": ("AttachedRun",),
        "_runs.launch": ("Launcher",),
        "_runs.owned_run": ("OwnedRun",),
        "_runs.run": ("Run",),
        "client.names": (
            *("AsyncClient", "Client", "Decision", "DeliveryInfo", "FileInfo", "FunctionInfo"),
            *("Received", "ReconnectOptions", "RunChange", "RunInfo", "RunLink", "RunState"),
            *("SentMessage", "ShownRun"),
        ),
    }
    """Names by their module, which is imported when a name is first used.

    A child process that runs a function or a script opens no hub, and a command that asks a server
    needs neither hub nor store: without these modules their start takes half as long.
    """

    _MODULES = {name: module for module, names in _ON_DEMAND.items() for name in names}

    def __dir__():
        """Return the public names, including names that are loaded on demand."""
        return sorted(__all__)

    def __getattr__(name):
        """Load expensive attributes on demand."""
        if name in _MODULES:
            found = getattr(import_module(f"runcast.{_MODULES[name]}"), name)
            globals()[name] = found  # the next use does not come here
            return found
        if name == "sources":
            return import_module("runcast.sources")
        if name != "__version__":
            raise AttributeError(f"module 'runcast' has no attribute {name!r}")
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("runcast")
        except PackageNotFoundError:  # a source tree that was never installed
            return "0"


__all__ = (
    "Access",
    "AlreadyAnswered",
    "Answer",
    "AnyFunction",
    "Asked",
    "AsyncClient",
    "AttachOpener",
    "AttachedRun",
    "BackendError",
    "BodyTooLarge",
    "CallerError",
    "Cancelled",
    "Client",
    "Clock",
    "Conflict",
    "Decision",
    "DeliveryInThread",
    "DeliveryInfo",
    "Event",
    "EventSink",
    "EventTooLarge",
    "FileInfo",
    "FileReference",
    "FileTooLarge",
    "Flushed",
    "Forbidden",
    "Function",
    "FunctionInfo",
    "Gone",
    "HeadTooLarge",
    "HttpApp",
    "HubOpener",
    "Inbox",
    "InvalidEvent",
    "InvalidInputs",
    "InvalidValue",
    "KeptInputs",
    "KeyReused",
    "Launcher",
    "LogInfo",
    "Message",
    "MissingSecret",
    "NotFound",
    "OpenHub",
    "OpenHubInThread",
    "OutOfSequence",
    "OutboxStatistics",
    "Outcome",
    "Overloaded",
    "OwnedRun",
    "PeerError",
    "PlaceFields",
    "Position",
    "ProcessTraceback",
    "RangeNotSatisfiable",
    "Received",
    "ReconnectOptions",
    "RemoteRun",
    "RemoteWriter",
    "RequestTooSlow",
    "Run",
    "RunChange",
    "RunClosed",
    "RunFailed",
    "RunInThread",
    "RunInfo",
    "RunLink",
    "RunOpener",
    "RunState",
    "RunTooLarge",
    "RuncastError",
    "Sent",
    "SentMessage",
    "ServerUnavailable",
    "Settings",
    "ShownRun",
    "Snapshot",
    "Stale",
    "Store",
    "StoreReadOnly",
    "StoreUnavailable",
    "StoreUnusable",
    "StreamWriter",
    "ThreadEvent",
    "ThreadPoolExecutor",
    "Unauthorized",
    "UncheckedInput",
    "ViewSpec",
    "Waited",
    "Writer",
    "__version__",
    "asgi",
    "ask",
    "attach",
    "bind",
    "content",
    "current_writer",
    "deliver",
    "drain",
    "emit",
    "everyone",
    "flush",
    "function",
    "inbox",
    "keep",
    "log",
    "open_hub",
    "progress",
    "run",
    "sse_response",
    "step_complete",
    "step_progress",
    "step_start",
    "thinking",
    "tool_call",
    "tool_call_delta",
    "tool_result",
    "track",
    "usage",
    "using",
    "workspace",
)
