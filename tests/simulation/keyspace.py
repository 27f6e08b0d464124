"""A model of the server below the Redis store: its commands and its scripts, in Python.

It knows what `stores/redis/*.lua` does, and no more. The store contract is run against it, so it
differs from a real server in nothing that the contract can see.
"""

from collections.abc import Callable
from typing import Any, Final

from runcast.stores.model import LogInfo
from runcast.stores.redis.keeping import VERSION_BYTES, decode_now

__all__ = ("Keyspace",)

_LENGTH: Final = 4
_ORIGIN: Final = 16
_LEASES_ARE_KEPT_S: Final = 86_400.0


def as_bytes(word: object) -> bytes:
    """Return a word as the server stores it."""
    if isinstance(word, bytes):
        return word
    if isinstance(word, str):
        return word.encode(errors="surrogatepass")
    return repr(word).encode()


class Keyspace:
    """The keys of one namespace, and what may be done to them.

    Args:
        now: the server's clock, seconds.
        publish: called with each message for all nodes, or for the one with an origin; returns how
            many hear it.
        changed: called with the id of each log that a commit changed.
        renewed: called with each owner whose lease is renewed, and for how long.
        listening: returns how many listen to changes, and how many of these are an origin itself.
    """

    def __init__(
        self,
        now: Callable[[], float],
        publish: Callable[[bytes, bytes], int] = lambda message, origin: 0,
        changed: Callable[[str], None] = lambda log_id: None,
        renewed: Callable[[str, float], None] = lambda owner_id, seconds: None,
        listening: Callable[[bytes], tuple[int, int]] = lambda origin: (2, 0),
    ) -> None:
        self.now = now
        self._publish = publish
        self._changed = changed
        self._renewed = renewed
        self._listening = listening
        self._keys: dict[bytes, Any] = {}

    def execute(self, name: str, key: str | bytes, *words: object) -> Any:
        """Return the answer to one command."""
        command = getattr(self, f"_{name.lower()}")
        return command(as_bytes(key), *map(as_bytes, words))

    def run(self, script: str, *words: object) -> Any:
        """Return what a script returns."""
        return getattr(self, f"_script_{script}")(*map(as_bytes, words))

    # Commands.

    def _set(self, key: bytes, value: bytes, *options: bytes) -> bytes | None:
        if b"NX" in options and key in self._keys:
            return None
        self._keys[key] = value
        return b"OK"

    def _get(self, key: bytes) -> Any:
        return self._keys.get(key)

    def _incrby(self, key: bytes, amount: int) -> int:
        number = int(self._keys.get(key, b"0")) + amount
        self._keys[key] = b"%d" % number
        return number

    def _del(self, key: bytes) -> int:
        return int(self._keys.pop(key, None) is not None)

    _unlink = _del

    def _hset(self, key: bytes, *words: bytes) -> int:
        self._keys.setdefault(key, {}).update(zip(words[::2], words[1::2], strict=True))
        return 0

    def _hdel(self, key: bytes, field: bytes) -> int:
        return int(self._keys.get(key, {}).pop(field, None) is not None)

    def _hget(self, key: bytes, field: bytes) -> bytes | None:
        found: bytes | None = self._keys.get(key, {}).get(field)
        return found

    def _hmget(self, key: bytes, *fields: bytes) -> list[bytes | None]:
        return [self._keys.get(key, {}).get(field) for field in fields]

    def _sadd(self, key: bytes, member: bytes) -> int:
        self._keys.setdefault(key, {})[member] = None
        return 1

    def _srem(self, key: bytes, member: bytes) -> int:
        found = self._keys.get(key, {})
        removed = member in found
        found.pop(member, None)
        return int(removed)

    def _zadd(self, key: bytes, score: bytes, member: bytes) -> int:
        self._keys.setdefault(key, {})[member] = float(score)
        return 1

    def _zrem(self, key: bytes, member: bytes) -> int:
        return self._srem(key, member)

    def _zcard(self, key: bytes) -> int:
        return len(self._keys.get(key, {}))

    def _sorted(self, key: bytes) -> list[tuple[float, bytes]]:
        return sorted((score, member) for member, score in self._keys.get(key, {}).items())

    def _zrangebyscore(self, key: bytes, low: bytes, high: bytes, *limit: bytes) -> list[bytes]:
        found = [member for score, member in self._sorted(key) if score <= float(high)]
        start, count = (int(limit[1]), int(limit[2])) if limit else (0, len(found))
        return found[start : start + count]

    def _xadd(self, key: bytes, entry: bytes, field: bytes, frames: bytes) -> bytes:
        entries = self._keys.setdefault(key, [])
        assert not entries or _seq(entries[-1][0]) < _seq(entry), "a stream's ids must rise"
        entries.append((entry, frames))
        return entry

    def _xtrim(self, key: bytes, how: bytes, entry: bytes) -> int:
        entries = self._keys.get(key, [])
        entries[:] = [each for each in entries if _seq(each[0]) >= _seq(entry)]
        return 0

    # Scripts.

    def _script_commit(
        self,
        origin: bytes,
        lease_time: bytes,
        most: bytes,
        version: bytes,
        is_loud: bytes,
        count: bytes,
        *rest: bytes,
    ) -> tuple[list[int], list[int]]:
        assert is_loud == b"0", "there is no cluster"
        all_listeners, own_listeners = self._listening(origin)
        is_heard = (all_listeners, own_listeners) != (1, 1)
        told: list[bytes] = []
        messages: dict[bytes, list[bytes]] = {}
        plain = int(count)
        refused = [
            place
            for place in range(1, plain + 1)
            if not self._append_page(
                *rest[2 * place - 2 : 2 * place],
                *rest[2 * plain + 4 * place - 4 : 2 * plain + 4 * place],
                messages=messages,
            )
        ]
        if is_heard:
            self._tell_watchers(origin, messages)
        words = _Words(rest[6 * plain :])
        results: list[int] = []
        while words.left:
            results.append(self._change_log(words, lease_time, int(most), version, told))
        if told and is_heard:
            self._publish(origin + b"".join(told), b"")
        return refused, results

    def _append_page(
        self, key: bytes, value: bytes, *words: bytes, messages: dict[bytes, list[bytes]]
    ) -> bool:
        seen, stream, entry, frames = words
        log_id = key.removeprefix(b"now:")
        if self._version(log_id) != seen:
            return False
        self._xadd(stream, entry, b"f", frames)
        self._keys[key] = value
        state = self._hget(b"log:" + log_id, b"s") or b""
        for node in dict.fromkeys([*self._watchers(log_id), *self._watchers(b"*")]):
            news = _packed(b"p", state, value[VERSION_BYTES:], entry, frames)
            messages.setdefault(node, []).append(news)
        self._changed(log_id.decode())
        return True

    def _watchers(self, log_id: bytes) -> list[bytes]:
        who = self._hget(b"watched", log_id) or b""
        return [who[at : at + _ORIGIN] for at in range(0, len(who), _ORIGIN)]

    def _tell_watchers(self, origin: bytes, messages: dict[bytes, list[bytes]]) -> None:
        for node, parts in messages.items():
            if node != origin and not self._publish(origin + b"".join(parts), node):
                for log_id in list(self._keys.get(b"watched", {})):
                    self._script_watch(node, b"0", log_id)

    def _script_watch(self, node: bytes, is_watched: bytes, *log_ids: bytes) -> None:
        for log_id in log_ids:
            who = [each for each in self._watchers(log_id) if each != node]
            if is_watched == b"1":
                who.append(node)
            if who:
                self._hset(b"watched", log_id, b"".join(who))
            else:
                self._hdel(b"watched", log_id)

    def _version(self, log_id: bytes) -> bytes:
        now: bytes = self._keys.get(b"now:" + log_id, b"")
        return now[:VERSION_BYTES]

    def _change_log(
        self, words: "_Words", lease_time: bytes, most: int, version: bytes, told: list[bytes]
    ) -> int:
        log_id, seen, is_there, is_noted = (next(words) for _ in range(4))
        gone, news, rival, count = (next(words) for _ in range(4))
        result = 0
        if self._version(log_id) != seen:
            result = -1
        elif rival and self._is_leased(rival, lease_time):
            result = -2
        elif int(count):
            result = self._incrby(b"number", 1)
        for _ in range(int(count)):
            name, key, *rest = [next(words) for _ in range(int(next(words)))]
            if result > 0:
                self.execute(name.decode(), key, *rest)
        if result > 0:
            if is_there == b"1":
                self._keys[b"now:" + log_id] = version
            else:
                self._keys.pop(b"now:" + log_id, None)
            self._changed(log_id.decode())
            if is_noted == b"1":
                self._note(log_id, result, gone, most)
            if news:
                told.append(_packed(b"g", news))
        return result

    def _note(self, log_id: bytes, number: int, gone: bytes, most: int) -> None:
        self._zadd(b"changes", b"%d" % number, log_id)
        if gone:
            self._hset(b"gone", log_id, gone)
        else:
            self._hdel(b"gone", log_id)
        if self._zcard(b"changes") > most:
            score, oldest = self._sorted(b"changes")[0]
            self._zrem(b"changes", oldest)
            self._hdel(b"gone", oldest)
            self._keys[b"floor"] = b"%d" % score

    def _script_read(
        self, log_id: bytes, epoch: bytes, first: bytes, most: bytes
    ) -> list[bytes | None] | None:
        found, size = self._look(log_id), 0
        if found[0] is None:
            return None
        for entry, frames in self._keys.get(b"events:" + log_id + b":" + epoch, ()):
            if _seq(entry) >= int(first) and size < int(most):
                found += [entry, frames]
                size += len(frames)
        return found

    def _script_list(
        self, index: bytes, high: bytes, start: bytes, count: bytes
    ) -> list[list[bytes | None]]:
        found = [member for score, member in self._sorted(index) if score <= float(high)][::-1]
        wanted = found[int(start) : int(start) + int(count)]
        return [self._look(log_id) for log_id in wanted]

    def _script_look(self, field: bytes, *log_ids: bytes) -> list[list[bytes | None]]:
        return [[*self._look(each), self._hget(b"log:" + each, field)] for each in log_ids]

    def _look(self, log_id: bytes) -> list[bytes | None]:
        return [self._get(b"now:" + log_id), self._hget(b"log:" + log_id, b"s")]

    def _script_changes(self, after: bytes, count: bytes) -> list[bytes]:
        found = [self._get(b"number") or b"0", self._get(b"floor") or b"0"]
        newer = [each for each in self._sorted(b"changes") if each[0] > float(after)]
        for score, log_id in newer[: int(count)]:
            found += [log_id, b"%d" % score]
        return found

    def _script_orphans(self, lease_time: bytes, count: bytes) -> list[bytes]:
        found: list[bytes] = []
        for owner in list(self._keys.get(b"owners", {})):
            if not self._is_leased(owner, lease_time):
                owned = self._keys.get(b"owned:" + owner, {})
                if not owned:
                    self._srem(b"owners", owner)
                found += owned
        return found[: int(count)]

    def _script_renew(self, owner: bytes, seconds: bytes, lease_time: bytes) -> None:
        now = self._time(lease_time)
        self._renewed(owner.decode(), float(seconds))
        if float(seconds) > 0:
            self._zadd(b"leases", repr(now + float(seconds)).encode(), owner)
        else:
            self._zrem(b"leases", owner)
        leases = self._keys.get(b"leases", {})
        for each in [who for who, end in leases.items() if end <= now - _LEASES_ARE_KEPT_S]:
            del leases[each]

    def _script_save_state(self, log_id: bytes, epoch: bytes, kept: bytes) -> list[bytes | None]:
        if self._hget(b"log:" + log_id, b"p") == epoch:
            self._hset(b"log:" + log_id, b"e", kept)
        return self._look(log_id)

    def _time(self, given: bytes) -> float:
        return float(given) if given else self.now()

    def _is_leased(self, owner: bytes, lease_time: bytes) -> bool:
        end = self._keys.get(b"leases", {}).get(owner)
        return end is not None and end > self._time(lease_time)

    def info(self, log_id: str) -> LogInfo | None:
        """Return a log's description, or None; for checks."""
        now, state = self._look(log_id.encode())
        return None if now is None or state is None else decode_now(now, state).info

    def pages(self, log_id: str, epoch: str) -> list[tuple[bytes, bytes]]:
        """Return a log's pages, each as (entry, frames); for checks."""
        found: list[tuple[bytes, bytes]] = self._keys.get(f"events:{log_id}:{epoch}".encode(), [])
        return found


def _seq(entry: bytes) -> int:
    return int(entry.partition(b"-")[0])


def _packed(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(_LENGTH) + part for part in parts)


class _Words:
    """The words of a commit, one after the other."""

    def __init__(self, words: tuple[bytes, ...]) -> None:
        self._words = words
        self._at = 0

    @property
    def left(self) -> int:
        """How many words have not been taken."""
        return len(self._words) - self._at

    def __next__(self) -> bytes:
        self._at += 1
        return self._words[self._at - 1]
