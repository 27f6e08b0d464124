"""Plain appends to Redis: what is planned in little time is what the ledger plans."""

from hypothesis import given
from hypothesis import strategies as st

from runcast.stores.base import Append, Once, Producer
from runcast.stores.ledger import Ledger, Log, apply_append
from runcast.stores.model import LogInfo
from runcast.stores.plans import AppendCommand
from runcast.stores.redis import plain
from runcast.stores.redis.keeping import ABSENT, Seen
from runcast.testing.contract.harness import record

NOW = 1_700_000_000.0

RECORDS = st.lists(
    st.sampled_from(
        [
            record(1),
            b'"time":1.0,"type":"started","data":{}}',
            b'"time":1.0,"type":"interrupt_request","data":{"interrupt_id":"q"}}',
            b"no event",
            b"two\nlines",
        ]
    ),
    max_size=3,
)
PRODUCERS = st.none() | st.builds(
    Producer, st.sampled_from(["p", "writer-q", ""]), st.integers(0, 4), st.booleans()
)
APPENDS = st.builds(
    Append,
    st.just("a"),
    RECORDS,
    epoch=st.sampled_from(["", "0123456789", "other"]),
    close=st.sampled_from([False, False, False, True]),
    fence=st.sampled_from([None, 1, 2]),
    once=st.sampled_from([None, None, Once("key")]),
    labels=st.sampled_from([None, {}, {"k": "v"}]),
    producer=PRODUCERS,
    attachment=st.sampled_from([b"", b"", b"more"]),
)


@given(st.lists(APPENDS, max_size=12))
def test_a_plain_append_is_planned_as_the_ledger_plans_it(appends: list[Append]) -> None:
    quick = Log(0, LogInfo(log_id="a", epoch="0123456789", created_at=NOW, fence=1))
    ledger = Ledger()
    ledger.logs["a"] = Log(0, LogInfo(log_id="a", epoch="0123456789", created_at=NOW, fence=1))
    for append in appends:
        planned = plain.plan(Seen(ABSENT, quick), append)
        commands, (outcome,) = ledger.plan_appends([append], NOW)
        if planned is None:
            for command in commands:
                assert isinstance(command, AppendCommand)
                apply_append(quick, command)
        else:
            assert planned.outcome == outcome
            planned.finish(b"version")
        ledger.apply(1, commands)
        expected = ledger.logs["a"]

        assert quick.info == expected.info
        assert quick.producers == expected.producers
        assert quick.has_forgotten == expected.has_forgotten


def test_a_plain_append_is_sent_as_the_protocol_has_it() -> None:
    appends = []
    for log_id in ("a", "delivery/b"):
        log = Log(0, LogInfo(log_id=log_id, epoch="0123456789", created_at=NOW))
        planned = plain.plan(Seen(b"seen", log), Append(log_id, [b"no event"] * 2))
        assert planned is not None
        appends.append(planned)
    sent = plain.pack(appends, "{n}:", b"version")

    for word in plain.words_of(appends, "{n}:", b"version"):
        head = b"$%d\r\n" % len(word)
        assert sent.startswith(head + word + b"\r\n")
        sent = sent[len(head) + len(word) + 2 :]
    assert not sent
