"""Handing runs to workers of a task engine, and taking them there.

What goes through the broker is the run's id. Its inputs are stored beside its log, as those of
every run are, and its secrets are in the environment of the worker. The worker that claims the log
runs it, so a message that is delivered twice starts nothing twice.
"""

import asyncio
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from runcast._files.files import Files
from runcast._files.inputs import GivenFiles
from runcast._functions.function import Function
from runcast._functions.kept_inputs import keep_inputs, left_out_of
from runcast._hub.hub import Hub
from runcast._logs import get_logger
from runcast._runs.launch import ATTACHING, NOBODY, Launch, Launcher
from runcast._runs.launched_run import LaunchedRun
from runcast._runs.run import make_run_id
from runcast.errors import InvalidValue, Overloaded, ServerUnavailable
from runcast.stores.base import LogInfo

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from runcast._files.workspace import Workspace

__all__ = ("Launches",)

_log: Final = get_logger("runcast.runs")


class Launches:
    """Hands over the runs of one hub.

    Args:
        files: of the hub.
        launcher: hands runs to workers; None if runs of functions run in this process.
        cancel: cancels a run, wherever it is.
    """

    def __init__(
        self,
        hub: Hub,
        files: Files,
        launcher: Launcher | None,
        cancel: "Callable[[str, str], Awaitable[None]]",
    ) -> None:
        self._hub = hub
        self._files = files
        self._launcher = launcher
        self._cancel = cancel
        self._beginning: set[asyncio.Task[LaunchedRun]] = set()

    @property
    def is_on(self) -> bool:
        """Whether runs of functions are handed to workers."""
        return self._launcher is not None

    def keep(
        self,
        function: Function[..., Any],
        inputs: Mapping[str, Any],
        secrets: Mapping[str, str],
        files: GivenFiles,
        workspace: str,
    ) -> bytes:
        """Return the inputs as they are stored for the worker.

        Raises:
            InvalidValue: a worker could not have all that is given.
        """
        if secrets:
            raise InvalidValue(
                "expected no secrets with the invocation: a worker runs it, and secrets do not go "
                "through the broker or the store; set them in the environment of the workers, or "
                "in their secrets_file"
            )
        takes_files = any(group.kind == "input" for group in function.files.values())
        if (files or workspace or takes_files) and not self._files.has_lasting_folder:
            raise InvalidValue(
                "expected no files: a worker runs it, which may be on another machine; set "
                "data_dir of the server and of the workers to one folder that they share"
            )
        kept = keep_inputs(function, inputs, {}, {group: len(it) for group, it in files.items()})
        why = left_out_of(kept) if function.store_inputs else "store_inputs is False"
        if inputs and why:
            raise InvalidValue(
                f"expected inputs of {function.name!r} that can be stored for a worker, got {why}; "
                "pass a file or a reference instead"
            )
        return kept

    async def begin(
        self,
        function: Function[..., Any],
        kept: bytes,
        labels: Mapping[str, str],
        run_id: str,
        staged: "Workspace | None",
        *,
        replace: bool | str,
    ) -> LaunchedRun:
        """Begin a run and hand it to a worker.

        Raises what `Store.create` and `Launcher.launch` raise. Then there is no run.
        """
        assert self._launcher is not None

        async def begin(launcher: Launcher) -> LaunchedRun:
            try:
                run = await self._create(
                    launcher.engine, function.name, function, run_id, labels, kept, replace=replace
                )
            except BaseException:
                await self._files.discard(staged)
                raise
            files = self._files.for_run(run_id, run.epoch, function.files, staged)
            try:
                await files.prepare()
                await launcher.launch(run_id, run.epoch, function.name)
            except BaseException:
                # A message that was sent all the same finds no run.
                await self._hub.delete(run_id, run.epoch)
                raise
            return run

        return await self._shielded(begin(self._launcher))

    async def reserve(
        self, name: str, run_id: str, labels: Mapping[str, str], *, replace: bool
    ) -> LaunchedRun:
        """Begin a run that waits for code that attaches to it. Raises what `Store.create` does."""
        run_id = run_id or make_run_id(self._hub.clock.time(), os.urandom(10))
        creating = self._create(ATTACHING, name, None, run_id, labels, b"", replace=replace)
        return await self._shielded(creating)

    async def _shielded(self, beginning: "Coroutine[Any, Any, LaunchedRun]") -> LaunchedRun:
        """Begin a run in its own task; if the caller is cancelled, the run is cancelled, too."""
        task: asyncio.Task[LaunchedRun] = asyncio.create_task(beginning)
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_cancel_begun)
            raise

    async def _create(
        self,
        engine: str,
        name: str,
        function: Function[..., Any] | None,
        run_id: str,
        labels: Mapping[str, str],
        kept: bytes,
        *,
        replace: bool | str,
    ) -> LaunchedRun:
        launch = Launch(engine, self._hub.clock.time(), NOBODY)
        inlet = await self._hub.create(
            run_id,
            owner_id=NOBODY,
            labels={**labels, "function": name, **launch.labels()},
            ttl_s=self._hub.settings.keep_runs_s or None,
            replace=replace,
            attachment=kept,
        )
        self._hub.owned.look(run_id)  # an epoch that this process owned is over
        return LaunchedRun(self._hub, run_id, inlet.epoch, name, function, self._cancel)

    async def again(self, info: LogInfo) -> bool:
        """Hand a run whose worker died to another one; False if the run is not of this launcher.

        If the broker cannot be reached, the next look for lost runs tries it again.
        """
        launch = Launch.of(info.labels)
        if self._launcher is None or launch is None or launch.engine != self._launcher.engine:
            return False
        # Refused if the worker lives. With another owner each time, so that the run does not count
        # as handed over before it is.
        info = await self._hub.store.claim(info.log_id, f"{NOBODY}-{info.fence}")
        try:
            await self._launcher.launch(info.log_id, info.epoch, info.labels.get("function", ""))
        except (ServerUnavailable, Overloaded) as error:
            _log.warning("run %s could not be handed over again yet: %s", info.log_id, error)
            return True
        launch = launch._replace(since=self._hub.clock.time(), owner_id=info.owner_id)
        # With the fence of the claim: a worker may have taken the run meanwhile.
        inlet = self._hub.inlet(info.log_id, info.epoch, info.fence)
        await inlet.append(labels=launch.labels())
        _log.warning("run %s was handed over again, because its worker ended", info.log_id)
        return True

    async def close(self) -> None:
        """Finish what has begun. Idempotent."""
        if self._beginning:
            await asyncio.wait(self._beginning)
        if self._launcher is not None:
            await self._launcher.close()


def _cancel_begun(beginning: "asyncio.Task[LaunchedRun]") -> None:
    if not beginning.cancelled() and beginning.exception() is None:
        beginning.result().cancel("its caller did not wait for its beginning")
