"""What schemathesis is told of the API that its description cannot say.

A key that comes with another body is refused (R-13.13), and a `run_id` that is free again may be
taken again. The program makes keys, ids and bodies apart from each other, so each is made unlike
all others; `test_idempotency` and `test_invoking` repeat them. Files and targets of
deliveries that are named are made up, so good requests name none; `test_files` names real ones.
"""

import itertools
import re
from typing import Any

import schemathesis
from schemathesis.core.parameters import ParameterLocation

__all__ = (
    "follow_runs_or_a_thread",
    "leave_out_what_is_made_up",
    "make_keys_differ",
    "resume_with_a_key_only",
)

_numbers = itertools.count()


@schemathesis.hook("before_call")
def make_keys_differ(context: Any, case: Any, kwargs: Any) -> None:
    """Add a number to the key of an invocation."""
    headers = case.headers or {}
    for name in [each for each in headers if each.lower() == "idempotency-key"]:
        key = str(headers[name])
        if re.fullmatch(r'"([ !#-\[\]-~]|\\["\\]){1,240}"', key):
            headers[name] = f'{key[:-1]}{next(_numbers)}"'
        elif re.fullmatch(r"[!#-+\--:<-\[\]-~]{1,240}", key):
            headers[name] = f"{key}{next(_numbers)}"


@schemathesis.hook("before_call")
def resume_with_a_key_only(context: Any, case: Any, kwargs: Any) -> None:
    """Have an invocation resume only with a key (R-13.13), which a description cannot demand."""
    headers = case.headers or {}
    if "/invoke/" in case.path and not any(each.lower() == "idempotency-key" for each in headers):
        for name in [each for each in headers if each.lower() == "last-event-id"]:
            del headers[name]


@schemathesis.hook("before_call")
def follow_runs_or_a_thread(context: Any, case: Any, kwargs: Any) -> None:
    """Name either runs or labels (R-7.7), which a description of parameters cannot demand."""
    if case.path != "/events":
        return
    case.query = query = dict(case.query or {})
    if "run" in query:
        for name in ("label", "live"):
            query.pop(name, None)
    elif "label" not in query:
        query["label"] = ["thread=x"]


@schemathesis.hook("before_call")
def leave_out_what_is_made_up(context: Any, case: Any, kwargs: Any) -> None:
    """Take files and targets out of a body that is good, and make its `run_id` its own."""
    part = case.meta.components.get(ParameterLocation.BODY) if case.meta else None
    if part is None or not part.mode.is_positive or not isinstance(case.body, dict):
        return
    for name in ("files", "workspace", "deliver"):
        case.body.pop(name, None)
    if case.body.get("run_id"):
        case.body["run_id"] = f"{case.body['run_id'][:100]}.{next(_numbers)}"
