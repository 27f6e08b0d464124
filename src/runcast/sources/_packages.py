"""The error of a source whose package is missing or too old."""

from importlib.metadata import PackageNotFoundError, version

__all__ = ("check_package",)


def check_package(name: str, least: tuple[int, ...], source: str = "") -> None:
    """Check that a package is installed and new enough.

    Args:
        source: the source that needs it, if its name differs from the package's.

    ImportError: the package is missing or too old; the message has the line that installs it.
    """
    wanted = ".".join(map(str, least))
    try:
        found = version(name)
    except PackageNotFoundError:
        found = ""
    if found and _numbers(found) >= least:
        return
    got = f"{name} {found} is installed" if found else f"{name} is not installed"
    raise ImportError(
        f"runcast.sources.{source or name} needs {name} {wanted} or newer, and {got}: "
        f"pip install '{name}>={wanted}'"
    )


def _numbers(text: str) -> tuple[int, ...]:
    parts = text.split(".")[:3]
    return tuple(int(part) if part.isdecimal() else 0 for part in parts)
