"""The request that begins a run of a function."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self
from urllib.parse import quote

from runcast.client.checks import checked_mapping, checked_names, checked_text
from runcast.errors import InvalidValue

__all__ = ("Invocation",)


class Invocation(NamedTuple):
    """A request that begins a run."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]

    @classmethod
    def of(
        cls,
        function: str,
        inputs: Mapping[str, Any] | None,
        *,
        run_id: str,
        key: str,
        replace: bool,
        deliver: Sequence[str],
    ) -> Self:
        """Return the request; see `AsyncClient.invoke`. Raises `InvalidValue`."""
        checked_text("function", function, "plan_trip")
        body: dict[str, Any] = {"inputs": checked_mapping("inputs", inputs, '{"to": "Rome"}')}
        if deliver:
            body["deliver"] = checked_names("deliver", deliver)
        if replace and not run_id:
            raise InvalidValue("expected the run_id of the run to begin again with replace")
        headers = {"prefer": "respond-async"}
        if run_id:
            # No key: the server refuses both. A lost answer is not sent again, but reported.
            body |= {"run_id": run_id, "replace": replace}
            if key:
                raise InvalidValue("expected either a run_id or a key, which makes a run_id")
        else:
            headers["idempotency-key"] = f'"{key or uuid.uuid4().hex}"'
        return cls(f"/invoke/{quote(function, safe='')}", body, headers)

    def add(self, **fields: Mapping[str, Any] | None) -> None:
        """Add fields that are given. Raises `InvalidValue`."""
        for name, given in fields.items():
            if given:
                self.body[name] = checked_mapping(name.strip("_"), given, '{"name": …}')
