"""The list of an app's groups: those of the index, with how far they have come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from celerant.common.lately_used import LatelyUsed
from celerant.common.printable import line
from celerant.errors import CelerantError, HandleError, ResultExpired
from celerant.results.backends.beside import INDEX_MOST
from celerant.results.handle import NotAnnounced
from celerant.results.indexed import Entry, entries, result_of
from celerant.results.progress import in_words
from celerant.ui.events import KEEP_ALIVE, STILL_HERE, event

if TYPE_CHECKING:
    from celerant.app import Celerant
    from celerant.results.group_result import GroupResult
    from celerant.results.progress import Progress

__all__ = ["Listing", "Page", "Row", "page_events"]

#: States of groups that are looked at no more.
_ENDS = frozenset({"done", "gone"})
#: Groups of one page: each that is not known to be done costs a round trip.
_ROWS = 50
#: More samples of a group that the first one finds done.
_MORE_LOOKS = 5
#: Groups that are remembered, and for how many seconds: a second look at one costs less
#: than the first, and one that is done needs none.
_REMEMBERED, _AGE = 2 * INDEX_MOST, 3600.0
#: The same for pages: however many people look, the store is asked once a second.
_PAGES, _PAGE_AGE = 20, 1.0


@dataclass(frozen=True, slots=True)
class Row:
    """A group of the list; all but the numbers is text to show."""

    id: str
    tasks: str
    #: ISO 8601, UTC.
    sent_at: str
    #: "being sent", "running", "done" or "gone".
    state: str
    #: None: not known.
    total: int | None
    done: int | None
    progress: str
    failed: str
    rate: str
    left: str


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the list, the last sent first."""

    number: int
    rows: list[Row]
    #: Of the first page: groups that were sent earlier and are not done.
    earlier: list[Row]
    has_more: bool
    #: The id of the group that was sent last; empty: there is none.
    newest: str


class Listing:
    """Looks at the groups of an app's index."""

    def __init__(self, app: Celerant) -> None:
        self._app = app
        #: By the entry, for a group that is sent once more has another one: the result,
        #: and once it is done the row alone.
        self._known: LatelyUsed[GroupResult[Any] | Row] = LatelyUsed(_REMEMBERED, _AGE)
        self._pages: LatelyUsed[Page] = LatelyUsed(_PAGES, _PAGE_AGE)

    def lately(self, number: int) -> Page:
        """Return a page as it was within the last second.

        Raises:
            CelerantError: As `page`.
        """
        return self._pages.get(number, lambda: self.page(number))

    def page(self, number: int) -> Page:
        """Return a page, counted from 1.

        Raises:
            CelerantError: The store keeps no index, or is not reached.
        """
        found = entries(self._app.backend)
        start = (number - 1) * _ROWS
        rows = [self._row(entry) for entry in found[start : start + _ROWS]]
        earlier = self._in_flight(found[_ROWS:]) if number == 1 else []
        has_more = len(found) > start + _ROWS
        return Page(number, rows, earlier, has_more, found[0].id if found else "")

    def _in_flight(self, found: list[Entry]) -> list[Row]:
        """Return those that are not known to be done, once they were looked at.

        Each time some more are: looking at all of them would take seconds.
        """
        rows: list[Row] = []
        looks = 0
        for entry in found:
            if len(rows) == _ROWS:
                break
            if self._known.find((entry.id, entry.noted_at)) is None:
                looks += entry.handle is not None
                if looks > _ROWS:
                    continue
            row = self._row(entry)
            if row.state not in _ENDS:
                rows.append(row)
        return rows

    def _row(self, entry: Entry) -> Row:
        key = entry.id, entry.noted_at
        known = self._known.find(key)
        if isinstance(known, Row):
            return known
        try:
            result = known or result_of(entry, self._app.backend)
            if result is None:
                progress = f"being sent by {entry.sender}"
                return _row(entry, "being sent", progress=progress)
            row = _row_of(entry, _looked(result))
        except (HandleError, ResultExpired, NotAnnounced) as exc:
            row = _row(entry, "gone", progress=line(exc))
            result = None
        if result is None or row.state in _ENDS:
            self._known.put(key, row)
        elif entry.size is not None:
            # One that is being sent has its result with its sender.
            self._known.put(key, result)
        return row


def _looked(result: GroupResult[Any]) -> Progress:
    """Return a group's progress; if a sample finds it done, look at more members."""
    seen = result.progress()
    for _ in range(_MORE_LOOKS):
        if not seen.margin or seen.total is None or seen.done < seen.total:
            break
        seen = result.progress()
    return seen


def _row_of(entry: Entry, seen: Progress) -> Row:
    is_known = seen.total is not None
    is_done = is_known and seen.done >= (seen.total or 0) and not seen.margin
    failed = seen.failed + seen.revoked
    about = "about " if seen.margin else ""
    of_all = f" of {seen.total:,}" if is_known else ", and more are being sent"
    return _row(
        entry,
        "done" if is_done else "running" if is_known else "being sent",
        total=seen.total,
        done=seen.done,
        progress=f"{about}{seen.done:,}{of_all}",
        failed=f"{failed:,}" if failed else "",
        rate="" if is_done or seen.rate is None else f"{seen.rate:,.1f}/s",
        left=in_words(seen.eta) if seen.eta and not is_done else "",
    )


def _row(  # noqa: PLR0913 - the fields of a row
    entry: Entry,
    state: str,
    *,
    progress: str,
    total: int | None = None,
    done: int | None = None,
    failed: str = "",
    rate: str = "",
    left: str = "",
) -> Row:
    try:
        at = datetime.fromtimestamp(entry.sent_at, timezone.utc)
    except (OverflowError, OSError, ValueError):
        # Another program has written the note.
        at = datetime.fromtimestamp(0, timezone.utc)
    return Row(
        id=entry.id,
        tasks=", ".join(entry.tasks) or "not known yet",
        sent_at=at.isoformat(timespec="seconds"),
        state=state,
        total=entry.size if total is None else total,
        done=done,
        progress=progress,
        failed=failed,
        rate=rate,
        left=left,
    )


async def page_events(
    listing: Listing, number: int, interval: float
) -> AsyncIterator[bytes]:
    """Yield a page of the list as an event ``groups``, again after each change.

    It ends if the store is away: browsers ask again.

    Args:
        listing: Of the app.
        number: Of the page.
        interval: Seconds between two looks.
    """
    last: Page | None = None
    quiet = 0.0
    while True:
        try:
            page = await asyncio.to_thread(listing.lately, number)
        except CelerantError:
            return
        quiet += interval
        if page != last:
            last, quiet = page, 0.0
            yield event("groups", asdict(page))
        elif quiet >= KEEP_ALIVE:
            quiet = 0.0
            yield STILL_HERE
        await asyncio.sleep(interval)
