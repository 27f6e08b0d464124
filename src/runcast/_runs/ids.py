"""Ids of runs: UUIDv7, so that they sort by the time they were made."""

import uuid

__all__ = ("make_run_id",)


def make_run_id(time_s: float, entropy: bytes) -> str:
    """Return a UUIDv7 for a time (Unix seconds) and 10 random bytes. Source: RFC 9562 §5.7."""
    ms = int(time_s * 1000) & ((1 << 48) - 1)
    random = int.from_bytes(entropy[:10], "big")
    number = ms << 80 | 0x7 << 76 | (random >> 68 & 0xFFF) << 64 | 0b10 << 62
    return str(uuid.UUID(int=number | random & ((1 << 62) - 1)))
