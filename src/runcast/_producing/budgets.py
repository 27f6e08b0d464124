"""Usage of models: fill in prices, and enforce the budgets of runs."""

import threading
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from runcast._logs import get_logger
from runcast.errors import InvalidValue
from runcast.events.outcome import Outcome, failed
from runcast.events.prices import NO_BUDGET, NO_PRICES, Budget, Prices
from runcast.events.snapshot import Usage
from runcast.events.vocabulary import as_number, pick

__all__ = ("Meter", "load_prices")

_log: Final = get_logger("runcast.runs")


def load_prices(file: str) -> Prices:
    """Return the prices of a TOML file; no prices if `file` is "". Raises `InvalidValue`."""
    if not file:
        return NO_PRICES
    try:
        table = tomllib.loads(Path(file).read_text("utf-8"))
    except OSError as error:
        raise InvalidValue(f"the prices_file cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidValue(f"expected the prices_file to be TOML: {error!s:.200}") from None
    return Prices.parse(table)


class Meter:
    """Counts the usage of one run. Call from any thread."""

    def __init__(self, prices: Prices = NO_PRICES, budget: Budget = NO_BUDGET) -> None:
        self._prices = prices
        self._budget = budget
        self._lock = threading.Lock()
        self._tokens = 0
        self._cost = 0.0
        self._has_warned = False
        self.over: Outcome | None = None
        """The outcome of the run, once it has exceeded its budget."""

    def resume(self, before: Iterable[Usage]) -> None:
        """Count the usage of earlier attempts of the run."""
        for used in before:
            self._tokens += used.input_tokens + used.output_tokens
            if self._is_of_budget(used.currency):
                self._cost += used.cost or 0.0

    def price(self, data: object) -> object:
        """Return the data of a `usage` event with its cost, if that is missing and known."""
        if not isinstance(data, dict) or data.get("cost") is not None:
            return data
        model = data.get("model")
        counts = [_count(data, f"{kind}_tokens") for kind in ("input", "output", "cached")]
        cost = self._prices.cost_of(model, *counts) if isinstance(model, str) else None
        if cost is None:
            return data
        priced: dict[str, Any] = {**data, "cost": cost}
        if self._prices.currency:
            priced["currency"] = self._prices.currency
        return priced

    def count(self, data: object, run_id: str) -> bool:
        """Count a `usage` event; return whether the run has now exceeded its budget."""
        budget, cost = self._budget, as_number(pick(data, "cost"))
        with self._lock:
            self._tokens += _count(data, "input_tokens") + _count(data, "output_tokens")
            if cost is not None and cost > 0 and self._is_of_budget(pick(data, "currency")):
                self._cost += cost
            elif cost is None and budget.max_cost and not self._has_warned:
                self._has_warned = True
                _log.warning(
                    "run %s: max_cost cannot be kept for the model %r, which has no price; give "
                    "cost= to runcast.usage(), or a price in the prices_file",
                    run_id,
                    pick(data, "model"),
                )
            if self.over is None:
                self.over = self._judge()
            return self.over is not None

    def _is_of_budget(self, currency: object) -> bool:
        """Return whether costs of a currency count; costs in another currency cannot be added."""
        return not currency or not self._prices.currency or currency == self._prices.currency

    def _judge(self) -> Outcome | None:
        budget = self._budget
        if budget.max_tokens and self._tokens > budget.max_tokens:
            used = f"{self._tokens} tokens, more than the {budget.max_tokens} that its function "
            return failed(f"the run has used {used}allows (max_tokens)", "budget_exceeded")
        if budget.max_cost and self._cost > budget.max_cost:
            money = f" {self._prices.currency}".rstrip()
            used = f"{self._cost:g}{money}, more than the {budget.max_cost:g}{money} that its "
            return failed(f"the run has cost {used}function allows (max_cost)", "budget_exceeded")
        return None


def _count(data: object, name: str) -> int:
    number = as_number(pick(data, name))
    return int(number) if number is not None and number > 0 else 0
