"""A log-linear histogram: constant memory, and percentiles within 1.6 % of the truth."""

_FINE_BITS = 5  # 32 buckets for each power of two: a bucket is at most 1/32 of its value wide
_FINE = 1 << _FINE_BITS


class Histogram:
    """Counts of non-negative integers (here: nanoseconds), each with a weight."""

    __slots__ = ("_buckets", "largest", "total")

    def __init__(self) -> None:
        self._buckets: dict[int, float] = {}
        self.total = 0.0
        self.largest = 0

    def add(self, value: int, weight: float = 1.0) -> None:
        """Count one value; a negative one (two clocks read in the wrong order) counts as 0."""
        if value > self.largest:
            self.largest = value
        elif value < 0:
            value = 0
        shift = value.bit_length() - _FINE_BITS - 1
        index = value if shift <= 0 else (shift << _FINE_BITS) + (value >> shift)
        self._buckets[index] = self._buckets.get(index, 0.0) + weight
        self.total += weight

    def add_range(self, high: int, low: int, count: int, *, most_steps: int = 16) -> None:
        """Count `count` values spread evenly from `high` to `low`, in at most `most_steps` adds."""
        steps = min(count, most_steps)
        if steps <= 1:
            self.add(high, count)
            return
        weight = count / steps
        for step in range(steps):
            self.add(high - (high - low) * step // (steps - 1), weight)

    def percentile(self, percent: float) -> float:
        """Return the middle of this percentile's bucket, 0.0 if nothing was counted."""
        wanted = self.total * percent / 100
        seen = 0.0
        for index in sorted(self._buckets):
            seen += self._buckets[index]
            if seen >= wanted:
                return min(_middle(index), float(self.largest))
        return float(self.largest)


def _middle(index: int) -> float:
    if index < 2 * _FINE:
        return float(index)
    # The index of a value with this shift runs from (shift << 5) + 32 to (shift << 5) + 63.
    shift = (index >> _FINE_BITS) - 1
    return (index - (shift << _FINE_BITS) + 0.5) * (1 << shift)
