"""The failures of a group, with like failures together."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

from celerant._core import Barrier
from celerant._core import Failures as Counter
from celerant.common.printable import line
from celerant.errors import TaskError
from celerant.markup import grid, table
from celerant.results.tracking.exceptions import RemoteTraceback, rebuild
from celerant.results.tracking.intake import unreadable

if TYPE_CHECKING:
    from celerant.results.tracking.members import Members

__all__ = ["Failure", "Failures", "failures_of"]

#: The most members that one call of the store reads.
_CHUNK = 1000
#: How many members of like failures are named: as many as the core keeps.
_EXAMPLES = 5
_BUILTINS = ("", "builtins")
#: Ways to fail that a notebook shows, and how much of each text.
_SHOWN_WAYS, _SHOWN_TEXT = 8, 100


@dataclass(frozen=True, slots=True)
class Failure:
    """Like failures: of one exception, raised at one place.

    `str()` gives a few lines.
    """

    #: The exception's class, with its module unless it is a builtin.
    exc_type: str
    #: The message of the first failure.
    message: str
    #: The last frame of the user's code, ``file:line in function``; None if unknown.
    frame: str | None
    #: How many such failures there are.
    count: int
    #: Positions of a few of them in the group, and their tasks' ids.
    indices: tuple[int, ...]
    ids: tuple[str, ...]

    @property
    def is_listed(self) -> bool:
        """Whether `indices` has all of them."""
        return self.count <= len(self.indices)

    def __str__(self) -> str:
        said = f": {line(self.message)}" if self.message else ""
        lines = [f"{self.count:,} x {self.exc_type}{said}"]
        if self.frame is not None:
            lines.append(f"    {self.frame}")
        examples = zip(self.indices, self.ids, strict=True)
        named = [f"[{index}] {task_id}" for index, task_id in examples]
        more = [] if self.is_listed else ["..."]
        lines.append(f"    {', '.join(named + more)}")
        return "\n".join(lines)


class Failures(Sequence[Failure]):
    """The failures of a group, the most frequent first.

    `str()` gives a text for a ticket.

    Args:
        group_id: The group's id.
        size: How many members the group has so far.
        groups: Its failures, like ones together.
    """

    def __init__(self, group_id: str, size: int, groups: Sequence[Failure]) -> None:
        self.group_id = group_id
        self.size = size
        self._groups = tuple(groups)

    @property
    def total(self) -> int:
        """How many members failed."""
        return sum(group.count for group in self._groups)

    def __len__(self) -> int:
        """Return how many kinds of failures there are."""
        return len(self._groups)

    @overload
    def __getitem__(self, index: int) -> Failure: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Failure]: ...
    def __getitem__(self, index: int | slice) -> Failure | Sequence[Failure]:
        return self._groups[index]

    def __str__(self) -> str:
        if not self._groups:
            return self._head()
        return "\n\n".join([f"{self._head()}:", *map(str, self._groups)])

    def _head(self) -> str:
        ways = f", in {len(self)} ways" if len(self) > 1 else ""
        return (
            f"{self.total:,} of {self.size:,} members of group {self.group_id} "
            f"failed{ways}"
        )

    def _repr_html_(self) -> str:
        """Return it for a notebook: the most frequent ways to fail."""
        rows: list[Sequence[object]] = [
            (
                f"{way.count:,}",
                line(f"{way.exc_type}: {way.message}", _SHOWN_TEXT),
                line(way.frame or "", _SHOWN_TEXT),
                ", ".join(map(str, way.indices)) + ("" if way.is_listed else ", ..."),
            )
            for way in self._groups[:_SHOWN_WAYS]
        ]
        more = len(self) - len(rows)
        if more:
            rows.append(("", f"... {more:,} more ways", "", ""))
        if not rows:
            return table(self._head(), ())
        return grid(self._head(), ("count", "exception", "where", "members"), rows)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} of group {self.group_id}: {self.total} of "
            f"{self.size} members, {len(self)} way{'' if len(self) == 1 else 's'}>"
        )


def failures_of(members: Members, group_id: str) -> Failures:
    """Return the failures of members; see `GroupResult.failures`."""
    if next(iter(members.nested), None) is not None:
        # No record is a group's: its own members tell whether it failed.
        members.look()
    counter = Counter()
    _add_known(counter, members)
    if not (members.is_watched or members.barrier.is_complete):
        # Not absorbed: a caller that wants failures needs none of the values.
        _add_stored(counter, members)
    _add_lost(counter, members)
    groups = []
    for exc_type, module, message, frame, count, indices in counter.ranked():
        name = exc_type if module in _BUILTINS else f"{module}.{exc_type}"
        where = None if frame is None else f"{frame[0]}:{frame[1]} in {frame[2]}"
        ids = members.roster.select(indices)
        groups.append(Failure(name, message, where, count, tuple(indices), tuple(ids)))
    return Failures(group_id, len(members.barrier), groups)


def _add_known(counter: Counter, members: Members) -> None:
    """Count the failures that this process knows."""
    barrier = members.barrier
    start = 0
    while indices := barrier.select(Barrier.FAILURE, start, _CHUNK):
        start = indices[-1] + 1
        kept = [members.values.get(index) for index in indices]
        made = [at for at, one in enumerate(kept) if not isinstance(one, bytes)]
        if made and not members.ran_here and members.backend.supports_handles:
            # Their exceptions have replaced their records, so read these again.
            wanted = members.roster.select([indices[at] for at in made])
            for at, record in zip(made, members.backend.fetch(wanted), strict=True):
                kept[at] = record if record is not None else kept[at]
        _read(counter, members, indices, kept)


def _add_stored(counter: Counter, members: Members) -> None:
    """Count the failures in the store, and end members whose records have expired."""
    barrier, start = members.barrier, 0
    is_late = barrier.is_sealed and members.may_have_expired()
    while indices := barrier.pending(start, _CHUNK):
        start = indices[-1] + 1
        records = members.backend.fetch(members.roster.select(indices))
        _read(counter, members, indices, records)
        if is_late:
            found = zip(indices, records, strict=True)
            gone = [index for index, record in found if record is None]
            members.settle(gone, Barrier.EXPIRED)


def _read(
    counter: Counter, members: Members, indices: list[int], kept: Sequence[object]
) -> None:
    records = [one if isinstance(one, bytes) else None for one in kept]
    for at in counter.read(indices, records):
        exc = _decoded(members, indices[at], records[at])
        if exc is not None:
            _add(counter, indices[at], exc)
    for index, one in zip(indices, kept, strict=True):
        if not isinstance(one, bytes) and members.is_done(index):
            _add(counter, index, members.exception(index))


def _decoded(
    members: Members, index: int, record: bytes | None
) -> BaseException | None:
    """Return the exception in a record that kombu reads, if there is one."""
    try:
        meta = members.backend.decode(record)
        return rebuild(meta) if meta.get("status") == "FAILURE" else None
    except Exception as exc:  # noqa: BLE001 - a record may hold anything
        return unreadable(members.roster.id(index), exc)


def _add_lost(counter: Counter, members: Members) -> None:
    """Count members that were not sent, and expired ones, each kind as alike."""
    for state in (Barrier.NOT_SENT, Barrier.EXPIRED):
        examples = members.barrier.select(state, 0, _EXAMPLES)
        for index in examples:
            last = index == examples[-1]
            count = members.barrier.count(state) - len(examples) + 1 if last else 1
            # Raised by a wait, it has a traceback of the caller's, who did not fail.
            _add(counter, index, members.exception(index), count, has_run=False)


def _add(
    counter: Counter,
    index: int,
    exc: BaseException,
    count: int = 1,
    *,
    has_run: bool = True,
) -> None:
    kind = type(exc)
    name, module, message = kind.__qualname__, kind.__module__, line(exc)
    if isinstance(exc, TaskError) and exc.exc_type:
        # The class of the exception is not imported here.
        name, module = exc.exc_type, exc.exc_module or ""
    cause = exc.__cause__
    if isinstance(cause, RemoteTraceback):
        text = cause.text
    else:
        is_told = has_run and exc.__traceback__ is not None
        text = "".join(traceback.format_exception(exc)) if is_told else ""
    counter.add(index, name, module, message, text, count)
