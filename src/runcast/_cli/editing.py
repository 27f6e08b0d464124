"""Edit the arguments that a question proposes: in an editor, or field by field."""

import json
import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from runcast._cli.texts import plain
from runcast.errors import InvalidValue

__all__ = ("edited_args", "parse_json")


def edited_args(args: Any) -> Any:
    """Return the proposed arguments after the person at the terminal has changed them.

    If VISUAL or EDITOR is set, the editor opens the arguments as JSON. Otherwise each field is
    asked for, and an empty line keeps the proposed value.

    Raises:
        InvalidValue: the editor changed nothing, or the result is not JSON. Nothing was sent. A
            result that is not JSON is kept in the editor's file.
        EOFError, KeyboardInterrupt: the person left.
    """
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if editor:
        return _in_editor(editor, args)
    if isinstance(args, dict) and args:
        return {name: _field(name, value) for name, value in args.items()}
    return _field("args", args)


def parse_json(text: str, what: str = "args") -> Any:
    """Return the value of JSON; an error calls it `what`. Raises `InvalidValue`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidValue(f"expected {what} as JSON: {error}") from None


def _field(name: str, value: Any) -> Any:
    """Ask for one value. If the proposed value is a string, the line is a string; else JSON."""
    proposed = json.dumps(value, ensure_ascii=False)
    while True:
        line = input(f"  {plain(name)} [{plain(proposed)}]: ")
        if not line:
            return value
        if isinstance(value, str) and not line.startswith('"'):
            return line
        try:
            return parse_json(line)
        except InvalidValue as error:
            print(f"{error.message}; an empty line keeps {plain(proposed)}")


def _in_editor(editor: str, args: Any) -> Any:
    handle, name = tempfile.mkstemp(prefix="runcast-", suffix=".json")
    path = Path(name)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(args, file, ensure_ascii=False, indent=2)
        file.write("\n")
    try:
        code = subprocess.call([*shlex.split(editor), name])
    except OSError as error:
        path.unlink()
        raise InvalidValue(f"cannot start the editor {editor!r}: {error.strerror}") from None
    if code:
        path.unlink()
        raise InvalidValue(f"the editor ended with code {code}; nothing was sent")
    try:
        changed = parse_json(path.read_text("utf-8"))
    except (InvalidValue, UnicodeDecodeError) as error:
        raise InvalidValue(f"{error}; nothing was sent, what you wrote is in {name}") from None
    path.unlink()
    if changed == args:
        # Leaving an editor is not an approval. To approve unchanged arguments, answer yes.
        raise InvalidValue(
            "nothing was changed, so nothing was sent; say yes to accept as proposed"
        )
    return changed
