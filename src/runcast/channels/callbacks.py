"""What the button of a question sends back through a platform: which question, and which answer.

Platforms take few bytes with a button: Telegram 64, Discord 100. An id of a question may be longer.
So a button holds a digest of the run's epoch and the id. An epoch is unique, so the button of an
old message never means the question of another run.

Source: ours.
"""

import hashlib
from typing import Final

__all__ = ("MAX_ANSWER_CHARS", "callback_of", "read_callback")

_DIGEST_CHARS: Final = 24
MAX_ANSWER_CHARS: Final = 32
"""Most characters of an answer's type."""


def callback_of(question_id: str, answer: str, epoch: str = "") -> str:
    """Return what a button sends back: at most 57 ASCII characters if the answer is ASCII."""
    return f"{_digest(question_id, epoch)}:{answer[:MAX_ANSWER_CHARS]}"


def read_callback(sent: str, question_id: str, epoch: str = "") -> str | None:
    """Return the answer that a button of this question sent, or None if it is another question's.

    People can send anything through some clients, so check the answer, too.
    """
    digest, _, answer = sent.partition(":")
    is_this = digest == _digest(question_id, epoch)
    return answer if is_this and 0 < len(answer) <= MAX_ANSWER_CHARS else None


def _digest(question_id: str, epoch: str) -> str:
    said = f"{epoch}\0{question_id}" if epoch else question_id
    encoded = said.encode("utf-8", "surrogatepass")
    return hashlib.sha256(encoded).hexdigest()[:_DIGEST_CHARS]
