"""What models use: added up, priced from a table, and kept within a function's budget."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast.errors import InvalidValue
from runcast.events.prices import Price, Prices
from runcast.stores.base import Store
from tests.opening import WAIT_S, events_of
from tests.runs import metered

PRICES = """
currency = "USD"
[models."big"]
input = 2
output = 10
cached = 1
[models."small-*"]
input = 0.5
output = 1
"""


@pytest.fixture
def prices(tmp_path: Path) -> str:
    file = tmp_path / "prices.toml"
    file.write_text(PRICES)
    return str(file)


async def test_usage_is_added_up_for_each_model_and_agent(store: Store) -> None:
    def work() -> None:
        runcast.usage("m", 10, 5, cached_tokens=4, reasoning_tokens=2, cost=0.5, currency="EUR")
        runcast.usage("m", 1, 1, agent="ann")
        runcast.usage("m", 20, 5, cost=0.25, currency="EUR")

    async with runcast.open_hub(store) as hub:
        run = await hub.start(work)
        assert (await run.wait()).type == "done"
        _, snapshot = await hub.present(run.run_id)

    first, second = snapshot.usage
    assert (first.model, first.calls, first.input_tokens, first.output_tokens) == ("m", 2, 30, 10)
    assert (first.cached_tokens, first.reasoning_tokens) == (4, 2)
    assert (first.cost, first.currency, first.unpriced) == (0.75, "EUR", 0)
    assert (second.agent, second.calls, second.unpriced) == ("ann", 1, 1)


async def test_costs_come_from_the_table_of_prices_unless_they_are_given(prices: str) -> None:
    def work() -> None:
        runcast.usage("big", 1_000_000, 100_000, cached_tokens=500_000)
        runcast.usage("small-2", 2_000_000, 0)
        runcast.usage("unknown", 5, 5)
        runcast.emit("usage", {"model": "big", "input_tokens": 1_000_000, "cost": 9})

    async with runcast.open_hub(settings=runcast.Settings(prices_file=prices)) as hub:
        run = await hub.start(work)
        events = [e for e in await events_of(hub, run.run_id) if e.type == "usage"]

    assert [event.data.get("cost") for event in events] == [2.5, 1, None, 9]
    assert [event.data.get("currency") for event in events] == ["USD", "USD", None, None]


def spends() -> None:
    for number in range(1000):
        runcast.usage("big", 40, 20)
        runcast.log(f"call {number}")
        time.sleep(0)


def yields() -> Any:
    for _ in range(1000):
        yield {"type": "usage", "data": {"model": "big", "input_tokens": 40, "output_tokens": 20}}


async def awaits() -> None:
    for number in range(1000):
        runcast.usage("big", 40, 20)
        await asyncio.sleep(0)
        runcast.log(f"call {number}")
    await asyncio.Event().wait()


async def swallows() -> str:
    try:
        await awaits()
    except asyncio.CancelledError:
        runcast.log("passed over")
    return "done all the same"


@pytest.mark.parametrize("call", [spends, yields, awaits, swallows])
async def test_a_run_that_uses_more_tokens_than_it_may_fails(call: Callable[[], Any]) -> None:
    limited = runcast.function(max_tokens=100)(call)
    async with runcast.open_hub() as hub:
        run = await hub.start(limited)
        events = await asyncio.wait_for(events_of(hub, run.run_id), WAIT_S)

    assert (events[-1].type, events[-1].data["code"]) == ("failed", "budget_exceeded")
    assert events[-1].data["message"] == (
        "the run has used 120 tokens, more than the 100 that its function allows (max_tokens)"
    )
    calls = [event.type for event in events].count("usage")
    assert calls == 2 or (calls < 50 and call in (awaits, swallows))  # cancelled at some await


async def test_a_function_cleans_up_once_it_has_used_too_much() -> None:
    @runcast.function(max_tokens=1)
    def cleans() -> None:
        try:
            runcast.usage("m", 2)
        finally:
            runcast.log("one")
            runcast.log("two")

    async with runcast.open_hub() as hub:
        run = await hub.start(cleans)
        events = await asyncio.wait_for(events_of(hub, run.run_id), WAIT_S)

    assert [event.type for event in events] == ["started", "usage", "log", "log", "failed"]


async def test_a_process_that_uses_more_than_it_may_is_ended() -> None:
    async with runcast.open_hub() as hub:
        run = await hub.start(metered.spends_apart)
        events = await asyncio.wait_for(events_of(hub, run.run_id), 6 * WAIT_S)

    assert (events[-1].type, events[-1].data.get("code")) == ("failed", "budget_exceeded")


async def test_a_run_that_costs_more_than_it_may_fails(prices: str) -> None:
    @runcast.function(max_cost=3)
    def costly() -> None:
        runcast.usage("big", 1_000_000)
        runcast.usage("other", 7, cost=100, currency="JPY")  # cannot be added to dollars
        runcast.usage("big", 1_000_000)
        runcast.log("not reached")

    async with runcast.open_hub(settings=runcast.Settings(prices_file=prices)) as hub:
        run = await hub.start(costly)
        events = await asyncio.wait_for(events_of(hub, run.run_id), WAIT_S)

    assert [event.type for event in events] == ["started", *["usage"] * 3, "failed"]
    assert events[-1].data["message"] == (
        "the run has cost 4 USD, more than the 3 USD that its function allows (max_cost)"
    )


async def test_a_model_without_a_price_is_named_where_a_cost_is_bounded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @runcast.function(max_cost=1)
    def free() -> None:
        runcast.usage("no-price", 5)
        runcast.usage("no-price", 5)

    async with runcast.open_hub() as hub:
        assert (await (await hub.start(free)).wait()).type == "done"

    (warning,) = [each for each in caplog.messages if "max_cost" in each]
    assert "'no-price', which has no price" in warning


def test_the_longest_name_that_fits_counts() -> None:
    prices = Prices({"a*": Price(1, 1, 1), "ab*": Price(2, 2, 2), "abc": Price(3, 3, 3)})

    found = [prices.cost_of(name, 1_000_000, 0) for name in ("abc", "abd", "ax", "b")]

    assert found == [3, 2, 1, None]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("models = 1", "each"),
        ("[models.a]\ninput = 1", "numbers input, output"),
        ("[models.a]\ninput = -1\noutput = 1", "numbers from 0"),
        ("[models.a]\ninput = 'x'\noutput = 1", "numbers from 0"),
        ("[prices]", "currency and models"),
        ("currency = 1", "short text"),
        ("not toml", "to be TOML"),
    ],
)
async def test_a_table_of_prices_that_cannot_be_meant_is_refused(
    tmp_path: Path, text: str, says: str
) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(text)

    with pytest.raises(InvalidValue, match=says):
        async with runcast.open_hub(settings=runcast.Settings(prices_file=str(file))):
            pass


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: runcast.usage("m", -1), "input_tokens"),
        (lambda: runcast.usage("m", 1.5), "input_tokens"),  # type: ignore[arg-type]
        (lambda: runcast.usage("m", cost=float("nan")), "cost"),
        (lambda: runcast.usage(None), "a text"),  # type: ignore[arg-type]
    ],
)
async def test_usage_that_cannot_be_counted_is_refused(call: Callable[[], None], says: str) -> None:
    def work() -> None:
        with pytest.raises(InvalidValue, match=says):
            call()

    async with runcast.open_hub() as hub:
        assert (await (await hub.start(work)).wait()).type == "done"


@pytest.mark.parametrize("given", [{"max_tokens": -1}, {"max_tokens": True}, {"max_cost": "1"}])
def test_a_budget_that_is_no_number_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match="0 or more"):
        runcast.function(**given)(spends)
