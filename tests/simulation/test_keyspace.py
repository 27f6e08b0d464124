"""Below the real Redis store, the simulated server keeps the contract as a real one does."""

from typing import Any

import pytest

from runcast._clock import Clock
from runcast.stores.base import Store
from runcast.stores.redis.plain import words_of
from runcast.stores.redis.store import RedisStore
from runcast.testing import FakeClock, StoreCheck, contract_checks
from tests.simulation.keyspace import Keyspace


class _Direct:
    """A connection on which nothing is lost and nothing takes time."""

    is_loud = False

    def __init__(self, data: "_Data") -> None:
        self._data = data
        self._heard: Any = None

    async def open(self) -> None: ...

    async def close(self) -> None:
        self._data.listeners.pop(self._heard, None)

    async def call(self, name: str, key: str, *words: Any) -> Any:
        return self._data.keys.execute(name, key, *words)

    async def call_all(self, commands: Any) -> list[Any]:
        return [self._data.keys.execute(*each) for each in commands]

    async def run(self, script: str, *words: Any) -> Any:
        return self._data.keys.run(script, *words)

    async def commit(self, words: Any, version: bytes, steps: Any) -> list[Any]:
        answers = []
        for appends, changes in steps:
            rest = [word for change in changes for word in change.words]
            more = (len(appends), *words_of(appends, "", version), *rest)
            answers.append(await self.run("commit", *words, 0, *more))
        return answers

    member: object = None

    async def settle(self, member: object) -> None: ...

    async def listen(self, origin: str, heard: Any, missed: Any) -> None:
        self._heard = heard
        self._data.listeners[heard] = origin.encode()


class _Data:
    def __init__(self, clock: FakeClock) -> None:
        self.listeners: dict[Any, bytes] = {}
        self.keys = Keyspace(clock.monotonic, self._publish, listening=self._listening)

    def _listening(self, origin: bytes) -> tuple[int, int]:
        return len(self.listeners), sum(each == origin for each in self.listeners.values())

    def _publish(self, message: bytes, origin: bytes) -> int:
        hearing = [each for each, who in self.listeners.items() if origin in (b"", who)]
        for heard in hearing:
            heard(message)
        return len(hearing)


class _DirectStore(RedisStore):
    def __init__(self, data: _Data, clock: Clock) -> None:
        super().__init__("redis://simulated", clock)
        self._server: Any = _Direct(data)


class _Harness:
    durable = shared = True

    def __init__(self) -> None:
        self.clock = FakeClock()
        self._data = _Data(self.clock)

    def make_store(self) -> Store:
        return _DirectStore(self._data, self.clock)


@pytest.mark.anyio
@pytest.mark.parametrize("check", contract_checks(shared=True), ids=str)
async def test_the_simulated_server_keeps_the_contract(check: StoreCheck) -> None:
    await check(_Harness())
