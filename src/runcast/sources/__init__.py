"""Sources: they turn a framework's own events into events of a run.

    with runcast.run("import"), runcast.sources.stream():
        main()

| source | for | needs |
|---|---|---|
| `runcast.sources.llm` | `openai` and `anthropic` | `runcast[openai]`, `runcast[anthropic]` |
| `runcast.sources.logging` | `logging` | |
| `runcast.sources.tqdm` | bars of tqdm | `runcast[tqdm]` |
| `runcast.sources.rich` | progress of rich | `runcast[rich]` |
| `runcast.sources.crewai` | crews, agents and flows of CrewAI | `runcast[crewai]` |
| `runcast.sources.langchain` | LangChain and LangGraph | `runcast[langchain]` |
| `runcast.sources.langgraph` | graphs of LangGraph that ask | `runcast[langgraph]` |
| `runcast.sources.openai_agents` | OpenAI Agents | `runcast[openai-agents]` |
| `runcast.sources.pydantic_ai` | pydantic-ai | `runcast[pydantic-ai]` |
| `runcast.sources.celery` | tasks of Celery | `runcast[celery]` |
| `runcast.sources.rq` | jobs of RQ | `runcast[rq]` |
| `runcast.sources.dramatiq` | messages of Dramatiq | `runcast[dramatiq]` |

Each is a module with its own `stream()`; `langgraph` and `openai_agents` have `run()`. Those of
task engines make each job a run. Sources
never change what a program computes. Events that they cannot write are counted and reported; no
error is raised.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Final

from runcast import _plugins
from runcast._producing.returned import Runner
from runcast.errors import InvalidValue, NotFound

if TYPE_CHECKING:
    from runcast.sources import celery as celery
    from runcast.sources import crewai as crewai
    from runcast.sources import dramatiq as dramatiq
    from runcast.sources import langchain as langchain
    from runcast.sources import langgraph as langgraph
    from runcast.sources import llm as llm
    from runcast.sources import logging as logging
    from runcast.sources import openai_agents as openai_agents
    from runcast.sources import pydantic_ai as pydantic_ai
    from runcast.sources import rich as rich
    from runcast.sources import rq as rq
    from runcast.sources import tqdm as tqdm
else:

    def __getattr__(name):
        """Import a source when something asks for it: its package may be missing, or slow."""
        if name not in _NAMES and name not in _MODULES:
            raise AttributeError(f"module 'runcast.sources' has no attribute {name!r}")
        return importlib.import_module(f"runcast.sources.{name}")


__all__ = ("ON_IMPORT", "load", "runner_of", "stream")

_MODULES: Final = ("celery", "dramatiq", "langgraph", "openai_agents", "pydantic_ai", "rq")
"""Sources that are functions or classes to use, and not to be turned on."""

ON_IMPORT: Final[dict[str, tuple[str, ...]]] = {
    "logging": ("logging",),
    "tqdm": ("tqdm",),
    "rich.progress": ("rich",),
    "crewai": ("crewai",),
    "langchain_core.callbacks": ("langchain",),
    "openai": ("llm", "openai"),
    "anthropic": ("llm", "anthropic"),
}
"""For each module that a source reports: the source, and what its `stream()` is called with."""

_NAMES: Final = tuple(dict.fromkeys(source for source, *_ in ON_IMPORT.values()))


@contextmanager
def stream(*names: str) -> Iterator[None]:
    """Turn on sources inside the block, for the current run; outside a run, for every run.

    Args:
        names: which sources. Without names: `logging`, and each source whose package the program
            has imported before.

    Raises:
        InvalidValue: a source is unknown.
        ImportError: the package of a named source is missing or too old; the message has the line
            that installs it.
    """
    for name in names:
        if name not in _NAMES:
            raise InvalidValue(f"expected sources of {', '.join(_NAMES)}, got {name[:80]!r}")
    chosen: list[tuple[str, ...]] = [(name,) for name in dict.fromkeys(names)]
    if not names:
        chosen = [given for module, given in ON_IMPORT.items() if module in sys.modules]
    with ExitStack() as entered:
        for name, *arguments in chosen:
            source = importlib.import_module(f"runcast.sources.{name}")
            entered.enter_context(source.stream(*arguments))
        yield


def runner_of(returned: object) -> Runner | None:
    """Return what runs a thing that a function has returned; None if the thing is a result.

    For runcast itself: a function may return a crew of CrewAI.
    """
    for kind in type(returned).__mro__:
        if kind.__module__.partition(".")[0] == "crewai":
            found: Runner | None = importlib.import_module("runcast.sources.crewai").runner_of(
                returned
            )
            return found
    return None


def load(name: str) -> ModuleType:
    """Return a source that an installed package offers (entry points, group `runcast.sources`).

    Raises:
        NotFound: no installed package offers it; the message lists the offered ones.
        InvalidValue: its package cannot be imported.
    """
    source: ModuleType | None = _plugins.find(_plugins.SOURCES, name)
    if source is None:
        known = ", ".join(_plugins.names(_plugins.SOURCES)) or "none"
        raise NotFound(f"there is no source {name[:80]!r}; installed packages offer: {known}")
    return source
