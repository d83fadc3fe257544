"""Messages from Redis, taken and settled in volleys.

One round trip settles messages and takes as many as there is room for. Redis tells when
an empty list changes, so an idle worker asks only once a second.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from kombu.utils.scheduling import priority_cycle, round_robin_cycle, sorted_cycle

from celerant.running.policy import Settlement
from celerant.worker.redis_message import read_messages
from celerant.worker.redis_notes import Notes, Taken
from celerant.worker.refused import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kombu.asynchronous import Hub

    from celerant.worker.message import Reader

__all__ = ["RedisIntake", "open_volleys"]

logger = logging.getLogger("celerant.worker")

#: The most messages of one round trip.
_MOST = 1000
#: The most round trips of one turn, so that the loop's other work gets its share.
_MOST_TRIPS = 4
#: Seconds between two questions of an idle worker, which also notice a lost Redis.
_INTERVAL = 1.0
#: The values of kombu before it had settings for them: seconds between two attempts to
#: restore messages, and how many attempts make one.
_RESTORE_INTERVAL, _RESTORE_THROTTLE = 10, 10


def _obstacle(channel: Any, queues: Sequence[Any]) -> str | None:
    """Return why a channel cannot bring volleys; None if it can."""
    if type(channel) not in {kombu_redis.Channel, kombu_redis.SentinelChannel}:
        return "the channel is not kombu's own for Redis"
    if not channel.ack_emulation:
        return "nothing is acknowledged (ack_emulation)"
    cycle = type(channel._queue_cycle)  # noqa: SLF001 - kombu has no public one
    if cycle not in {round_robin_cycle, priority_cycle, sorted_cycle}:
        return f"queue_order_strategy {cycle.__name__} is unknown"
    if channel.pool.connection_kwargs.get("credential_provider") is not None:
        return "a credential_provider may change the credentials"
    names = [queue.name for queue in queues if not _is_plain(queue)]
    return f"some queues are no plain lists: {', '.join(names)}" if names else None


def open_volleys(
    channel: Any, queues: Sequence[Any], **options: Any
) -> RedisIntake | None:
    """Return an intake that takes messages in volleys.

    None if only kombu can take them; the log says why.

    Args:
        channel: kombu's.
        queues: kombu's.
        options: Those of `RedisIntake`.

    Raises:
        RedisError, OSError: Redis is not reachable.
    """
    reason = _obstacle(channel, queues)
    if reason is None:
        intake = RedisIntake(**options)
        try:
            intake.open(channel, queues)
        except channel.ResponseError as exc:
            intake.close()
            reason = f"Redis refuses what it needs: {exc}"
        else:
            return intake
    logger.warning("messages come one at a time, because %s", reason)
    return None


def _is_plain(queue: Any) -> bool:
    """Whether a queue is a list that needs nothing else from kombu."""
    exchange = queue.exchange
    expires = queue.expires or (queue.queue_arguments or {}).get("x-expires")
    is_fanout = exchange is not None and exchange.type == "fanout"
    return not (is_fanout or expires or queue.no_ack)


class RedisIntake:
    """Takes messages from lists of Redis, and notes them as kombu does."""

    #: Any connection can settle a message.
    outlives = True
    in_volleys = True

    def __init__(
        self,
        receive: Callable[[Any, str], None],
        refuse: Callable[[Refused, str], None],
        waiting: Callable[[], int],
        reader: Reader,
    ) -> None:
        """Call `receive` for each message; `open` connects.

        Args:
            receive: Called with a message and the name of its queue.
            refuse: Called with a refusal and the name of its queue.
            waiting: Returns how many messages have come and not begun.
            reader: Reads them.
        """
        self._receive = receive
        self._refuse = refuse
        self._waiting = waiting
        self._reader = reader
        self._notes = Notes()
        self._channel: Any = None
        self._cycle: Any = None
        self._held = 0
        #: Tags of the messages that are not settled.
        self._open: set[str] = set()
        self._settled: list[str] = []
        #: The tag of each rejected message, and the message if it could be read.
        self._rejected: list[tuple[str, Any]] = []
        self._again: list[Any] = []
        self._is_cancelled = False
        #: Whether Redis will tell when a message comes.
        self._is_watching = False
        #: Whether the next round trip asks Redis to tell.
        self._asks = True

    def open(self, channel: Any, queues: Sequence[Any]) -> None:
        """Connect as `channel` (kombu's) does; called again if a connection was lost.

        Raises:
            ResponseError: Redis does not permit a command, or is too old.
            RedisError, OSError: Redis is not reachable.
        """
        for queue in queues:
            queue(channel).declare()
        self._notes.open(channel)
        self._channel = channel
        self._cycle = channel._queue_cycle  # noqa: SLF001 - kombu has no public one
        self._cycle.update([queue.name for queue in queues])
        self._is_watching, self._asks = False, True
        self._bring(self._notes.recover())

    def begin(self, hub: Hub | None) -> None:
        """Let `hub` wait until Redis tells of messages."""
        assert hub is not None  # noqa: S101 - kombu's Redis always has an event loop
        channel = self._channel
        hub.add_reader(self._notes.fileno(), self._hear)
        hub.call_repeatedly(_INTERVAL, self._look)
        hub.call_repeatedly(
            getattr(channel, "unacked_restore_interval", _RESTORE_INTERVAL),
            self._restore,
        )

    def _hear(self) -> None:
        self._notes.drain()
        self._look()

    def _look(self) -> None:
        self._is_watching, self._asks = False, True

    def _restore(self) -> None:
        """Put back messages that lost workers did not settle, as every worker does."""
        channel = self._channel
        try:
            channel.qos.restore_visible(
                num=channel.unacked_restore_limit,
                interval=getattr(
                    channel, "unacked_restore_throttle", _RESTORE_THROTTLE
                ),
            )
        except channel.connection_errors:
            logger.debug("messages are restored later", exc_info=True)
        except Exception as exc:  # noqa: BLE001 - a note may hold anything
            logger.warning("messages cannot be restored (%s)", exc)

    # -- each turn of the loop -----------------------------------------------------

    def turn(self) -> None:
        """Settle messages, and take as many as there is room for."""
        if self._again:
            again, self._again = self._again, []
            self._put_back(again, first=False)
        while self._rejected:
            # Removed once it is done, so that the next connection does the rest.
            self._reject(*self._rejected[-1])
            self._rejected.pop()
        for _ in range(_MOST_TRIPS):
            settled, most = self._settled, self._room()
            if not settled and not most:
                break
            self._settled = []
            try:
                self._trip(settled, most)
            except BaseException:
                # The next connection settles them again.
                self._settled = settled + self._settled
                raise

    def _trip(self, settled: list[str], most: int) -> None:
        cycle = self._cycle
        taken, left = self._notes.exchange(
            settled,
            most,
            cycle.consume(len(cycle.items)),
            turns=type(cycle) is round_robin_cycle,
            asks=bool(most) and self._asks,
        )
        self._bring(taken)
        if most:
            self._is_watching = left == 0
            # If fewer messages came than there is room for, there may be no more.
            self._asks = taken is None or len(taken.tags) < most

    def _room(self) -> int:
        if self._is_cancelled or self._is_watching or not self._cycle.items:
            return 0
        if not self._held:
            return 0 if self._waiting() > _MOST else _MOST
        room = self._held - len(self._open)
        # Take none while there is little room: each few would cost a round trip.
        if room <= 0 or (room * 2 < self._held and self._waiting()):
            return 0
        return min(room, _MOST)

    def _bring(self, taken: Taken | None) -> None:
        if taken is None:
            return
        self._open.update(taken.tags)
        messages = read_messages(
            taken.whole,
            taken.lengths,
            self._channel,
            self._reader.limits,
            self._reader.longest,
        )
        for message, tag, queue in zip(messages, taken.tags, taken.queues, strict=True):
            self._cycle.rotate(queue)
            if isinstance(message, Refused):
                self._open.discard(tag)
                self._rejected.append((tag, None))
                self._refuse(message, queue)
                continue
            message.noted_as, message.queue = tag, queue
            self._receive(message, queue)

    # -- settling --------------------------------------------------------------------

    def hold(self, wanted: int) -> None:
        """Hold at most `wanted` messages from the next turn on; 0 is without limit."""
        self._held = wanted

    def settle(self, message: Any, settlement: Settlement) -> None:
        """Settle a message at the next turn."""
        if settlement is Settlement.REQUEUE:
            self._open.discard(message.noted_as)
            self._again.append(message)
        elif settlement is Settlement.REJECT and message.noted_as in self._open:
            self._open.discard(message.noted_as)
            self._rejected.append((message.noted_as, message))
        else:
            self._forget(message.noted_as)

    def _reject(self, tag: str, message: Any) -> None:
        """Reject a message by kombu, which users may have extended for dead letters."""
        qos = self._channel.qos
        if message is not None:
            # Such an extension finds the message there.
            virtual.QoS.append(qos, message, tag)
        qos.reject(tag, requeue=False)

    def _forget(self, tag: str) -> None:
        if tag in self._open:
            self._open.discard(tag)
            self._settled.append(tag)

    def give_back(self, messages: Sequence[Any]) -> None:
        """Put messages back, to be taken before all others in their order."""
        self._open.difference_update(message.noted_as for message in messages)
        self._put_back(list(reversed(messages)), first=True)

    def _put_back(self, messages: list[Any], *, first: bool) -> None:
        back = [(m.noted_as, m.queue, m.serializable()) for m in messages]
        try:
            self._notes.give_back(back, first=first)
        except BaseException:
            self._again = messages + self._again
            raise

    # -- queues ----------------------------------------------------------------------

    def add(self, queue: Any) -> None:
        """Take from one more queue.

        Raises:
            ValueError: Only kombu can take from the queue.
        """
        if not _is_plain(queue):
            msg = f"queue {queue.name!r} needs a worker that is started with it"
            raise ValueError(msg)
        self._cycle.update([*self._cycle.items, queue.name])
        self._look()

    def drop(self, name: str) -> None:
        """Stop taking from a queue."""
        self._cycle.update([item for item in self._cycle.items if item != name])

    def cancel(self) -> None:
        """Take no more messages."""
        self._is_cancelled = True

    def has_ended(self) -> bool:
        """Whether no more messages can come."""
        return self._is_cancelled

    def close(self) -> None:
        """Close the connections; raises nothing."""
        self._notes.close()
