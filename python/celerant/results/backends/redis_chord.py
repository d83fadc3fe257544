"""Parts of chord headers in Redis, under the keys of Celery 5.6 and 5.7.

``celery-taskset-meta-<group id>`` holds the form of a nested header. Keys with a suffix
hold more: ``.j`` the parts (a sorted set by index, or a list), ``.s`` their number,
``.t`` how many more there are, ``.d`` the counted tasks, and ``.c`` the claim to send
the body, or that it was sent. Celery 5.6 uses only ``.j``, ``.s`` and ``.t``, so a part
counts in any version.

Source: the protocol of ``celery.backends.redis`` of celery 5.7.0 and 5.6.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from celerant.results.backends.chords import ChordCounter

if TYPE_CHECKING:
    from celerant.results.backends.redis import RedisBackend

__all__ = ["RedisChords"]

_T = TypeVar("_T")

#: The most parts of one reply; all parts of a large chord would be too many.
_PARTS = 5000
#: The least seconds for which late parts of a finished chord are recognised.
_DONE_LEAST = 300
#: Celery's default seconds for a join, and the least seconds of a claim.
_JOIN, _CLAIM_LEAST = 5.0, 5

_COUNT = """
local parts, more, size, counted, header, claim = unpack(KEYS)
local entry, part, index = ARGV[1], ARGV[2], ARGV[3]
local is_ordered, token = ARGV[4], ARGV[5]
local ttl, header_ttl, claim_ttl = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]

if redis.call('GET', claim) == 'done' then
    return 0
end
-- Celery 5.6 deletes the parts of a finished chord, but not the keys of 5.7.
if redis.call('EXISTS', parts) == 0 then
    redis.call('DEL', counted)
end
if redis.call('SADD', counted, entry) == 1 then
    if is_ordered == '1' then
        redis.call('ZADD', parts, index, part)
    else
        redis.call('RPUSH', parts, part)
    end
end
if ttl > 0 then
    for _, key in ipairs({parts, more, size, counted}) do
        redis.call('EXPIRE', key, ttl)
    end
    if header_ttl > 0 then
        redis.call('EXPIRE', header, header_ttl)
    end
end
local expected = tonumber(redis.call('GET', size) or -1)
if expected < 0 then
    return 0
end
expected = expected + tonumber(redis.call('GET', more) or 0)
if redis.call(is_ordered == '1' and 'ZCARD' or 'LLEN', parts) ~= expected then
    return 0
end
if redis.call('SET', claim, token, 'NX', 'EX', claim_ttl) then
    return 1
end
-- It is ours already, if the first answer was lost and this is called again.
return redis.call('GET', claim) == token and 1 or 0
"""

_RENEW = """
local claim, size, token, ttl = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local holder = redis.call('GET', claim)
-- An expired claim is taken again, unless another worker has finished meanwhile.
if holder == token or (not holder and redis.call('EXISTS', size) == 1) then
    redis.call('SET', claim, token, 'EX', ttl)
    return 1
end
return 0
"""

_FINISH = """
local claim, token, ttl = KEYS[1], ARGV[1], ARGV[2]
if redis.call('GET', claim) ~= token then
    return 0
