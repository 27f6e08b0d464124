"""What nodes are made of. A planted bug replaces a part."""

from dataclasses import dataclass
from typing import Any, Final

from runcast._hub.hub import Hub
from runcast._runs.remote import RemoteRuns
from tests.simulation.store import SimulatedStore

__all__ = ("REAL", "Parts")


@dataclass(frozen=True)
class Parts:
    """Makes the parts of a node.

    Attributes:
        make_store, make_hub, make_writers: are called like the classes.
    """

    make_store: Any = SimulatedStore
    make_hub: Any = Hub
    make_writers: Any = RemoteRuns


REAL: Final = Parts()
