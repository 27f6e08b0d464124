"""What users catch and annotate is exported from `runcast`: errors, and the types of signatures."""

import inspect
import typing
from collections.abc import Callable, Iterator

import pytest
from starlette.requests import Request
from starlette.responses import Response

import runcast
from runcast import channels, errors
from runcast._http.app import HttpApp
from runcast._http.guard.access import Authorize
from runcast.stores import base

MADE_BY_RUNCAST = {
    f"{name}.__init__"
    for name in [
        "AttachOpener",
        "AttachedRun",
        "DeliveryInThread",
        "HttpApp",
        "HubOpener",
        "Inbox",
        "LogInfo",
        "OwnedRun",
        "RemoteWriter",
        "Run",
        "RunInThread",
        "RunOpener",
        "ShownRun",
        "Writer",
    ]
}
"""Constructors that users do not call."""

NAMESPACE = {
    "AsyncClient": runcast.AsyncClient,
    "Authorize": Authorize,
    "Client": runcast.Client,
    "Embedded": object,
    "HttpApp": HttpApp,
    "Request": Request,
    "Response": Response,
}
"""What is imported for type checkers alone."""


def test_every_error_is_exported() -> None:
    assert [
        name for name in errors.__all__ if getattr(runcast, name) is not vars(errors)[name]
    ] == []


def signatures() -> Iterator[tuple[str, Callable[..., object]]]:
    """Yield every public function, and every method of the public classes, with its name."""
    for name in runcast.__all__:
        exported = getattr(runcast, name)
        if inspect.isfunction(exported):
            yield name, exported
        elif inspect.isclass(exported):
            for attribute, value in vars(exported).items():
                method = getattr(value, "fget", None) or getattr(value, "__func__", value)
                where = f"{name}.{attribute}"
                is_public = not attribute.startswith("_") or attribute == "__init__"
                if is_public and inspect.isfunction(method) and where not in MADE_BY_RUNCAST:
                    yield where, method


def classes_in(annotation: object) -> Iterator[type]:
    """Yield the classes of this project that an annotation names."""
    for part in typing.get_args(annotation):
        for each in part if isinstance(part, list) else [part]:
            yield from classes_in(each)
    for candidate in (annotation, typing.get_origin(annotation)):
        if inspect.isclass(candidate) and candidate.__module__.partition(".")[0] == "runcast":
            yield candidate


@pytest.mark.parametrize(("where", "method"), [pytest.param(*it, id=it[0]) for it in signatures()])
def test_every_type_in_a_public_signature_is_exported(
    where: str, method: Callable[..., object]
) -> None:
    exported = [getattr(runcast, name) for name in runcast.__all__]
    exported += [getattr(channels, name) for name in channels.__all__]
    if where.startswith("Store."):  # authors of a store import its contract
        exported += vars(base).values()
    hints = typing.get_type_hints(method, localns=NAMESPACE)

    named = {kind for hint in hints.values() for kind in classes_in(hint)}

    assert [kind.__name__ for kind in named if kind not in exported] == []


def test_the_check_finds_what_is_not_exported() -> None:
    def hidden(given: Callable[[list[errors.Conflict]], "HttpApp | None"]) -> None: ...

    (hint, _) = typing.get_type_hints(hidden, localns=NAMESPACE).values()

    assert set(classes_in(hint)) == {errors.Conflict, HttpApp}
