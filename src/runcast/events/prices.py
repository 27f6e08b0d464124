"""Prices of models' tokens, and budgets of runs.

The user provides the table of prices. runcast ships no prices.

    currency = "USD"
    [models."my-model"]
    input = 2.5         # for a million tokens
    output = 10
    cached = 1.25       # input tokens read from a cache; by default as `input`
    [models."other-*"]  # every model whose name has this beginning; the longest match counts
    input = 1
    output = 2

Source: ours. Prices change and depend on contracts, so no list is right for everybody.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from runcast.errors import InvalidValue
from runcast.events.vocabulary import as_number

__all__ = ("NO_BUDGET", "NO_PRICES", "Budget", "Price", "Prices", "checked_budget")

_MILLION: Final = 1_000_000

_MAX_MODELS: Final = 10_000
"""Most models of a table."""

_FORM: Final = '[models."name"] with the numbers input, output and perhaps cached'


class Price(NamedTuple):
    """The prices of a million tokens of a model."""

    input: float
    output: float
    cached: float


class Prices:
    """Prices by model. Immutable.

    Args:
        models: prices by name; a name that ends in `*` matches every name with this beginning.
        currency: the currency of all prices, as shown: `USD`.
    """

    def __init__(self, models: Mapping[str, Price], currency: str = "") -> None:
        self.currency = currency
        self._exact = {name: price for name, price in models.items() if not name.endswith("*")}
        prefixes = [(name[:-1], price) for name, price in models.items() if name.endswith("*")]
        self._prefixes = sorted(prefixes, key=lambda item: len(item[0]), reverse=True)

    @classmethod
    def parse(cls, table: Mapping[str, object]) -> "Prices":
        """Return prices from a table in the form above. Raises `InvalidValue`."""
        currency, models = table.get("currency", ""), table.get("models", {})
        if unknown := sorted(set(table) - {"currency", "models"}):
            raise InvalidValue(f"expected prices to have currency and models, got {unknown[0]!r}")
        if not isinstance(currency, str) or len(currency) > 16:
            raise InvalidValue(f"expected the currency to be a short text, got {currency!r:.80}")
        if not isinstance(models, Mapping) or len(models) > _MAX_MODELS:
            raise InvalidValue(f"expected at most {_MAX_MODELS} models, each {_FORM}")
        return cls({name: _price(name, fields) for name, fields in models.items()}, currency)

    def cost_of(
        self, model: str, input_tokens: float, output_tokens: float, cached_tokens: float = 0
    ) -> float | None:
        """Return the cost of a call; None if the table has no price for the model.

        Args:
            input_tokens: all input tokens, including cached ones.
            cached_tokens: the input tokens that were read from a cache.
        """
        price = self._exact.get(model)
        if price is None:
            found = (price for prefix, price in self._prefixes if model.startswith(prefix))
            price = next(found, None)
        if price is None:
            return None
        cached = min(cached_tokens, input_tokens)
        fresh = (input_tokens - cached) * price.input
        return (fresh + cached * price.cached + output_tokens * price.output) / _MILLION


def _price(name: object, fields: object) -> Price:
    if not isinstance(fields, Mapping) or set(fields) - {"input", "output", "cached"}:
        raise InvalidValue(f"expected {_FORM}, got {name!r:.80}: {fields!r:.80}")
    numbers = {key: as_number(value) for key, value in fields.items()}
    if any(number is None or number < 0 for number in numbers.values()):
        raise InvalidValue(f"expected the prices of {name!r:.80} to be numbers from 0")
    given = {key: float(number) for key, number in numbers.items() if number is not None}
    if not {"input", "output"} <= given.keys():
        raise InvalidValue(f"expected {_FORM}, got {name!r:.80}: {fields!r:.80}")
    return Price(given["input"], given["output"], given.get("cached", given["input"]))


NO_PRICES: Final = Prices({})
"""The default table: no model has a price."""


class Budget(NamedTuple):
    """Most tokens of a run, input and output together, and its highest cost; 0: no limit."""

    max_tokens: int = 0
    max_cost: float = 0.0


NO_BUDGET: Final = Budget()


def checked_budget(name: str, max_tokens: object, max_cost: object) -> Budget:
    """Return the budget of a function. Raises `InvalidValue`."""
    if isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 0:
        raise InvalidValue(f"expected max_tokens of {name!r} to be 0 or more: {max_tokens!r:.80}")
    cost = as_number(max_cost)
    if cost is None or cost < 0:
        raise InvalidValue(f"expected max_cost of {name!r} to be 0 or more: {max_cost!r:.80}")
    return Budget(max_tokens, float(cost))
