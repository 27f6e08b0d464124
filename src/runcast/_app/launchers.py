"""The launchers that settings can name."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from runcast._runs.launch import Launcher
from runcast._settings import Settings
from runcast.errors import InvalidValue

__all__ = ("CeleryLauncher", "check_broker", "launcher_of")


def launcher_of(settings: Settings) -> Launcher | None:
    """Return the launcher that the settings name; None if functions run in this process.

    Raises:
        InvalidValue: there is no such launcher, it lacks its broker, or its package is missing.
    """
    if not settings.launcher:
        return None
    if settings.launcher != CeleryLauncher.engine:
        raise InvalidValue(f"expected the launcher celery, got {settings.launcher!r:.80}")
    return CeleryLauncher(settings)


def check_broker(settings: Settings) -> None:
    """Raise `InvalidValue` if the settings name no broker that Celery can use, or it is missing."""
    if not settings.broker:
        raise InvalidValue(
            "expected the broker of Celery, like redis://host:6379/1: give --broker, or "
            "RUNCAST_BROKER in the environment"
        )
    try:
        from runcast.sources import _celery  # late, because only launchers need Celery
    except ImportError as error:
        raise InvalidValue(f"{error} (or: pip install 'runcast[celery]')") from None
    kind, separator, _ = settings.broker.partition("://")
    if not separator:
        kind = ""
    try:
        _celery.check_transport(settings.broker)
    except ImportError as error:
        raise InvalidValue(
            f"the broker {kind}:// needs a package that is missing ({error}); for Redis and "
            "Valkey: pip install 'runcast[celery,redis]'"
        ) from None
    except (KeyError, ValueError):  # its text may hold the password
        raise InvalidValue(
            "expected the URL of a broker that Celery knows, like redis://host:6379/1 (for Valkey, "
            f"too) or amqp://host, got one that begins with {kind!r:.40}"
        ) from None


class CeleryLauncher:
    """Hands runs to Celery workers. Use it on one event loop at a time."""

    engine = "celery"

    def __init__(self, settings: Settings) -> None:
        check_broker(settings)
        from runcast.sources import _celery

        self._sender = _celery.Sender(settings.broker, settings.launch_queue, settings.max_launched)
        self._thread: ThreadPoolExecutor | None = None

    async def launch(self, run_id: str, epoch: str, function: str) -> None:
        """Send a run to the broker; see `Launcher.launch`."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="runcast-launch")
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._sender.send, run_id, epoch, function)

    async def close(self) -> None:
        """Close the connections. Idempotent; `launch` may be called again."""
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(thread, self._sender.close)
            thread.shutdown(wait=False)
