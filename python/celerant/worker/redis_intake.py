"""Messages out of Redis in volleys, settled in volleys.

One round trip settles messages and takes as many as there is room for. An empty list is
watched: Redis tells when it changes, so an idle worker asks at most once a second.
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

    from celerant.common.limits import Limits

__all__ = ["RedisIntake", "open_volleys"]

logger = logging.getLogger("celerant.worker")

#: How many messages one round trip takes if no limit is set.
_MOST = 1000
#: How many round trips are made before others have their turn in the loop.
_MOST_TRIPS = 4
#: Seconds between questions of an idle worker; they also notice a Redis that is gone.
_INTERVAL = 1.0
#: kombu's own values, before it had settings for them: seconds, and calls per
#: restoring.
_RESTORE_INTERVAL, _RESTORE_THROTTLE = 10, 10


def _obstacle(channel: Any, queues: Sequence[Any]) -> str | None:
    """Return why volleys cannot come by a channel; None if they can."""
    if type(channel) not in {kombu_redis.Channel, kombu_redis.SentinelChannel}:
        return "it is no channel of kombu's own for Redis"
    if not channel.ack_emulation:
        return "nothing is acknowledged (ack_emulation)"
    cycle = type(channel._queue_cycle)  # noqa: SLF001 - kombu has no public one
    if cycle not in {round_robin_cycle, priority_cycle, sorted_cycle}:
        return f"it does not know queue_order_strategy {cycle.__name__}"
    if channel.pool.connection_kwargs.get("credential_provider") is not None:
        return "credentials change"
    names = [queue.name for queue in queues if not _is_plain(queue)]
    return f"no plain list of Redis: {', '.join(names)}" if names else None


def open_volleys(
    channel: Any, queues: Sequence[Any], **options: Any
) -> RedisIntake | None:
    """Return an intake that takes queues in volleys.

    None if kombu must, and the log tells why.

    Args:
        channel: kombu's.
        queues: kombu's.
        options: Those of `RedisIntake`.

    Raises:
        RedisError, OSError: Redis is not reached.
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
    logger.warning("messages come one at a time, for %s", reason)
    return None


def _is_plain(queue: Any) -> bool:
    """Whether a queue is a list that kombu does nothing else for."""
    exchange = queue.exchange
    expires = queue.expires or (queue.queue_arguments or {}).get("x-expires")
    is_fanout = exchange is not None and exchange.type == "fanout"
    return not (is_fanout or expires or queue.no_ack)


class RedisIntake:
    """Messages of lists in Redis, with kombu's notes."""

    #: Any connection can settle a tag.
    outlives = True

    def __init__(
        self,
        receive: Callable[[Any, str], None],
        refuse: Callable[[Refused, str], None],
        waiting: Callable[[], int],
        limits: Limits,
    ) -> None:
        """Call `receive` for each message; `open` connects.

        Args:
            receive: Called with a message and its queue.
            refuse: Called with a refusal and its queue.
            waiting: Returns how many are here and not started.
            limits: The limits of messages that are read.
        """
        self._receive = receive
        self._refuse = refuse
        self._waiting = waiting
        self._limits = limits
        self._notes = Notes()
        self._channel: Any = None
        self._cycle: Any = None
        self._held = 0
        #: Tags of messages here that are not settled.
        self._open: set[str] = set()
        self._settled: list[str] = []
        #: The tag of each, and the message if there is one.
        self._rejected: list[tuple[str, Any]] = []
        self._again: list[Any] = []
        self._is_cancelled = False
        #: Whether Redis will tell when there is more.
        self._is_watching = False
        #: Whether the next question finds that out.
        self._asks = True

    def open(self, channel: Any, queues: Sequence[Any]) -> None:
        """Take `queues` by a channel (kombu's); a later one if the first was lost.

        Raises:
            ResponseError: Redis does not permit it, or is too old.
            RedisError, OSError: Redis is not reached.
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
        """Wait in `hub` until Redis tells that there is a message."""
        assert hub is not None  # noqa: S101 - kombu's Redis has an event loop everywhere
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
        """Put back messages that others did not settle, as every worker does."""
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
        except Exception as exc:  # noqa: BLE001 - whatever was noted
            logger.warning("messages cannot be restored (%s)", exc)

    # -- each turn of the loop -----------------------------------------------------

    def turn(self) -> None:
        """Settle messages, and take as many as there is room for."""
        if self._again:
            again, self._again = self._again, []
            self._put_back(again, first=False)
        while self._rejected:
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
                # The next connection tells it again.
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
            # If fewer came than there is room for, there may be no more.
            self._asks = taken is None or len(taken.tags) < most

    def _room(self) -> int:
        if self._is_cancelled or self._is_watching or not self._cycle.items:
            return 0
        if not self._held:
            return 0 if self._waiting() > _MOST else _MOST
        room = self._held - len(self._open)
        # Taking a few at a time would cost a round trip for each.
        if room <= 0 or (room * 2 < self._held and self._waiting()):
            return 0
        return min(room, _MOST)

    def _bring(self, taken: Taken | None) -> None:
        if taken is None:
            return
        self._open.update(taken.tags)
        messages = read_messages(
            taken.whole, taken.lengths, self._channel, self._limits
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
        """Hold that many messages, from the next turn on."""
        self._held = wanted

    def settle(self, message: Any, settlement: Settlement) -> None:
        """Tell Redis at the next turn."""
        if settlement is Settlement.REQUEUE:
            self._open.discard(message.noted_as)
            self._again.append(message)
        elif settlement is Settlement.REJECT and message.noted_as in self._open:
            self._open.discard(message.noted_as)
            self._rejected.append((message.noted_as, message))
        else:
            self._forget(message.noted_as)

    def _reject(self, tag: str, message: Any) -> None:
        """Reject by kombu, since people hook into it to treat dead letters."""
        qos = self._channel.qos
        if message is not None:
            # A hook looks there, and the next message drops the former ones.
            virtual.QoS.append(qos, message, tag)
        qos.reject(tag, requeue=False)

    def _forget(self, tag: str) -> None:
        if tag in self._open:
            self._open.discard(tag)
            self._settled.append(tag)

    def give_back(self, messages: Sequence[Any]) -> None:
        """They are taken before all others, in their order."""
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
            ValueError: kombu alone can take from it.
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
        """Stop taking."""
        self._is_cancelled = True

    def has_ended(self) -> bool:
        """Whether no message can come: no question stays under way for long."""
        return self._is_cancelled

    def close(self) -> None:
        """Give the connections back."""
        self._notes.close()
