"""A decorated function is to other tools what a function is that `functools.wraps` has made."""

import abc
import asyncio
import concurrent.futures
import contextlib
import copy
import functools
import inspect
import multiprocessing
import pickle
import typing
import unittest.mock
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import runcast
from runcast._functions.decorator import as_function
from runcast._functions.function import Isolation
from runcast._settings import Settings
from runcast.errors import InvalidValue
from tests.opening import events_of

SETTINGS = Settings(warm_processes=0, shutdown_grace_s=0.0)


def wrapping(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate as everybody does."""

    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return inner


def plain(x: int = 1, *, y: int = 0) -> int:
    """Double."""
    return x * 2 + y


plain.custom = "custom"  # type: ignore[attr-defined]


@runcast.function
def decorated(x: int = 1, *, y: int = 0) -> int:
    """Double."""
    return x * 2 + y


@runcast.function
@functools.lru_cache
def cached(x: int) -> int:
    return x


class Desk:
    """Methods of each kind."""

    def __init__(self, number: int = 7) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Desk) and self.number == other.number

    def __hash__(self) -> int:
        return self.number

    @runcast.function
    def open(self, hour: int) -> int:
        return self.number + hour

    @classmethod
    @runcast.function(max_runs=3)
    def of(cls, number: int) -> list[Any]:
        return [cls.__name__, number]

    @staticmethod
    @runcast.function
    def add(a: int, b: int) -> int:
        return a + b

    @runcast.function
    @staticmethod
    def sub(a: int, b: int) -> int:
        return a - b

    @runcast.function(isolation="process")
    def apart(self) -> int:
        return self.number

    @classmethod
    @runcast.function(isolation="process")
    def apart_of(cls, number: int) -> list[Any]:
        return [cls.__name__, number]

    @staticmethod
    @runcast.function(isolation="process")
    def apart_add(a: int, b: int) -> int:
        return a + b


class SmallDesk(Desk):
    def open(self, hour: int) -> Any:  # type: ignore[override]
        return super().open(hour) * 100


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_is_pickled_by_its_name(protocol: int) -> None:
    assert pickle.loads(pickle.dumps(decorated, protocol)) is decorated
    assert pickle.loads(pickle.dumps([decorated, cached], protocol))[1] is cached
    again = pickle.loads(pickle.dumps(Desk(8).open, protocol))
    assert again(1) == 9
    assert pickle.loads(pickle.dumps(Desk.of, protocol))(1) == ["Desk", 1]
    assert pickle.loads(pickle.dumps(functools.partial(decorated, 3), protocol))() == 6


def test_what_has_no_name_to_be_found_by_is_not_pickled() -> None:
    def local() -> None: ...

    for function in (wrapping(local), runcast.function(local), runcast.function(plain)):
        with pytest.raises((pickle.PicklingError, AttributeError)):
            pickle.dumps(function)


def test_copies_of_it_are_itself() -> None:
    assert copy.copy(decorated) is decorated
    assert copy.deepcopy(decorated) is decorated
    assert copy.deepcopy({"f": [decorated]})["f"][0] is decorated
    desk = Desk(8)
    assert copy.deepcopy(desk.open)(1) == 9


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_pool_calls_it(method: str) -> None:
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        assert list(pool.map(decorated, [1, 2])) == [2, 4]
        assert pool.submit(Desk(8).open, 1).result() == 9


def test_inspect_sees_what_it_sees_of_a_wrapped_function() -> None:
    wrapped = wrapping(plain)
    function = runcast.function(plain)
    assert inspect.signature(function) == inspect.signature(wrapped)
    assert inspect.signature(function, follow_wrapped=True) == inspect.signature(plain)
    assert inspect.unwrap(function) is plain
    assert inspect.getsource(function) == inspect.getsource(plain)
    assert inspect.getdoc(function) == inspect.getdoc(wrapped)
    assert inspect.getmodule(function) is inspect.getmodule(wrapped)
    assert inspect.get_annotations(function) == inspect.get_annotations(wrapped)
    assert typing.get_type_hints(function) == typing.get_type_hints(wrapped)
    for name in ("__name__", "__qualname__", "__module__", "__doc__", "__wrapped__", "custom"):
        assert getattr(function, name) == getattr(wrapped, name)
    with pytest.raises(AttributeError, match="nothing"):
        function.nothing  # type: ignore[attr-defined]  # noqa: B018
    assert list(inspect.signature(functools.partial(function, 1)).parameters) == ["y"]


def test_what_others_have_put_on_a_function_is_still_there() -> None:
    cached.cache_clear()  # type: ignore[attr-defined]
    assert [cached(1), cached(1)] == [1, 1]
    assert cached.cache_info().hits == 1  # type: ignore[attr-defined]
    decorated.mark = 1  # type: ignore[attr-defined]
    assert decorated.mark == 1  # type: ignore[attr-defined]

    class Base(abc.ABC):
        @runcast.function
        @abc.abstractmethod
        def work(self) -> None: ...

    with pytest.raises(TypeError, match="abstract"):
        Base()  # type: ignore[abstract]


def test_other_decorators_work_on_top() -> None:
    @functools.cache
    @runcast.function
    def counted(x: int) -> int:
        calls.append(x)
        return x

    calls: list[int] = []
    assert [counted(1), counted(1)] == [1, 1]
    assert calls == [1]

    @contextlib.contextmanager
    @runcast.function
    def managed() -> Iterator[int]:
        yield 1

    with managed() as value:
        assert value == 1
    assert wrapping(decorated)(3) == 6
    with unittest.mock.patch(f"{__name__}.decorated", autospec=True) as mocked:
        mocked(1)


# --- methods --------------------------------------------------------------------------------------


def test_methods_are_methods() -> None:
    desk = Desk(8)
    assert desk.open(1) == 9
    assert Desk.open(desk, 1) == 9
    assert SmallDesk(8).open(1) == 900
    of: Any = Desk.of  # what mypy makes of other decorators below these is not what happens
    of_small: Any = SmallDesk.of
    add: Any = desk.add
    sub: Any = desk.sub
    assert (of(1), of_small(1)) == (["Desk", 1], ["SmallDesk", 1])
    assert (Desk.add(1, 2), add(1, 2), Desk.sub(3, 1), sub(3, 1)) == (3, 3, 2, 2)
    assert desk.open == desk.open
    assert desk.open != Desk(9).open
    assert desk.open != decorated
    assert len({desk.open, desk.open, Desk(9).open}) == 2
    assert desk.open.__self__ is desk  # type: ignore[attr-defined]
    assert list(inspect.signature(desk.open).parameters) == ["hour"]
    assert list(desk.open.schema["properties"]) == ["hour"]


async def test_methods_are_started() -> None:
    desk = Desk(8)
    async with runcast.open_hub(settings=SETTINGS) as hub:
        for method, inputs, result in (
            (desk.open, {"hour": 1}, 9),
            (Desk.of, {"number": 1}, ["Desk", 1]),
            (SmallDesk.of, {"number": 1}, ["SmallDesk", 1]),
            (desk.add, {"a": 1, "b": 2}, 3),
            (Desk.sub, {"a": 1, "b": 2}, -1),
            (Desk.apart_of, {"number": 1}, ["Desk", 1]),
            (Desk.apart_add, {"a": 1, "b": 2}, 3),
        ):
            run = await hub.start(method, inputs)
            async with asyncio.timeout(20):
                assert await run.result() == result
        with pytest.raises(InvalidValue, match="method"):
            await hub.start(desk.apart)


def test_a_class_method_is_decorated_before_it_becomes_one() -> None:
    with pytest.raises(InvalidValue, match="@classmethod above"):

        class _Wrong:
            @runcast.function
            @classmethod
            def of(cls) -> None: ...


def test_what_leads_to_a_function_has_its_options() -> None:
    assert as_function(decorated) is decorated
    for call in (Desk.of, Desk().of, functools.partial(Desk.of, number=2)):
        assert as_function(call).max_runs == 3
        assert as_function(call).name == "of"
    assert as_function(functools.partial(decorated, x=4)).name == "decorated"
    with pytest.raises(InvalidValue, match="partial"):
        as_function(functools.partial(Desk.apart_add, a=1))


# --- what hides a generator -----------------------------------------------------------------------


def words(n: int = 2) -> Iterator[str]:
    for number in range(n):
        yield f"{number} "


async def words_async(n: int = 2) -> AsyncIterator[str]:
    for number in range(n):
        yield f"{number} "


def test_a_wrapper_does_not_hide_that_a_function_streams() -> None:
    assert runcast.function(wrapping(words)).is_streaming
    assert runcast.function(wrapping(words_async)).is_streaming
    assert runcast.function(wrapping(wrapping(words))).is_streaming
    assert runcast.function(functools.partial(words, n=1)).is_streaming
    assert runcast.function(runcast.function(words)).is_streaming
    assert not runcast.function(wrapping(plain)).is_streaming
    assert [
        runcast.function(call).is_certain
        for call in (words, words_async, wrapping(words), plain, wrapping(plain))
    ] == [True, True, False, False, False]


async def words_later() -> AsyncIterator[str]:
    return words_async()


hidden = wrapping(words)
hidden_async = wrapping(words_async)


@pytest.mark.parametrize("isolation", ["thread", "process"])
@pytest.mark.parametrize("call", ["words", "words_async", "hidden", "hidden_async", "words_later"])
async def test_it_is_known_at_run_time_whether_a_function_streams(
    call: str, isolation: Isolation
) -> None:
    # Its process finds it by its name in this module.
    function: Any = runcast.Function(globals()[call], isolation=isolation)
    function.attribute = call
    async with runcast.open_hub(settings=SETTINGS) as hub:
        run = await hub.start(function)
        async with asyncio.timeout(20):
            assert await run.streams() is True
        events = await events_of(hub, run.run_id)
        assert [event.type for event in events] == ["started", "content", "content", "done"]


@pytest.mark.parametrize("isolation", ["thread", "process"])
async def test_what_does_not_stream_is_known_at_the_end(isolation: Isolation) -> None:
    async with runcast.open_hub(settings=SETTINGS) as hub:
        run = await hub.start(runcast.Function(plain, isolation=isolation))
        async with asyncio.timeout(20):
            assert await run.streams() is False
        assert run.has_ended
