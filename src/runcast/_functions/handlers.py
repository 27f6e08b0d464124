"""Handlers: functions that continue a run, called with what they name among their parameters.

| parameter | `resume=` | `recover=` | |
|---|---|---|---|
| `interrupt_id`, `answer` | required | | the question that was answered, and its answer |
| `kept` | | | what the run kept |
| `inputs` | | | the inputs of the run, as JSON |
| `attempt` | | | the number of this attempt |
| `state` | | | the run's state before this attempt |
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from runcast._functions.parameters import Parameter
from runcast.errors import InvalidValue

__all__ = (
    "CONTINUED_WITH",
    "MAX_ATTEMPTS",
    "RESUMED_WITH",
    "GivenInputs",
    "check_handler",
    "check_recallable",
    "checked_attempts",
)

MAX_ATTEMPTS: Final = 3
"""How often a run continues after crashes, by default: often enough for a machine that restarts,
and seldom enough for a run that brings its process down."""

_MOST_ATTEMPTS: Final = 1_000_000

RESUMED_WITH: Final = ("interrupt_id", "answer")
"""What every handler of answers takes."""

CONTINUED_WITH: Final = ("kept", "inputs", "attempt", "state")
"""What any handler may take."""


class GivenInputs(dict[str, Any]):
    """The kept inputs of a run, by name, as JSON. An input that was not kept raises `KeyError`.

    Args:
        kept: None if the function keeps no inputs.
        left_out: why other inputs are not kept.
    """

    def __init__(self, kept: Mapping[str, Any] | None, left_out: Mapping[str, str]) -> None:
        super().__init__(kept or {})
        self.are_kept = kept is not None
        """Whether the function keeps the inputs of its runs (`store_inputs`)."""
        self.left_out = dict(left_out)
        """Why inputs are not among the kept ones, by name."""

    def __missing__(self, name: str) -> Any:
        if not self.are_kept:
            raise KeyError(f"the inputs of the run were not kept (store_inputs=False): {name!r}")
        if name in self.left_out:
            raise KeyError(f"the input {name!r} was not kept: {self.left_out[name]}")
        raise KeyError(
            f"the input {name!r} was not sent, and these inputs have no default values: use "
            f"inputs.get({name!r}, …)"
        )


def check_handler(
    parameters: Sequence[Parameter], option: str, name: str, *, takes_more: bool
) -> None:
    """Raise `InvalidValue` if a handler of a function cannot be called.

    Args:
        option: `resume` or `recover`.
        takes_more: whether the handler has a parameter like `**more`.
    """
    required = RESUMED_WITH if option == "resume" else ()
    takes = {parameter.name for parameter in parameters}
    needs = {parameter.name for parameter in parameters if parameter.required}
    if needs - {*required, *CONTINUED_WITH} or ({*required} - takes and not takes_more):
        needed = "interrupt_id and answer, and may take " if required else ""
        raise InvalidValue(
            f"expected {option}= of {name!r} to take {needed}{', '.join(CONTINUED_WITH)}, got "
            f"{', '.join(sorted(takes)) or 'nothing'}"
        )


def checked_attempts(name: str, max_attempts: object) -> int:
    """Return how often a run may continue. Raises `InvalidValue`."""
    is_number = isinstance(max_attempts, int) and not isinstance(max_attempts, bool)
    if is_number and 1 <= (number := cast("int", max_attempts)) <= _MOST_ATTEMPTS:
        return number
    raise InvalidValue(f"expected max_attempts of {name!r} to be 1 or more: {max_attempts!r:.80}")


def check_recallable(
    name: str, takes: Sequence[str], hidden: Mapping[str, str], store_inputs: bool
) -> None:
    """Raise `InvalidValue` if a function cannot be called again with what is kept of its inputs."""
    lacking = [f"{each} ({why})" for each, why in hidden.items()]
    if takes and not store_inputs:
        lacking = ["all, because of store_inputs=False"]
    if lacking:
        raise InvalidValue(
            f"expected {name!r} to keep its inputs, because recover=True calls it with them again; "
            f"it does not keep {', '.join(lacking)}; give a handler as recover= that does without"
        )
