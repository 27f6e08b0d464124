"""Writes docs/settings.md and docs/commands.md: `.venv/bin/python docs/generate.py`.

They are made from the table of settings and the parser of the command line. A test compares the
pages with what this makes, so that neither can change alone.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import get_type_hints

from runcast._cli import make_parser
from runcast._cli.exits import EXIT_CODES
from runcast._settings import Settings

DOCS = Path(__file__).parent

_BYTES = ("_bytes", "_bytes_per_run")

HEAD = """\
# Settings

Every setting has a default that suits most servers. Names that end in `_s` are seconds, and
names that end in `_bytes` are bytes.

A setting comes from its default, from a TOML file, or from the environment. The environment
wins over the file, and the file wins over the default. In the environment, separate the items
of a list by commas.

```toml
heartbeat_s = 10
threads = 16
```

```bash
runcast serve --settings runcast.toml
RUNCAST_THREADS=16 runcast serve
```

In Python: `runcast.open_hub(settings=runcast.Settings.load(threads=16))`.

The server does not start with an unknown name, a value of the wrong type, or a value below the
least one. In the environment, a name is refused only if it looks like a misspelt setting,
because other programs may use variables that begin with `RUNCAST_`, too.

| setting | default | least | meaning |
|---|---|---|---|
"""

FOOT = """
The access token is not a setting, so that no file of settings contains it. Use `RUNCAST_TOKEN` or
`--token`. `RUNCAST_STORE` is the store of `runcast.run(…)` and `runcast serve` if you give no
other one, for example `sqlite:///runs.db`.
"""


def settings_page() -> str:
    """Return the text of docs/settings.md."""
    types = get_type_hints(Settings)
    rows = []
    for item in dataclasses.fields(Settings):
        least = item.metadata["least"]
        bound = "" if least is None or types[item.name] is bool else _least(item.name, least)
        rows.append(
            f"| `{item.name}` | {_shown(item.name, item.default)} | {bound} "
            f"| {item.metadata['about']} |\n"
        )
    return HEAD + "".join(rows) + FOOT


def _least(name: str, value: float) -> str:
    is_large = name.endswith(_BYTES) and value >= 1024
    return f"{value:.0f}{_in_units(int(value))}" if is_large else f"{value:g}"


def _in_units(value: int) -> str:
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if value >= 1024**power:
            return f" ({value / 1024**power:g} {unit})"
    return ""


def _shown(name: str, value: object) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if name.endswith(_BYTES) and isinstance(value, int):
        return f"`{value}`{_in_units(value)}"
    if name.endswith("_s") and isinstance(value, float) and value >= 3600:
        length, unit = (86400, "day") if value >= 86400 else (3600, "hour")
        number = value / length
        return f"`{value:.0f}` ({number:g} {unit}{'' if number == 1 else 's'})"
    if isinstance(value, str | tuple):
        return f"`{value}`" if value else ""
    return f"`{value:g}`"


COMMANDS_HEAD = """\
# Commands

| exit code | meaning |
|---|---|
"""


def commands_page() -> str:
    """Return the text of docs/commands.md."""
    (commands,) = (
        action
        for action in make_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    codes = "".join(f"| {code} | {said} |\n" for code, said in EXIT_CODES.items())
    codes = codes.replace("`| head`", "`\\| head`")
    return (
        COMMANDS_HEAD
        + codes
        + "".join(_command(name, parser) for name, parser in commands.choices.items())
    )


def _command(name: str, parser: argparse.ArgumentParser) -> str:
    rows = [
        f"| {_usage(action)} | {_help(action, parser)} |\n"
        for action in parser._actions
        if not isinstance(action, argparse._HelpAction)
    ]
    head = f"\n## runcast {name}\n\n{parser.description}\n\n| | |\n|---|---|\n"
    return head + "".join(rows)


def _usage(action: argparse.Action) -> str:
    value = action.metavar or (
        "\\|".join(action.choices) if action.choices else action.dest.upper()
    )
    value = f"[{value}]" if action.nargs == "?" else value
    if not action.option_strings:
        return f"`{value}`"
    return "`" + action.option_strings[-1] + ("" if action.nargs == 0 else f" {value}") + "`"


def _help(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    shown = parser._get_formatter()._expand_help(action) if action.help else ""
    return shown.replace("|", "\\|")


PAGES = {DOCS / "settings.md": settings_page, DOCS / "commands.md": commands_page}

if __name__ == "__main__":
    for path, make in PAGES.items():
        path.write_text(make(), "utf-8")