end
redis.call('DEL', unpack(KEYS, 2))
redis.call('SET', claim, 'done', 'EX', ttl)
return 1
"""


class RedisChords(ChordCounter):
    """Counts parts so that Celery's and Celerant's workers complete one chord together.

    Args:
        backend: The backend, for its Redis, expiry and transport options. If
            ``result_chord_ordered`` is False, parts keep the order of arrival.
        client: redis-py's.
        key_prefix: The text before the group's id.
        retried: Calls a function, under the backend's retry policy.
    """

    def __init__(
        self,
        backend: RedisBackend,
        client: Any,
        key_prefix: str,
        retried: Callable[[Callable[[], _T]], _T],
    ) -> None:
        self._client = client
        self._prefix = key_prefix
        self._retried: Callable[[Callable[[], Any]], Any] = retried
        self._is_ordered = bool(
            backend.transport_options.get("result_chord_ordered", True)
        )
        self._ttl = backend.chord_expires
        # A saved header is a result too, and is kept for the longer time of both.
        lives = self._ttl and backend.expires
        self._header_ttl = max(self._ttl, backend.expires) if lives else 0
        self._claim_ttl = max(_CLAIM_LEAST, int(2 * (backend.join_timeout or _JOIN)))
        self._done_ttl = max(_DONE_LEAST, 2 * self._claim_ttl)
        self._count = client.register_script(_COUNT)
        self._renew = client.register_script(_RENEW)
        self._finish = client.register_script(_FINISH)

    def _keys(self, group_id: str, suffixes: str) -> list[str]:
        return [f"{self._prefix}{group_id}.{suffix}" for suffix in suffixes]

    def set_sizes(self, sizes: Mapping[str, int]) -> None:
        """Set sizes by one pipeline; a chord that is sent again begins anew."""
        self._retried(partial(self._set_sizes, sizes))

    def _set_sizes(self, sizes: Mapping[str, int]) -> None:
        with self._client.pipeline(transaction=False) as pipe:
            for group_id, size in sizes.items():
                claim, key = self._keys(group_id, "cs")
                pipe.delete(claim)
                pipe.set(key, size, ex=self._ttl or None)
            pipe.execute()

    def grow(self, group_id: str, more: int) -> None:
        """Expect `more` parts more."""
        (key,) = self._keys(group_id, "t")
        self._retried(partial(self._client.incrby, key, more))

    def count(
        self, group_id: str, task_id: str, index: int | str, part: bytes, *, token: str
    ) -> bool:
        """Add a part and check whether it is the last, by one script."""
        parts, more, size, counted, claim = self._keys(group_id, "jtsdc")
        keys = [parts, more, size, counted, self._prefix + group_id, claim]
        args = [
            f"{task_id}:{index}",
            part,
            index,
            int(self._is_ordered),
            token,
            self._ttl,
            self._header_ttl,
            self._claim_ttl,
        ]
        return bool(self._retried(partial(self._count, keys=keys, args=args)))

    def parts(self, group_id: str) -> Iterator[bytes]:
        """Read the parts, 5,000 at a time."""
        (key,) = self._keys(group_id, "j")
        read = self._client.zrange if self._is_ordered else self._client.lrange
        start = 0
        while True:
            found = self._retried(partial(read, key, start, start + _PARTS - 1))
            yield from found
            start += _PARTS
            if len(found) < _PARTS:
                return

    def renew(self, group_id: str, token: str, seconds: float) -> bool:
        """Keep a claim for `seconds` from now; False if another worker has it."""
        args = [token, max(self._claim_ttl, math.ceil(seconds))]
        keys = self._keys(group_id, "cs")
        return bool(self._retried(partial(self._renew, keys=keys, args=args)))

    def finish(self, group_id: str, token: str) -> bool:
        """Delete all keys but the saved header's, and mark the chord as done."""
        args = [token, self._done_ttl]
        keys = self._keys(group_id, "cjtsd")
        return bool(self._retried(partial(self._finish, keys=keys, args=args)))

    def save_header(self, group_id: str, payload: bytes) -> None:
        """Keep a header's form, as Celery keeps a saved group."""
        key = self._prefix + group_id
        save = partial(self._client.set, key, payload, ex=self._header_ttl or None)
        self._retried(save)

    def delete_header(self, group_id: str) -> None:
        """Delete a header's form."""
        self._retried(partial(self._client.delete, self._prefix + group_id))

    def header(self, group_id: str) -> bytes | None:
        """Return a header's form; None if there is none."""
        found: bytes | None = self._retried(
            partial(self._client.get, self._prefix + group_id)
        )
        return found
