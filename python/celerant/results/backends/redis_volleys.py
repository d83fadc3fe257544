"""Store many records in Redis by one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError, ResponseError

from celerant.common.redis_pool import connection_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Volleys", "put_record"]

#: Stores and publishes each record, unless its task has one already.
#:
#: KEYS: the records' keys. ARGV: for each record its seconds to live (0 is for ever)
#: and itself.
#: Returns the positions of the records that were not stored.
_STORE = """
local kept = {}
for at, key in ipairs(KEYS) do
  local seconds, record = ARGV[at * 2 - 1], ARGV[at * 2]
  local stored
  if seconds == '0' then
    stored = redis.call('SET', key, record, 'NX')
  else
    stored = redis.call('SET', key, record, 'EX', seconds, 'NX')
  end
  if stored then
    redis.call('PUBLISH', key, record)
  else
    kept[#kept + 1] = at
  end
end
return kept
"""


class Volleys:
    """Stores records of tasks together."""

    def __init__(
        self, client: Any, key_prefix: str, expires: Callable[[str], int]
    ) -> None:
        """Store by `client`; `expires` returns the seconds that a state is kept."""
        self._client = client
        self._key_prefix = key_prefix
        self._expires = expires
        self._sha: Any = None
        self._is_refused = False

    def store(
        self, records: Sequence[tuple[str, bytes, str]]
    ) -> list[tuple[str, bytes, str]]:
        """Store the records of tasks that have none yet; return the other records.

        Raises:
            RedisError, OSError: Redis is not reachable, or takes no records now.
        """
        if self._is_refused:
            return list(records)
        try:
            kept = self._run(records)
        except ResponseError as exc:
            if not _is_refusal(exc):
                raise
            # From now on `replace` stores all, by Celery's own commands.
            self._is_refused = True
            return list(records)
        return [records[place - 1] for place in kept]

    def replace(self, records: Sequence[tuple[str, bytes, str]]) -> None:
        """Store and publish records in place of any others, by Celery's commands.

        Raises:
            RedisError, OSError: Redis is not reachable, or takes no records now.
        """
        with self._client.pipeline(transaction=True) as pipe:
            for task_id, payload, state in records:
                put_record(
                    pipe, self._key_prefix + task_id, payload, self._expires(state)
                )
            pipe.execute()

    def _run(self, records: Sequence[tuple[str, bytes, str]]) -> Any:
        if self._sha is None:
            self._sha = self._client.script_load(_STORE)
        try:
            return self._ask(self._packed(records))
        except NoScriptError:
            # Redis has restarted, was flushed or is another server.
            self._sha = self._client.script_load(_STORE)
            return self._ask(self._packed(records))

    def _packed(self, records: Sequence[tuple[str, bytes, str]]) -> bytes:
        """Return the packed command; redis-py would take three times as long."""
        count, prefix = len(records), self._key_prefix.encode()
        parts = [
            b"*%d\r\n$7\r\nEVALSHA\r\n" % (3 + 3 * count),
            _bulk(_bytes(self._sha)),
            _bulk(b"%d" % count),
        ]
        parts += [_bulk(prefix + task_id.encode()) for task_id, _, _ in records]
        seconds = {
            state: _bulk(b"%d" % self._expires(state)) for _, _, state in records
        }
        for _, payload, state in records:
            parts += (seconds[state], _bulk(payload))
        return b"".join(parts)

    def _ask(self, packed: bytes) -> Any:
        pool = self._client.connection_pool
        connection = connection_of(pool, "EVALSHA")
        try:
            connection.send_packed_command([packed])
            return connection.read_response(disable_decoding=True)
        except ResponseError:
            raise
        except BaseException:
            # A late reply must not be read as the reply to another command.
            connection.disconnect()
            raise
        finally:
            pool.release(connection)


def put_record(pipe: Any, key: str, payload: bytes, seconds: int) -> None:
    """Store and publish a record by a pipeline; 0 `seconds` is for ever."""
    if seconds:
        # Celery's own command, so a user that Celery's workers have is permitted.
        pipe.execute_command("SETEX", key, seconds, payload)
    else:
        pipe.set(key, payload)
    pipe.publish(key, payload)


def _bulk(argument: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(argument), argument)


def _bytes(sha: Any) -> bytes:
    return sha if isinstance(sha, bytes) else str(sha).encode()


def _is_refusal(exc: ResponseError) -> bool:
    """Whether the user or server may not use scripts, or several keys in one."""
    words = str(exc)
    return any(
        word in words
        for word in ("NOPERM", "permission", "can't run this", "CROSSSLOT", "unknown")
    ) or type(exc).__name__ in {"NoPermissionError", "ClusterCrossSlotError"}
