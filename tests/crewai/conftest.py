"""CrewAI without network or telemetry, and with everything it writes in a temporary folder."""

import os
import tempfile
import warnings
from collections.abc import Iterator

import pytest

pytest.importorskip("crewai_core", reason="CrewAI is not installed; python3 dev.py test --crewai")

_FOLDER = tempfile.TemporaryDirectory(prefix="runcast-crewai-")

# Before crewai is imported: it reads these, and makes folders, while it is imported.
os.environ.update(
    HOME=_FOLDER.name,
    XDG_DATA_HOME=f"{_FOLDER.name}/data",
    XDG_CONFIG_HOME=f"{_FOLDER.name}/config",
    CREWAI_STORAGE_DIR=f"{_FOLDER.name}/crewai",
    CREWAI_DISABLE_TELEMETRY="true",
    CREWAI_DISABLE_TRACKING="true",
    CREWAI_DISABLE_VERSION_CHECK="true",
    CREWAI_TRACING_ENABLED="false",
    CREWAI_TESTING="true",
    OTEL_SDK_DISABLED="true",
    OPENAI_API_KEY="test",
    ANONYMIZED_TELEMETRY="false",
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what CrewAI and its dependencies warn of is not ours
    import crewai  # noqa: F401
    from crewai.agents import agent_executor  # noqa: F401


@pytest.fixture(autouse=True)
def their_warnings() -> Iterator[None]:
    """Leaves warnings alone that are raised in other packages while a test runs."""
    with warnings.catch_warnings():
        for package in ("crewai", "pydantic", "litellm", "opentelemetry", "openai", "chromadb"):
            warnings.filterwarnings("ignore", module=rf"{package}(\.|$)")
        yield


@pytest.fixture(autouse=True)
def blockbuster() -> None:
    """Lets CrewAI block the loops that it runs on: it reads its files and waits for locks there."""
