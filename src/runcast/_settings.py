"""Every setting with its unit, its default and the reason for it. The only table of settings.

A setting comes from these places; later ones override earlier ones: its default, a TOML file, the
environment (`RUNCAST_` and its name in capitals), the command line or the constructor. Outside
TOML, lists are joined by commas.

Long because it is one table.
"""

import dataclasses
import os
import sys
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Self, cast, get_origin, get_type_hints

from runcast.errors import InvalidValue

__all__ = ("Settings",)

_MIB: Final = 1024 * 1024

_SWITCHES: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}

_WANTED: Final = {bool: "yes or no", int: "a whole number", float: "a number", str: "a text"}


def _setting(default: Any, about: str, *, least: float | None = 0, shown: bool = True) -> Any:
    return field(default=default, metadata={"about": about, "least": least}, repr=shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of a process. Names ending in `_s` are seconds, in `_bytes` bytes.

    Raises:
        InvalidValue: a value has the wrong type or is out of range; the message names the setting.
    """

    # Events and producers
    max_event_bytes: int = _setting(
        _MIB, "Largest event, as JSON. Write larger output to a file.", least=256
    )
    pending_bytes_per_run: int = _setting(
        4 * _MIB,
        "Events of one run that may wait for their commit; beyond that its producers wait. If an"
        " eighth of keep_bytes_per_run is less, that counts instead, but at least 1 MiB.",
        least=1,
    )
    pending_bytes: int = _setting(
        64 * _MIB, "Events of all runs that may wait for their commit.", least=1
    )
    emit_wait_s: float = _setting(
        30.0,
        "How long emit() in a thread waits for room before it raises Overloaded; and how long a "
        "store may fail before emit() raises StoreUnavailable.",
    )
    store_retry_s: float = _setting(
        0.25, "Pause before a failed commit is tried again.", least=0.001
    )
    # Watchers
    tail_bytes_per_run: int = _setting(
        _MIB, "Newest events of a watched run kept in memory, for watchers that are up to date."
    )
    tail_bytes: int = _setting(64 * _MIB, "The same, for all watched runs together.")
    page_cache_bytes: int = _setting(
        32 * _MIB,
        "Pages of history kept for watchers that read the same part of a log. The same bound"
        " also applies to the output of dialects and views, and to snapshots of runs.",
    )
    heartbeat_s: float = _setting(
        15.0,
        "Silence after which a stream gets a comment. Keep it well below the read timeout of your"
        " proxy; nginx has 60 s.",
        least=0.01,
    )
    stall_s: float = _setting(
        30.0,
        "How long a watcher's socket may take nothing before the stream is ended; the watcher can"
        " resume. Also how long a client may be silent before its connection is ended.",
        least=0.01,
    )
    max_watchers: int = _setting(
        10_000, "Connections that watch at once; one may follow several runs.", least=1
    )
    max_watchers_per_run: int = _setting(5_000, "The same, for one run.", least=1)
    long_poll_s: float = _setting(25.0, "Longest wait of a long-poll request.", least=0.01)
    retry_s: float = _setting(2.0, "How long browsers should wait before they reconnect.")
    # Runs
    threads: int = _setting(64, "Sync functions that run at once, each in its own thread.", least=1)
    max_runs: int = _setting(1000, "Runs at once; further runs wait in the queue.", least=1)
    max_queue: int = _setting(1000, "Runs that wait for room; further runs are refused.")
    max_remote_runs: int = _setting(
        1000,
        "Runs of remote writers (`POST /runs`) that are open at once; further ones are refused.",
        least=1,
    )
    max_runs_per_function: int = _setting(
        0, "Runs of one function at once, unless it has its own `max_runs=`; 0: no limit."
    )
    run_time_s: float = _setting(
        0.0, "Longest time a run may take, from its start to its end; 0: no limit."
    )
    max_events_per_run: int = _setting(
        0, "Events that one run may emit; further events are refused. 0: no limit."
    )
    max_bytes_per_run: int = _setting(0, "The same in bytes. 0: no limit.")
    cancel_grace_s: float = _setting(
        5.0, "How long a cancelled thread may go on before it is given up as stuck."
    )
    shutdown_grace_s: float = _setting(
        1.0, "How long running functions may go on at shutdown before they are cancelled."
    )
    blocked_loop_s: float = _setting(
        1.0,
        "How long a call may block the event loop before a warning names it; 0: no warning.",
    )
    lease_s: float = _setting(
        15.0, "After this time without a sign of life a run's owner counts as lost.", least=0.05
    )
    recover_wait_s: float = _setting(
        300.0,
        "How long a run with `recover=` waits, after a crash, for a process that knows its"
        " function; then the run ends as lost. A deployment should take less.",
    )
    # Workers of a task engine
    launcher: str = _setting(
        "",
        "`celery` hands runs of functions to workers of Celery (`runcast worker`) instead of"
        " running them in this process.",
        least=None,
    )
    broker: str = _setting(
        "",
        "The URL of the broker that takes runs to the workers, like redis://host:6379/1. It may"
        " hold a password.",
        least=None,
        shown=False,
    )
    launch_queue: str = _setting("runcast", "The broker's queue for runs.", least=None)
    launch_wait_s: float = _setting(
        3600.0,
        "How long a run may wait for a worker, or for code that attaches to it; then it ends as"
        " failed.",
        least=0.05,
    )
    max_launched: int = _setting(
        1000, "Runs that wait in the broker's queue; further runs are refused.", least=1
    )
    # Retention
    keep_runs_s: float = _setting(
        7 * 86400.0, "How long ended runs are kept; 0 keeps them for ever."
    )
    keep_bytes_per_run: int = _setting(
        1024 * _MIB,
        "Newest events kept of one run; older events are folded into a snapshot. 0 keeps all. A run"
        " that exceeds this by half is slowed until it is cut. A store's file stays below three"
        " times what is kept.",
    )
    retention_every_s: float = _setting(
        5.0,
        "Pause between two searches for runs and events that are no longer kept.",
        least=0.01,
    )
    # Child processes
    processes: int = _setting(
        16, "Functions that run at once in their own processes; more wait.", least=1
    )
    warm_processes: int = _setting(
        1,
        "Child processes kept ready for each module with functions, so that a run need not wait for"
        " the start of Python and the module; 0 also means that none is forked.",
    )
    terminate_grace_s: float = _setting(
        2.0, "How long a child process may run after SIGTERM, before SIGKILL."
    )
    exit_wait_s: float = _setting(
        30.0,
        "How long functions registered with `atexit` may take when a process ends: a function's own"
        " process after its result, or the server's.",
    )
    child_memory_bytes: int = _setting(
        0, "Address space that a child process may take (RLIMIT_AS); 0 sets no limit."
    )
    output_lines_per_s: int = _setting(
        200,
        "Printed lines of a child process that become log events; more are dropped and counted.",
        least=1,
    )
    output_line_bytes: int = _setting(
        4096, "Longest printed line that is kept; the rest of a longer line is dropped.", least=1
    )
    secrets_file: str = _setting(
        "",
        'A TOML file with lines NAME = "value", for declared secrets that are neither given with'
        " the invocation nor set in the environment.",
        least=None,
    )
    prices_file: str = _setting(
        "",
        "A TOML file with what tokens of models cost, for the cost of `usage` events and max_cost;"
        " without it only costs that are given with the events are known.",
        least=None,
    )
    channels_file: str = _setting(
        "",
        "A TOML file with the chats that runs may be delivered to by name, and their tokens.",
        least=None,
    )
    # Files
    data_dir: str = _setting(
        "",
        "Where files of runs are kept; by default beside the SQLite store, as `<store>.data`, or in"
        " a temporary folder, removed at the end, if the store is in memory or in Redis. Nodes"
        " that share a store may share the folder, too.",
        least=None,
    )
    files: str = _setting(
        "",
        "A bucket for the files of runs and for uploads, which all nodes reach:"
        " s3://bucket/prefix, with ?endpoint=https://… for another server than AWS. data_dir then"
        " holds only files of running runs.",
        least=None,
    )
    node_name: str = _setting(
        "",
        "The name of this node, for errors that say where files are; by default the machine's.",
        least=None,
    )
    max_files: int = _setting(
        1000, "Input files of one run, and also files kept of one run.", least=1
    )
    max_input_bytes: int = _setting(4096 * _MIB, "All input files of one run together.", least=1)
    max_output_bytes: int = _setting(4096 * _MIB, "All files kept of one run together.", least=1)
    keep_files_s: float = _setting(
        0.0, "How long files of ended runs are kept; 0: as long as the runs themselves."
    )
    max_upload_bytes: int = _setting(1024 * _MIB, "Largest uploaded file.", least=1)
    upload_bytes: int = _setting(
        8192 * _MIB, "All uploaded files together that wait for their runs.", least=1
    )
    max_uploads: int = _setting(
        10_000, "Uploaded files that wait for their runs, or that are arriving.", least=1
    )
    keep_uploads_s: float = _setting(
        3600.0, "How long an uploaded file is kept that no run uses.", least=1
    )
    max_transfers: int = _setting(
        100, "Files uploaded or downloaded at once; more are refused.", least=1
    )
    workspace_roots: tuple[str, ...] = _setting(
        (),
        "Folders below which the `workspace` of an invocation may be; the invocation may name files"
        " in it. Empty by default.",
        least=None,
    )
    url_allow: tuple[str, ...] = _setting(
        (),
        "Beginnings of URLs from which runs may get files, like https://files.example.org/in/; and"
        " networks with private addresses that may be reached, like 10.1.0.0/16. Empty by default.",
        least=None,
    )
    fetch_wait_s: float = _setting(
        60.0, "How long fetching all files of one run from URLs may take.", least=0.01
    )
    max_fetches: int = _setting(
        16, "Runs for which files are fetched from URLs at once; more are refused.", least=1
    )
    file_threads: int = _setting(
        2,
        "Threads that copy the input files of runs, and as many that hash and remove their files."
        " They take turns, so that small files do not wait for large ones.",
        least=1,
    )
    sweep_every_s: float = _setting(
        300.0, "Pause between two searches for files that nobody needs any more.", least=0.01
    )
    # HTTP
    drain_s: float = _setting(
        0.0,
        "How long a server goes on after SIGTERM before it stops to listen, while `/readyz` says"
        " 503: so that load balancers notice, and send requests elsewhere. Works under `runcast"
        " serve`, uvicorn, and gunicorn with uvicorn's workers.",
    )
    max_head_bytes: int = _setting(
        64 * 1024,
        "Path and headers of a request. A page of cookies and the positions of 32 runs need less"
        " than 16 KiB.",
        least=1024,
    )
    max_pipelined: int = _setting(
        100,
        "Requests of a connection that may wait for an earlier one's answer; a connection that"
        " sends more is cut.",
        least=1,
    )
    max_body_bytes: int = _setting(16 * _MIB, "Largest request body.", least=1)
    request_wait_s: float = _setting(
        30.0, "How long a request's head, and then its body, may take to arrive.", least=0.01
    )
    max_link_s: float = _setting(
        30 * 24 * 3600.0,
        "Longest life of a link that shows a run to anyone who has it; 0: no links.",
    )
    session_s: float = _setting(
        12 * 3600.0,
        "How long a browser stays signed in after it sent the access token.",
        least=1,
    )
    sqlite_wal_bytes: int = _setting(
        64 * _MIB,
        "Length of SQLite's write-ahead log beyond which commits wait until it has been copied into"
        " the file. It stays below twice that, unless something reads from it for over a minute.",
        least=32 * _MIB,
    )
    sqlite_full_sync: bool = _setting(
        False, "Wait for the disk at each commit, so that a power loss loses nothing.", least=None
    )

    def __post_init__(self) -> None:
        types = get_type_hints(type(self))
        for item in dataclasses.fields(self):
            value, least = getattr(self, item.name), item.metadata["least"]
            if not _is_of_type(value, types[item.name]):
                raise _wrong_type(item.name, value, types[item.name])
            if least is not None and value < least:
                raise InvalidValue(f"expected {item.name} to be at least {least}, got {value}")

    def with_absolute_paths(self) -> Self:
        """Return the same settings without relative paths.

        A relative path would be resolved at each use, and a function may have changed the working
        directory since.
        """
        return dataclasses.replace(
            self,
            data_dir=self.data_dir and os.path.abspath(self.data_dir),
            secrets_file=self.secrets_file and os.path.abspath(self.secrets_file),
            prices_file=self.prices_file and os.path.abspath(self.prices_file),
            channels_file=self.channels_file and os.path.abspath(self.channels_file),
            workspace_roots=tuple(map(os.path.abspath, self.workspace_roots)),
        )

    @classmethod
    def load(
        cls,
        *,
        file: str | Path | None = None,
        environ: Mapping[str, str] | None = None,
        **given: object,
    ) -> Self:
        """Return settings from a TOML file, the environment and the arguments (None: not given).

        Raises:
            InvalidValue: a setting is unknown, or cannot have its value. Variables that begin with
                `RUNCAST_` may belong to others (Kubernetes sets `RUNCAST_PORT`), so unknown ones
                are refused only if they look like a setting.
        """
        types = get_type_hints(cls)
        found: dict[str, Any] = {}
        if file is not None:
            for name, value in tomllib.loads(Path(file).read_text("utf-8")).items():
                found[name] = _convert(name, value, types, str(file), f"{name} in {file}")
        for variable, value in (os.environ if environ is None else environ).items():
            name = variable.removeprefix("RUNCAST_").lower()
            if variable == f"RUNCAST_{name.upper()}" and (name in types or _meant(name, types)):
                found[name] = _convert(name, value, types, variable)
        for name, item in given.items():
            if item is not None:
                found[name] = _convert(name, item, types, name)
        return cls(**found)


def _meant(name: str, types: Mapping[str, type]) -> list[str]:
    return get_close_matches(name, types, 1, 0.8)


def _convert(
    name: str, value: object, types: Mapping[str, type], source: str, said: str = ""
) -> Any:
    kind = types.get(name)
    if kind is None:
        meant = "".join(f"; is {close!r} meant?" for close in _meant(name, types))
        raise InvalidValue(f"there is no setting {name!r} (from {source}){meant}")
    converted: object = value
    if get_origin(kind) is tuple:
        items = value.split(",") if isinstance(value, str) else value
        if isinstance(items, list | tuple) and all(isinstance(item, str) for item in items):
            converted = tuple(item.strip() for item in items if item.strip())
    elif kind is bool:
        converted = _SWITCHES.get(str(value).lower())
    elif isinstance(value, str) or (kind is float and type(value) is int):
        with suppress(ValueError, OverflowError):
            converted = kind(value)
    if not _is_of_type(converted, kind):
        raise _wrong_type(said or source, value, kind)
    return converted


def _is_of_type(value: object, kind: type) -> bool:
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(isinstance(item, str) for item in value)
    if kind is float:
        return type(value) in (int, float) and abs(cast("float", value)) <= sys.float_info.max
    return type(value) is kind


def _wrong_type(source: str, value: object, kind: type) -> InvalidValue:
    wanted = "a list of texts" if get_origin(kind) is tuple else _WANTED[kind]
    return InvalidValue(f"expected {source} to be {wanted}, got {value!r:.80}")
