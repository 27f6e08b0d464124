"""The public names of this layer, which `runcast` loads on demand."""

from runcast._remote.outbox import OutboxStatistics
from runcast._remote.run import RemoteRun
from runcast._remote.writer import RemoteWriter

__all__ = ("OutboxStatistics", "RemoteRun", "RemoteWriter")
