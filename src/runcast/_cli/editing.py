"""Edit the arguments that a question proposes, in an editor."""

import json
import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from runcast._cli.dialog import parse_json
from runcast.errors import InvalidValue

__all__ = ("edited_args", "has_editor")


def edited_args(args: Any) -> Any:
    """Return the proposed arguments after a person has changed them in $VISUAL or $EDITOR.

    Raises:
        InvalidValue: the editor changed nothing, or the result is not JSON. Nothing was sent. A
            result that is not JSON is kept in the editor's file.
    """
    return _in_editor(os.environ.get("VISUAL") or os.environ["EDITOR"], args)


def has_editor() -> bool:
    """Return whether the environment names an editor."""
    return bool(os.environ.get("VISUAL") or os.environ.get("EDITOR"))


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
            "nothing was changed, so nothing was sent; say yes to approve as proposed"
        )
    return changed
