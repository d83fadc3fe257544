"""Subscribe to records: by a channel for each task, or a pattern for a large group.

If all patterns are in use, a large group gets no subscription and is read at intervals.
A group that is still being sent may become large, so it begins with a pattern.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from celerant._core import Barrier

if TYPE_CHECKING:
    from celerant.results.consuming.feed import ConsumerBackend, Feed
    from celerant.results.consuming.routes import Routes, Watch
    from celerant.results.tracking.members import Members

__all__ = ["SUBSCRIBE_FIRST", "Subscriptions"]

logger = logging.getLogger("celerant")

#: Up to this many members are subscribed to before their first sweep. With more
#: members, the sweep comes first, because it may save most subscriptions.
SUBSCRIBE_FIRST = 1000
#: A group with more pending members than this gets a pattern and no channels. Patterns
#: are few, because each costs the server time at every PUBLISH: 1,000 of them slow it
#: from 202k/s to 19k/s.
_CHANNELS_MOST = 50_000
_PATTERNS_MOST = 2
#: The most patterns with those for groups that are still being sent, which so take none
#: away from two large groups.
_PATTERNS_OPEN = 4
#: Seconds within which a second loss means that the server closes the feed because its
#: output buffer is full.
_LOST_WITHIN = 60.0


class Subscriptions:
    """Subscribes for watches; the consumer's thread uses it."""

    def __init__(self, backend: ConsumerBackend, routes: Routes) -> None:
        self._backend = backend
        self._routes = routes
        #: Whether the server refuses subscriptions, so that only sweeps bring results.
        self.is_refused = False
        #: Whether the server refuses patterns.
        self._has_no_patterns = False
        self._lost_at: float | None = None
        #: Large groups for which no pattern was left.
        self._unheard: set[Watch] = set()

    @property
    def is_alone(self) -> bool:
        """Whether only sweeps bring the records of some members."""
        return self.is_refused or bool(self._unheard)

    def is_unheard(self, watch: Watch) -> bool:
        """Whether only sweeps bring the records of this watch."""
        return watch in self._unheard

    def begin(self, feed: Feed, watch: Watch, members: Members) -> None:
        """Subscribe to the pending members of a watch."""
        watch.channels, watch.has_pattern = [], False
        self._unheard.discard(watch)
        if feed.is_complete or self.is_refused:
            return
        barrier = members.barrier
        is_open = not barrier.is_sealed
        # In an open group all members count, or it would change to and fro.
        is_large = (len(barrier) if is_open else barrier.remaining) > _CHANNELS_MOST
        if (is_open or is_large) and not self._has_no_patterns:
            most = _PATTERNS_OPEN if is_open else _PATTERNS_MOST
            if self._patterns() < most and self._take_pattern(feed, watch):
                own = _pending(members, watch.own)
                self._subscribe_to(feed, watch, [watch.own[index] for index in own])
                return
            if is_large and not self._has_no_patterns:
                self._unheard.add(watch)
                return
        indices = barrier.pending(0, len(barrier))
        self._subscribe_to(feed, watch, watch.roster.select(indices))

    def extend(
        self, feed: Feed, watch: Watch, members: Members, start: int
    ) -> Sequence[int]:
        """Subscribe to the new members of `watch`, from index `start` on.

        Returns:
            The members to read once, because their records may have been stored before
            the subscription.
        """
        came = range(start, watch.covered)
        if self.is_refused or self.is_unheard(watch):
            return ()
        if feed.is_complete or watch.has_pattern:
            own = _pending(members, [index for index in came if index in watch.own])
            if not feed.is_complete:
                self._subscribe_to(feed, watch, watch.roster.select(own))
            return own
        pending = _pending(members, came)
        if len(watch.channels) + len(pending) <= _CHANNELS_MOST:
            self._subscribe_to(feed, watch, watch.roster.select(pending))
            return pending
        before = set(watch.channels)
        self.begin(feed, watch, members)
        feed.unsubscribe(sorted(before.difference(watch.channels)))
        return pending

    def _take_pattern(self, feed: Feed, watch: Watch) -> bool:
        """Subscribe to all derived ids of a watch; return False if that is refused."""
        watch.has_pattern = feed.subscribe_prefix(watch.roster.prefix)
        if not watch.has_pattern:
            self._has_no_patterns = True
            logger.warning(
                "results: %s does not permit PSUBSCRIBE; a channel per task instead",
                self._backend.as_uri(),
            )
        return watch.has_pattern

    def end(self, feed: Feed, watch: Watch) -> None:
        """Undo `begin`."""
        self._unheard.discard(watch)
        if not self._routes.watches:
            # With no members left to serve, the next ones may try again.
            self.is_refused = self._has_no_patterns = False
            if len(watch.channels) > SUBSCRIBE_FIRST or watch.has_pattern:
                # One disconnect is cheaper than a reply for each channel.
                feed.reset()
                return
        if watch.channels:
            feed.unsubscribe(watch.channels)
        if watch.has_pattern:
            feed.unsubscribe_prefix(watch.roster.prefix)
        watch.channels, watch.has_pattern = [], False

    def forget_all(self) -> None:
        """Note that no watch is left."""
        self._unheard.clear()

    def on_lost(self, exc: Exception, now: float) -> None:
        """Note that the feed was lost at `now` (`monotonic`)."""
        if self._lost_at is not None and now - self._lost_at < _LOST_WITHIN:
            if not self.is_refused:
                logger.warning(
                    "results: %s closed the subscription twice (%s); reading instead",
                    self._backend.as_uri(),
                    exc,
                )
            self.is_refused = True
        self._lost_at = now

    def _patterns(self) -> int:
        return sum(watch.has_pattern for watch in self._routes.watches)

    def _subscribe_to(self, feed: Feed, watch: Watch, ids: list[str]) -> None:
        if not ids:
            return
        if feed.subscribe(ids):
            watch.channels += ids
            return
        logger.warning(
            "results: %s does not permit SUBSCRIBE; reading at intervals instead",
            self._backend.as_uri(),
        )
        self.is_refused = True


def _pending(members: Members, indices: Iterable[int]) -> list[int]:
    state = members.barrier.state
    return [index for index in indices if state(index) == Barrier.PENDING]
