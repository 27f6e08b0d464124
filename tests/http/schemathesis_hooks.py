"""What schemathesis is told of the API that its description cannot say.

A key that comes with another body is refused (R-13.13). The program makes keys and bodies apart
from each other, so each key that is one is made unlike all others; `test_idempotency` repeats them.
"""

import itertools
import re
from typing import Any

import schemathesis

__all__ = ("make_keys_differ",)

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
