"""Sources whose package is missing or too old say so, with the line that installs it."""

import importlib
import importlib.metadata
import sys

import pytest

from runcast.sources import _packages, llm

SOURCES = [
    ("runcast.sources._openai_client", "llm", "openai", "2"),
    ("runcast.sources._anthropic_client", "llm", "anthropic", "2"),
    ("runcast.sources.openai_agents", "openai_agents", "openai-agents", "0.24"),
    ("runcast.sources.pydantic_ai", "pydantic_ai", "pydantic-ai-slim", "2.60"),
]

each_source = pytest.mark.parametrize(("module", "source", "package", "least"), SOURCES)


@each_source
def test_a_missing_package_is_named_with_the_line_that_installs_it(
    module: str, source: str, package: str, least: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(_packages, "version", version)
    monkeypatch.delitem(sys.modules, module, raising=False)

    with pytest.raises(ImportError) as raised:
        importlib.import_module(module)

    assert str(raised.value) == (
        f"runcast.sources.{source} needs {package} {least} or newer, and {package} is not "
        f"installed: pip install '{package}>={least}'"
    )


@each_source
def test_a_package_that_is_too_old_is_named_with_its_version(
    module: str, source: str, package: str, least: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_packages, "version", lambda name: "0.1.0")
    monkeypatch.delitem(sys.modules, module, raising=False)

    with pytest.raises(ImportError, match=f"{package} 0.1.0 is installed: pip install"):
        importlib.import_module(module)


def test_without_packages_the_source_for_graphs_names_the_package_that_brings_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_packages, "version", lambda name: "0.1.0")
    for name in ("langchain", "langgraph"):
        monkeypatch.delitem(sys.modules, f"runcast.sources.{name}", raising=False)

    with pytest.raises(ImportError, match=r"langgraph needs langgraph 1\.2 or newer"):
        importlib.import_module("runcast.sources.langgraph")


def test_without_any_client_both_lines_that_install_one_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(llm, "find_spec", lambda name: None)

    with pytest.raises(ImportError, match="pip install openai, or pip install anthropic"):
        llm.install()
