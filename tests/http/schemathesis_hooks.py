"""What schemathesis is told of the API that its description cannot say.

A key that comes with another body is refused (R-13.13). The program makes keys and bodies apart
from each other, so each key that is one is made unlike all others; `test_idempotency` repeats them.
Files that are named are made up, so good requests name none; `tests/files` names real ones.
"""

import itertools
import re
from typing import Any

import schemathesis
from schemathesis.core.parameters import ParameterLocation

__all__ = ("leave_out_files", "make_keys_differ")

_numbers = itertools.count()


@schemathesis.hook("before_call")
def make_keys_differ(context: Any, case: Any, kwargs: Any) -> None:
    """Add a number to the key of an invocation."""
    headers = case.headers or {}
    for name in [each for each in headers if each.lower() == "idempotency-key"]:
        key = str(headers[name])
        if re.fullmatch(r'"([ !#-\[\]-~]|\\["\\]){1,200}"', key):
            headers[name] = f'{key[:-1]}{next(_numbers)}"'
        elif re.fullmatch(r"[!#-+\--:<-\[\]-~]{1,200}", key):
            headers[name] = f"{key}{next(_numbers)}"


@schemathesis.hook("before_call")
def leave_out_files(context: Any, case: Any, kwargs: Any) -> None:
    """Take the files out of a body that is good."""
    part = case.meta.components.get(ParameterLocation.BODY) if case.meta else None
    if part is not None and part.mode.is_positive and isinstance(case.body, dict):
        for name in ("files", "workspace"):
            case.body.pop(name, None)
