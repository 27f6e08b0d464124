"""The exact check of one stream's `seq`: every number, once, in order.

Theory of operation. The numbers of one read are compared as text with the list of numbers that
should come next. Nearly always they are equal, and one list comparison in C is all the work. Only
when they differ is each number looked at by itself.
"""

MOST_DIGITS = 4_000_000  # numbers kept as text; streams that go beyond are checked one by one
MOST_MISSING = 1_000_000  # numbers remembered as missing for one stream; bounds memory on nonsense


class Digits:
    """The texts b"0", b"1", ... shared by all checks of a process, grown as needed."""

    __slots__ = ("texts",)

    def __init__(self) -> None:
        self.texts: list[bytes] = []

    def upto(self, end: int) -> list[bytes]:
        """Return the list, at least `end` long."""
        texts = self.texts
        if len(texts) < end:
            texts.extend(b"%d" % number for number in range(len(texts), end + end // 2))
        return texts


class SequenceCheck:
    """Counts what one stream got wrong.

    A number that is never seen is a gap; one that comes after a higher one is disorder; one that
    comes again is a duplicate. A swap of two neighbours is therefore disorder 1 and no gap.
    """

    __slots__ = ("_digits", "_missing", "disorder", "duplicates", "first", "messages", "next")

    def __init__(self, digits: Digits, first: int | None = None) -> None:
        self._digits = digits
        self._missing: set[int] = set()
        self.first = first
        self.next = -1 if first is None else first
        self.messages = 0
        self.duplicates = 0
        self.disorder = 0

    @property
    def gaps(self) -> int:
        """Numbers skipped and never seen since."""
        return len(self._missing)

    @property
    def distinct(self) -> int:
        """Different numbers seen."""
        return self.messages - self.duplicates

    def add(self, numbers: list[bytes]) -> bool:
        """Check the numbers of one read, given as the digits found on the wire.

        Returns:
            True if they are just the numbers that should come next.
        """
        count = len(numbers)
        self.messages += count
        start = self.next
        end = start + count
        if start >= 0 and end <= MOST_DIGITS:
            texts = self._digits.texts
            if len(texts) < end:
                texts = self._digits.upto(end)
            if numbers == texts[start:end]:
                self.next = end
                return True
        self._add_one_by_one(numbers)
        return False

    def advance(self, count: int) -> None:
        """Count events known to be the next ones: their bytes were checked from the same number."""
        self.messages += count
        self.next += count

    def missing_at_end(self, expected: int) -> int:
        """Return how many of `expected` numbers, counted from the first, never began to come."""
        if self.first is None:
            return expected
        return max(0, self.first + expected - self.next)

    def _add_one_by_one(self, numbers: list[bytes]) -> None:
        for text in numbers:
            number = int(text)
            if self.first is None:
                self.first = self.next = number
            if number >= self.next:
                skipped = min(number - self.next, MOST_MISSING - len(self._missing))
                self._missing.update(range(self.next, self.next + skipped))
                self.next = number + 1
            elif number in self._missing:
                self._missing.remove(number)
                self.disorder += 1
            else:
                self.duplicates += 1
