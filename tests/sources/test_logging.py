"""The source for `logging`."""

import io
import logging
import logging.handlers
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import runcast
from runcast.errors import InvalidValue
from runcast.sources import logging as source
from tests.sources.watching import data_of, run_of
from tests.waiting import WAIT_S


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger that lets everything through, with a handler of its own."""
    logger = logging.getLogger("shop")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield logger
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


def test_records_become_log_events_in_order(logger: logging.Logger) -> None:
    def sell() -> None:
        with source.stream():
            logger.debug("looking")
            runcast.log("between")
            logger.info("sold %s of %s", 3, "tea", extra={"customer": "ada", "tags": {"new"}})
            logging.getLogger("shop.till").critical("on fire")

    logs = data_of(run_of(sell), "log")

    assert logs == [
        {"level": "debug", "message": "looking", "logger": "shop"},
        {"level": "info", "message": "between"},
        {
            "level": "info",
            "message": "sold 3 of tea",
            "logger": "shop",
            "extra": {"customer": "ada", "tags": ["new"]},
        },
        {"level": "critical", "message": "on fire", "logger": "shop.till"},
    ]


def test_an_exception_is_told_with_its_traceback(logger: logging.Logger) -> None:
    def fail() -> None:
        with source.stream():
            try:
                int("x")
            except ValueError:
                logger.exception("no number")

    (log,) = data_of(run_of(fail), "log")

    assert log["level"] == "error"
    assert log["exception"] == "ValueError: invalid literal for int() with base 10: 'x'"
    assert log["traceback"].startswith("Traceback (most recent call last):")
    assert 'int("x")' in log["traceback"]


@pytest.mark.parametrize(
    ("number", "level"),
    [(5, "debug"), (15, "debug"), (25, "info"), (35, "warning"), (45, "error"), (99, "critical")],
)
def test_levels_in_between_are_the_next_lower(
    logger: logging.Logger, number: int, level: str
) -> None:
    logger.setLevel(1)

    def say() -> None:
        with source.stream():
            logger.log(number, "x")

    assert [log["level"] for log in data_of(run_of(say), "log")] == [level]


def test_a_level_holds_back_what_is_below_it_in_this_run_alone(logger: logging.Logger) -> None:
    both = threading.Barrier(2, timeout=WAIT_S)

    def say(name: str, level: str) -> None:
        with source.stream(level):
            both.wait()
            logger.info("info of %s", name)
            logger.error("error of %s", name)
            both.wait()

    with runcast.open_hub(functions=[runcast.function(say)]) as hub:
        runs = [
            hub.start("say", {"name": name, "level": level})
            for name, level in (("a", "INFO"), ("b", "ERROR"))
        ]
        a, b = (data_of(list(hub.watch(run.run_id)), "log") for run in runs)

    assert [log["message"] for log in a] == ["info of a", "error of a"]
    assert [log["message"] for log in b] == ["error of b"]


def test_a_level_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidValue, match="expected a level of logging"), source.stream("LOUD"):
        pass


def test_outside_a_run_nothing_happens_and_afterwards_logging_is_as_before(
    logger: logging.Logger,
) -> None:
    before = (vars(logging.Logger)["callHandlers"], vars(logging.Handler)["handle"])

    with source.stream():
        logger.error("nobody hears")
        assert vars(logging.Logger)["callHandlers"] is not before[0]

    assert (vars(logging.Logger)["callHandlers"], vars(logging.Handler)["handle"]) == before


def test_turned_on_outside_it_is_on_for_every_run(logger: logging.Logger) -> None:
    def say() -> None:
        logger.info("a")

    with source.stream():
        assert [log["message"] for log in data_of(run_of(say), "log")] == ["a"]


def test_what_the_program_logs_and_prints_is_the_same_with_and_without(
    logger: logging.Logger,
) -> None:
    def program() -> str:
        out = io.StringIO()
        handler = logging.StreamHandler(out)
        handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        logger.addHandler(handler)
        fields = list(vars(logger.makeRecord("a", 20, "f", 1, "m", (), None)))
        logger.info("one", extra={"x": object()})
        logger.warning("%d of them", "two")  # wrong, and reported by logging itself
        logger.removeHandler(handler)
        return out.getvalue() + str(fields)

    def with_source() -> str:
        with source.stream():
            return program()

    logging.raiseExceptions = False
    try:
        without = program()
        with runcast.open_hub() as hub:
            assert hub.start(runcast.function(with_source)).result() == without
    finally:
        logging.raiseExceptions = True


def test_a_handler_of_ones_own_reports_each_record_once(logger: logging.Logger) -> None:
    logger.addHandler(source.Handler())

    def say() -> None:
        logger.info("by the handler")
        with source.stream():
            logger.info("by both")

    logs = data_of(run_of(say), "log")

    assert [log["message"] for log in logs] == ["by the handler", "by both"]
    logger.info("outside")  # does nothing


def test_a_queue_between_doubles_nothing(logger: logging.Logger) -> None:
    waiting: queue.SimpleQueue[object] = queue.SimpleQueue()
    logger.addHandler(logging.handlers.QueueHandler(waiting))

    def say() -> None:
        with source.stream():
            listener = logging.handlers.QueueListener(waiting, source.Handler())
            listener.start()
            logger.info("once")
            listener.stop()

    assert [log["message"] for log in data_of(run_of(say), "log")] == ["once"]


def test_what_is_logged_while_a_record_is_made_text_comes_before_it(logger: logging.Logger) -> None:
    class Loud:
        def __str__(self) -> str:
            logger.info("while it is made text")
            return "loud"

    def say() -> None:
        with source.stream():
            logger.info("%s", Loud())

    messages = [log["message"] for log in data_of(run_of(say), "log")]
    assert messages[:2] == ["while it is made text", "loud"]


def test_runcasts_own_records_are_left_out() -> None:
    def say() -> None:
        with source.stream():
            logging.getLogger("runcast.runs").error("about a run")

    assert data_of(run_of(say), "log") == []


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def test_objects_that_have_no_text_fail_no_program(logger: logging.Logger) -> None:
    logger.handlers[:] = [logging.NullHandler()]  # pytest's own handlers raise

    def go() -> str:
        with source.stream():
            logger.info(Hostile())
            logger.info("sold %s", Hostile())
            logger.info("extra", extra={"customer": Hostile()})
            logger.handle(logging.makeLogRecord({"msg": "no level", "levelno": 20, "name": None}))
        return "as without"

    events = run_of(go)

    assert (events[-1].type, events[-1].data["result"]) == ("done", "as without")
    assert [log["message"] for log in data_of(events, "log")] == [
        "an object of Hostile % ()",
        "sold %s % an object of tuple",
        "extra",
        "no level",
    ]


def test_long_texts_are_cut_and_say_so(logger: logging.Logger) -> None:
    def say() -> None:
        with source.stream():
            logger.info("x" * 1_000_000)

    (log,) = data_of(run_of(say), "log")

    assert log["message"].endswith(f"… ({1_000_000 - 16_384} more characters)")


def test_threads_that_carry_the_run_are_heard_and_others_are_not(logger: logging.Logger) -> None:
    def say() -> None:
        with source.stream():
            for call in (runcast.bind(logger.info), logger.info):
                thread = threading.Thread(target=call, args=("in a thread",))
                thread.start()
                thread.join(WAIT_S)

    assert [log["message"] for log in data_of(run_of(say), "log")] == ["in a thread"]


def test_a_cancelled_run_ends_at_its_next_record(logger: logging.Logger) -> None:
    def work() -> None:
        with source.stream():
            logger.info("begun")
            while True:
                logger.info("on")

    with runcast.open_hub() as hub:
        run = hub.start(runcast.function(work))
        events = hub.watch(run.run_id)
        while next(events).type != "log":
            pass
        run.cancel("enough")

        assert run.wait().type == "cancelled"


@pytest.mark.parametrize("make", [runcast.ThreadPoolExecutor, ThreadPoolExecutor])
def test_code_that_runs_in_nobodys_thread_pool(
    logger: logging.Logger, make: Callable[[], ThreadPoolExecutor]
) -> None:
    """Only the pool of runcast carries the run along."""

    def say() -> None:
        with source.stream(), make() as pool:
            pool.submit(logger.info, "in a pool").result(WAIT_S)

    heard = [log["message"] for log in data_of(run_of(say), "log")]

    assert heard == (["in a pool"] if make is runcast.ThreadPoolExecutor else [])
