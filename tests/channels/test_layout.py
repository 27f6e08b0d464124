"""Which text belongs into which message."""

import pytest

from runcast.channels.capability import Capability
from runcast.channels.document import Document
from runcast.channels.layout import Layout
from runcast.channels.pages import Room
from runcast.events.model import Event


def layout_of(text: str) -> Layout:
    document = Document(Capability(limit=4096))
    document.feed(Event(seq=1, type="content", data={"text": text}))
    layout = Layout(document, Room(4096, "utf16"))
    layout.update()
    return layout


_FENCED = "```\n" + "x = 1\n" * 20 + "```"


@pytest.mark.parametrize(
    ("text", "lead", "shown_end"),
    [
        (
            "It begins here. The rest of the text has one sentence or two more.",
            "It begins here.",
            16,
        ),
        ("Some words with **bold text that goes on and on to the end.**", "Some words with", 16),
        ("A short one.", "…", 0),
        (_FENCED, "```\n" + "x = 1\n" * 9 + "```", 58),
    ],
    ids=["sentence", "bold", "short", "fence"],
)
def test_the_lead_of_a_text_is_a_beginning_that_stands_alone(
    text: str, lead: str, shown_end: int
) -> None:
    layout = layout_of(text)
    wanted, end = layout.lead(next(iter(layout)))
    assert (wanted.text, wanted.buttons, end) == (lead, (), shown_end)
