"""Random runs, channels and faults."""

from hypothesis import strategies as st

from runcast.channels.capability import Capability
from runcast.events.model import Event

_WORDS = [
    "word",
    "**bold",
    "text**",
    "`code`",
    "👩‍👩‍👧",
    "é",
    "漢字。",
    "[a](http://b)",
    "*",
    "_x_",
    "sentence.",
    "🇩🇪🇫🇷",
    "\\*",
    "~~",
    "x" * 50,
]
_PIECES = [
    *(f"{word} " for word in _WORDS),
    "\n",
    "\n\n",
    "\n```py\n",
    "\n```\n",
    "- item\n",
    "| a | b |\n",
    "|---|---|\n",
    "\n~~~~\n",
    "\n~~~~\n",
]

tokens = st.lists(st.sampled_from(_PIECES), min_size=1, max_size=6).map("".join)


@st.composite
def scripts(draw: st.DrawFn) -> list[tuple[float, Event]]:
    """Return a run's events with their times, with an ending."""
    now, seq, script = 0.0, 0, []
    calls = questions = 0

    def add(kind: str, **data: object) -> None:
        nonlocal seq
        seq += 1
        script.append((now, Event(seq=seq, time=now, type=kind, data=data)))

    add("started")
    attempt = 0
    for _ in range(draw(st.integers(0, 25))):
        now += draw(st.sampled_from([0.0, 0.01, 0.05, 0.3, 2.0, 40.0]))
        kind = draw(st.sampled_from(["content"] * 8 + ["tool", "result", "ask", "again"]))
        if kind == "content":
            add("content", text=draw(tokens), message_id="a", attempt=attempt)
        elif kind == "tool":
            calls += 1
            add("tool_call", call_id=f"c{calls}", tool="find", args={"n": calls})
        elif kind == "result" and calls:
            add("tool_result", call_id=f"c{draw(st.integers(1, calls))}", ok=draw(st.booleans()))
        elif kind == "again":
            attempt += 1
        elif kind == "ask":
            questions += 1
            add("interrupt_request", interrupt_id=f"q{questions}", message="Really?")
            if draw(st.booleans()):
                now += 5.0
                add("interrupt_resolved", interrupt_id=f"q{questions}", outcome="accept")
    now += draw(st.sampled_from([0.0, 1.0, 100.0]))
    ending = draw(st.sampled_from(["done", "failed", "cancelled"]))
    add(ending, **({"result": None} if ending == "done" else {"message": "why", "reason": "why"}))
    return script


capabilities = st.builds(
    Capability,
    limit=st.sampled_from([100, 200, 500, 4096]),
    unit=st.sampled_from(["utf16", "codepoint", "utf8"]),
    can_edit=st.sampled_from([True, True, True, False]),
    can_delete=st.booleans(),
    can_type=st.booleans(),
    stops_typing=st.booleans(),
    has_buttons=st.booleans(),
    is_idempotent=st.booleans(),
    can_find=st.booleans(),
    closes_messages=st.booleans(),
    idempotent_s=st.sampled_from([0.0, 0.0, 2.0, 120.0]),
    is_quiet=st.just(False),
    interval_s=st.sampled_from([0.0, 1.0, 3.0]),
    slots=st.sampled_from([5, 20, 60]),
    max_edits=st.sampled_from([0, 0, 2, 5]),
    lifetime_s=st.sampled_from([0.0, 0.0, 30.0]),
)

harmless = st.sampled_from(
    ["", "", "", "limited 3", "limited 0", "limited 130", "not_started", "same"]
)
faults = st.lists(
    st.sampled_from(
        [
            "",
            "",
            "",
            "",
            "limited 2",
            "limited 130",
            "not_started",
            "rejected",
            "unparsable",
            "too_long",
            "frozen",
            "gone",
            "lost",
            "late",
            "later",
        ]
    ),
    max_size=40,
)
