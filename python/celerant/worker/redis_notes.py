"""kombu's lists and notes in Redis, over connections of our own.

redis-py does not retry these commands: a command that is sent twice would take two
volleys.
"""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kombu.utils.json import dumps

from celerant.common.redis_pool import connection_of
from celerant.worker.redis_scripts import GIVE_BACK, PROBE, TAKE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Notes", "Taken"]

#: A reply gets no more messages once it has this many bytes.
_ROOM = 4 << 20
#: The most messages that one call puts back; each takes three arguments of a script.
_MOST_BACK = 500
#: How many replies a settling transaction has: MULTI, ZREM, HDEL and EXEC.
_SETTLING = 4
#: The channel on which Redis tells of changed keys.
_CHANGES = "__redis__:invalidate"


@dataclass(frozen=True, slots=True)
class Taken:
    """The messages of one reply."""

    #: All messages as one JSON array.
    whole: bytes
    #: The length of each message in bytes.
    lengths: list[int]
    #: The name of each message's queue.
    queues: list[str]
    #: The tag under which each message is noted.
    tags: list[str]


class Notes:
    """Takes messages, notes them as kombu does, and settles them.

    Tags outlive connections, so a later connection can settle a message.
    """

    def __init__(self) -> None:
        # Longer than `zset-max-listpack-value` (64): Redis keeps a small index of
        # shorter tags as a list, and compares a new tag with each, for 11 us a message.
        self._tag_prefix = f"{uuid.uuid4().hex}{uuid.uuid4().hex}-"
        self._number = 0
        #: Of a command whose reply has not come: the number before its first tag, and
        #: how many tags it may have used. None if all replies have come.
        self._unheard: tuple[int, int] | None = None
        self._redis: Any = None
        self._ear: Any = None
        self._channel: Any = None
        self._shas: dict[str, bytes] = {}

    def open(self, channel: Any) -> None:
        """Connect as `channel` (kombu's) does, and check that all commands work.

        Raises:
            ResponseError: The user may not use a command, or Redis does not know it.
            RedisError, OSError: Redis is not reachable.
        """
        self.close()
        self._channel = channel
        prefix = channel.global_keyprefix or ""
        self._key_prefix = prefix
        self._notes = prefix + channel.unacked_key
        self._index = prefix + channel.unacked_index_key
        self._ear, self._redis = _connection(channel.pool), _connection(channel.pool)
        self._shas = {
            script: self._ask("SCRIPT", "LOAD", script)
            for script in (TAKE, GIVE_BACK, PROBE)
        }
        tag = self._tag_prefix + "probe"
        self._ask("EVALSHA", self._shas[PROBE], 2, self._notes, self._index, tag)
        self._listen()

    def _listen(self) -> None:
        """Let Redis tell when a key that was found empty changes."""
        ear = self._ear
        own_id = _ask(ear, "CLIENT", "ID")
        if not _pushes(ear):
            _ask(ear, "SUBSCRIBE", _CHANGES)
        self._ask("CLIENT", "TRACKING", "ON", "REDIRECT", own_id, "NOLOOP")

    def fileno(self) -> int:
        """Return the socket that becomes readable once an empty list has a message."""
        sock: Any = self._ear._sock  # noqa: SLF001 - redis-py has no public way to it
        number: int = sock.fileno()
        return number

    def drain(self) -> None:
        """Read what Redis has told about changed lists.

        Raises:
            RedisError, OSError: The connection is lost.
        """
        options = {"push_request": True} if _pushes(self._ear) else {}
        while self._ear.can_read(0):
            self._ear.read_response(**options)

    def exchange(
        self,
        settled: Sequence[str],
        most: int,
        queues: Sequence[str],
        *,
        turns: bool,
        asks: bool,
    ) -> tuple[Taken | None, int | None]:
        """Forget tags and take messages, in one round trip.

        Args:
            settled: Tags of settled messages.
            most: How many messages to take; 0 takes none.
            queues: The queues' names, in the order in which they are tried.
            turns: Whether the queues take turns.
            asks: Whether to ask how many lists have more, and to be told of changes
                if none has.

        Returns:
            The messages, None if none were taken; and how many lists have more, None
            if that was not asked.
        """
        keys = self._lists(queues)
        commands: list[tuple[Any, ...]] = []
        if most:
            commands.append(self._taking(most, queues, keys, turns=turns))
        if asks:
            commands.append(("EXISTS", *keys))
        packed = self._redis.pack_commands(commands)
        if settled:
            packed.insert(0, self._settling(settled))
        self._redis.send_packed_command(packed, check_health=False)
        if settled:
            for _ in range(_SETTLING):
                self._reply()
        replies = [self._reply() for _ in commands]
        left = replies.pop() if asks else None
        taken = None
        if most:
            taken = self._taken(replies[0], queues)
            self._unheard = None
        return taken, left

    def _settling(self, tags: Sequence[str]) -> bytes:
        """Return kombu's transaction for acknowledging, for many messages at once."""
        # Packed by hand: redis-py would spend more on the tags than all other work on
        # a message costs.
        packed = "".join([f"${len(tag)}\r\n{tag}\r\n" for tag in tags])
        count = len(tags) + 2
        return (
            "*1\r\n$5\r\nMULTI\r\n"
            f"*{count}\r\n$4\r\nZREM\r\n{_bulk(self._index)}{packed}"
            f"*{count}\r\n$4\r\nHDEL\r\n{_bulk(self._notes)}{packed}"
            "*1\r\n$4\r\nEXEC\r\n"
        ).encode()

    def _lists(self, queues: Sequence[str]) -> list[str]:
        channel = self._channel
        return [
            self._key_prefix + channel._q_for_pri(queue, step)  # noqa: SLF001 - kombu's own key
            for step in channel.priority_steps
            for queue in queues
        ]

    def _taking(
        self, most: int, queues: Sequence[str], keys: list[str], *, turns: bool
    ) -> tuple[Any, ...]:
        # The note has no exchange, so that a restored message goes only to its queue.
        ends = [f',"",{json.dumps(queue)}]' for queue in queues]
        first, self._number = self._number, self._number + most
        self._unheard = first, most
        return (
            "EVALSHA",
            self._shas[TAKE],
            len(keys) + 2,
            self._notes,
            self._index,
            *keys,
            repr(time.time()),
            self._tag_prefix,
            first,
            most,
            _ROOM,
            int(turns),
            *ends,
        )

    def _taken(self, reply: Any, queues: Sequence[str]) -> Taken | None:
        if not reply:
            return None
        places, lengths, whole = reply
        first, _ = self._unheard or (0, 0)
        names = [queues[int(place) - 1] for place in places.split(b",")]
        return Taken(
            whole,
            [int(length) for length in lengths.split(b",")],
            names,
            [f"{self._tag_prefix}{first + n}" for n in range(1, len(names) + 1)],
        )

    def recover(self) -> Taken | None:
        """Return the messages of a command whose reply was lost, if it took any."""
        if self._unheard is None:
            return None
        first, most = self._unheard
        tags = [f"{self._tag_prefix}{first + n}" for n in range(1, most + 1)]
        kept = [
            (tag, note)
            for tag, note in zip(
                tags, self._ask("HMGET", self._notes, *tags), strict=True
            )
            if note
        ]
        self._unheard = None
        if not kept:
            return None
        messages, queues = [], []
        for _, note in kept:
            # `_taking` has ended the note in this way.
            message, _, queue = note[1:-1].rpartition(b',"",')
            messages.append(message)
            queues.append(json.loads(queue))
        whole = b"[" + b",".join(messages) + b"]"
        return Taken(whole, list(map(len, messages)), queues, [tag for tag, _ in kept])

    def give_back(
        self, messages: Iterable[tuple[str, str, dict[str, Any]]], *, first: bool
    ) -> None:
        """Put messages back into their queues, marked as redelivered.

        Args:
            messages: The tag, the queue and kombu's envelope of each message. With
                `first`, the message that is to be taken first comes last.
            first: Whether they are taken before all other messages, or after them.
        """
        left = list(messages)
        while left:
            part, left = left[:_MOST_BACK], left[_MOST_BACK:]
            args: list[Any] = ["RPUSH" if first else "LPUSH"]
            for tag, _, raw in part:
                args += (tag, dumps(_delivered(raw)))
            keys = [self._list_of(queue, raw) for _, queue, raw in part]
            self._ask(
                "EVALSHA",
                self._shas[GIVE_BACK],
                len(keys) + 2,
                self._notes,
                self._index,
                *keys,
                *args,
            )

    def _list_of(self, queue: str, raw: dict[str, Any]) -> str:
        channel = self._channel
        priority = channel._get_message_priority(raw, reverse=False)  # noqa: SLF001 - kombu's own
        key: str = channel._q_for_pri(queue, priority)  # noqa: SLF001 - kombu's own key
        return self._key_prefix + key

    def close(self) -> None:
        """Close the connections; raises nothing."""
        for connection in (self._redis, self._ear):
            if connection is not None:
                connection.disconnect()
        self._redis = self._ear = None

    def _ask(self, *command: Any) -> Any:
        return _ask(self._redis, *command)

    def _reply(self) -> Any:
        return self._redis.read_response(disable_decoding=True)


def _bulk(text: str) -> str:
    return f"${len(text.encode())}\r\n{text}\r\n"


def _connection(pool: Any) -> Any:
    made = connection_of(pool, "EVALSHA")
    made.connect()
    return made


def _ask(connection: Any, *command: Any) -> Any:
    connection.send_command(*command, check_health=False)
    return connection.read_response(disable_decoding=True)


def _pushes(connection: Any) -> bool:
    """Whether Redis pushes changes (protocol 3), and does not use a channel."""
    get = getattr(connection, "get_protocol", None)
    return str(get() if get else getattr(connection, "protocol", 2)) == "3"


def _delivered(raw: dict[str, Any]) -> dict[str, Any]:
    """Return an envelope that is marked as redelivered, as kombu marks it."""
    raw["headers"]["redelivered"] = True
    raw["properties"].setdefault("delivery_info", {})["redelivered"] = True
    return raw
