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

HEAD = """\
# Settings

Every setting has a default that suits most. Names that end in `_s` are seconds, in `_bytes` bytes.

A setting comes from, the later the stronger: its default, a TOML file, the environment. Lists are
joined by commas in the environment.

```toml
heartbeat_s = 10
threads = 16
```

```bash
runcast serve --settings runcast.toml
RUNCAST_THREADS=16 runcast serve
```

In Python: `runcast.open_hub(settings=runcast.Settings.load(threads=16))`.

A name that does not exist, a value of the wrong type or below the least one is refused at the
start. In the environment only names that look like a misspelt setting are: others may have set
variables that begin with `RUNCAST_`, too.

| setting | default | least | |
|---|---|---|---|
"""

FOOT = """
The access token is no setting, so that no file of settings holds it: `RUNCAST_TOKEN`, or `--token`.
`RUNCAST_STORE` is the store of `runcast.run(…)` where none is given: `sqlite:///runs.db`, say.
"""


def settings_page() -> str:
    """Return the text of docs/settings.md."""
    types = get_type_hints(Settings)
    rows = []
    for item in dataclasses.fields(Settings):
        least = item.metadata["least"]
        bound = "" if least is None or types[item.name] is bool else f"{least:g}"
        rows.append(
            f"| `{item.name}` | {_shown(item.name, item.default)} | {bound} "
            f"| {item.metadata['about']} |\n"
        )
    return HEAD + "".join(rows) + FOOT


def _in_units(value: int) -> str:
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if value >= 1024**power:
            return f" ({value / 1024**power:g} {unit})"
    return ""


def _shown(name: str, value: object) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if name.endswith(("_bytes", "_bytes_per_run")) and isinstance(value, int):
        return f"`{value}`{_in_units(value)}"
    if name.endswith("_s") and isinstance(value, float) and value >= 86400:
        return f"`{value:.0f}` ({value / 86400:g} days)"
    if isinstance(value, str | tuple):
        return f"`{value}`" if value else ""
    return f"`{value:g}`"


COMMANDS_HEAD = """\
# Commands

| exit code | |
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
