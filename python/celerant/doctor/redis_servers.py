"""Check a Redis: its version, memory, persistence, clock, and the user's rights."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from celerant.common.printable import line
from celerant.doctor.finding import Finding, note, ok, problem, warning
from celerant.doctor.versions import numbers

__all__ = ["Server"]

#: The first version with `CLIENT TRACKING`. Without it the embedded worker takes one
#: message at a time.
_TRACKING = (6, 0)
#: The most seconds by which clocks may differ.
_SKEW = 1.0
#: Seconds that a key of this check lives, in case it is not deleted.
_KEPT = 60


class Server:
    """A Redis.

    Args:
        client: redis-py's.
        about: Its use: ``"broker"`` or ``"store"``.
    """

    def __init__(self, client: Any, about: str) -> None:
        self._client = client
        self._about = about

    @property
    def place(self) -> str:
        """Host and port, or the path of the socket."""
        known = self._client.connection_pool.connection_kwargs
        path = known.get("path")
        return str(path or f"{known.get('host')}:{known.get('port')}")

    def examined(self) -> Iterator[Finding]:
        """Check version, memory, persistence, role and clock."""
        try:
            info = self._client.info()
        except Exception as exc:  # noqa: BLE001 - managed servers may forbid it
            text = f"INFO is refused: {line(exc)}"
            yield note(self._about, text, "look at its configuration by other means")
        else:
            yield from self._version(str(info.get("redis_version", "0")))
            yield from self._memory(info)
            yield from self._persistence(info)
            if info.get("role") == "slave":
                yield problem(
                    self._about,
                    "it is a read-only replica",
                    "name the master, or use sentinel://",
                )
        yield from self._clock()

    def _version(self, version: str) -> Iterator[Finding]:
        if numbers(version) >= _TRACKING:
            yield ok(self._about, f"Redis {version}")
        else:
            yield warning(
                self._about,
                f"Redis {version}: the embedded worker takes one message at a time",
                "Redis 6 or later lets it take many in one round trip",
            )

    def _memory(self, info: dict[str, Any]) -> Iterator[Finding]:
        policy, limit = str(info.get("maxmemory_policy")), info.get("maxmemory") or 0
        remedy = "CONFIG SET maxmemory-policy noeviction"
        if policy == "noeviction":
            yield ok(self._about, f"maxmemory-policy {policy}")
        elif not limit:
            yield note(
                self._about,
                f"maxmemory-policy {policy}, of no effect without maxmemory",
                f"before you set maxmemory: {remedy}",
            )
        elif policy.startswith("allkeys"):
            lost = (
                "queues and the marks that prove what was sent"
                if self._about == "broker"
                else "results that nobody has read yet"
            )
            text = f"maxmemory-policy {policy}: Redis may delete {lost}"
            yield problem(self._about, text, remedy)
        else:
            yield warning(
                self._about,
                f"maxmemory-policy {policy}: Redis may delete marks and results early",
                remedy,
            )

    def _persistence(self, info: dict[str, Any]) -> Iterator[Finding]:
        if info.get("aof_enabled"):
            yield ok(self._about, "it keeps an append-only file")
            return
        lost = "messages" if self._about == "broker" else "results"
        yield warning(
            self._about,
            f"no append-only file: a restart loses the {lost} since the last snapshot",
            "CONFIG SET appendonly yes, and in redis.conf",
        )

    def _clock(self) -> Iterator[Finding]:
        before = time.time()
        try:
            seconds, micros = self._client.time()
        except Exception as exc:  # noqa: BLE001 - only this check needs the right
            yield note(self._about, f"its clock cannot be read: {line(exc)}")
            return
        after = time.time()
        there = seconds + micros / 1e6
        skew = max(before - there, there - after, 0.0)
        if skew <= _SKEW:
            yield ok(self._about, "its clock agrees with the clock here")
        else:
            yield warning(
                self._about,
                f"its clock differs from the clock here by {skew:.1f} s: etas, expiry "
                "and visibility_timeout are off by as much",
                "run NTP (chrony, systemd-timesyncd) on both machines",
            )

    # Rights.

    def broker_rights(self, prefix: str) -> Iterator[Finding]:
        """Try the commands that sending and the embedded worker need.

        Args:
            prefix: ``global_keyprefix``.
        """
        key = f"{prefix}_kombu.celerant.doctor-{secrets.token_hex(4)}"
        yield from self._tried(
            "a mark (WATCH, MULTI, SET, EXEC)",
            partial(self._mark, key),
            "give the user ~_kombu.celerant.* and +@transaction: without a mark, a "
            "lost reply leaves members unknown",
            weak=True,
        )
        yield from self._tried(
            "scripts (EVAL)",
            partial(self._client.eval, "return 1", 0),
            "give the user +@scripting: without it no worker runs here",
        )
        yield from self._tried(
            "CLIENT TRACKING",
            self._track,
            "give the user +client|tracking: without it the embedded worker takes one "
            "message at a time",
            weak=True,
        )

    def store_rights(self, prefix: str) -> Iterator[Finding]:
        """Try the commands that storing results and waiting for them need.

        Args:
            prefix: The prefix of the keys of results.
        """
        key = f"{prefix}doctor-{secrets.token_hex(4)}"
        yield from self._tried(
            "writing and reading results (SETEX, MGET, DEL)",
            partial(self._record, key),
            f"give the user ~{prefix}* and +@write +@read",
        )
        yield from self._tried(
            "PUBLISH",
            partial(self._client.publish, key, b""),
            f"give the user &{prefix}* and +publish: workers store results with it",
        )
        yield from self._tried(
            "PSUBSCRIBE",
            partial(self._subscribe, prefix),
            f"give the user &{prefix}* and +psubscribe: results are looked for at "
            "intervals without it",
        )
        yield from self._tried(
            "scripts (EVAL)",
            partial(self._client.eval, "return 1", 0),
            "give the user +@scripting: the embedded worker stores results with it",
        )

    def _tried(
        self,
        what: str,
        work: Callable[[], object],
        remedy: str,
        *,
        weak: bool = False,
    ) -> Iterator[Finding]:
        try:
            work()
        except Exception as exc:  # noqa: BLE001 - redis-py has many errors for a refusal
            text = f"{what} is refused: {line(exc)}"
            yield (warning if weak else problem)(self._about, text, remedy)
        else:
            yield ok(self._about, f"{what} is allowed")

    def _mark(self, key: str) -> None:
        with self._client.pipeline() as pipe:
            # The same step deletes the key, so it never stays.
            pipe.watch(key)
            pipe.multi()
            pipe.set(key, 1, ex=_KEPT)
            pipe.delete(key)
            pipe.execute()

    def _record(self, key: str) -> None:
        self._client.set(key, b"", ex=_KEPT)
        self._client.mget([key])
        self._client.delete(key)

    def _subscribe(self, prefix: str) -> None:
        with self._client.pubsub() as pubsub:
            pubsub.psubscribe(f"{prefix}doctor-*")
            pubsub.parse_response(block=False, timeout=5)

    def _track(self) -> None:
        with self._client.client() as one:
            one.execute_command("CLIENT", "TRACKING", "ON")
            one.execute_command("CLIENT", "TRACKING", "OFF")
