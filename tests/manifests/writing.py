"""The guide as a folder that can be served: its examples as it prints them, and a manifest."""

import json
import shutil
from pathlib import Path
from typing import Any, Final

__all__ = ("CLIENT", "KEY", "declare", "make_guide", "parameter", "write_manifest")

_HERE: Final = Path(__file__).parent / "guide"

CLIENT: Final = (_HERE / "client.txt").read_text("utf-8")
"""The guide's client, as it prints it."""

KEY: Final = "sk-1234567890-the-key"
"""What the stand-in for the language model takes for a good key."""

_HEAD: Final = """\
from helpers import SpecificError, open_connection, process, process_data, process_item
from helpers import process_line
"""


def declare(name: str, *parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return the declaration of a streaming function."""
    return {"name": name, "streaming": True, "parameters": list(parameters), **more}


def parameter(name: str, kind: str, **more: Any) -> dict[str, Any]:
    """Return the declaration of an input."""
    return {"name": name, "type": kind, **more}


def write_manifest(folder: Path, code: str, *functions: dict[str, Any], **more: Any) -> Path:
    """Write a manifest and its code; return the folder."""
    (folder / "src").mkdir(parents=True, exist_ok=True)
    (folder / "src" / "main.py").write_text(code, "utf-8")
    manifest = {"schema_version": "1.0", "id": "a-prefab", "functions": functions, **more}
    (folder / "prefab-manifest.json").write_text(json.dumps(manifest), "utf-8")
    return folder


def make_guide(folder: Path) -> Path:
    """Write the guide's examples with a manifest for them; return the folder."""
    items = parameter("items", "array")
    write_manifest(
        folder,
        _HEAD + (_HERE / "examples.txt").read_text("utf-8"),
        declare("my_stream_function", parameter("param", "string")),
        declare("batch_process", items),
        declare(
            "chat_stream",
            parameter("messages", "array"),
            parameter("model", "string", required=False, default="gpt-4o-mini"),
            secrets=[{"name": "OPENAI_API_KEY", "description": "the key", "required": True}],
        ),
        declare("process_large_file", parameter("filepath", "string")),
        declare("safe_stream", parameter("param", "string")),
        declare("stream_with_resources"),
        declare("controlled_stream", items),
        declare("batch_yield", items, parameter("batch_size", "integer", required=False)),
        declare("buffered_stream"),
    )
    shutil.copy(_HERE / "helpers.py", folder / "src" / "helpers.py")
    shutil.copy(_HERE / "fake_openai.py", folder / "src" / "openai.py")
    return folder
