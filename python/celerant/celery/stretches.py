"""The members of a Celery group in Celery's order, cut by the way they may be sent.

Source: ``group._prepared`` of celery 5.7.0: depth first as written, each level counts
its own members, empty chains leave gaps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from celery import canvas
from celery.utils.abstract import CallableSignature
from celery.utils.functional import _regen
from kombu.utils.uuid import uuid

from celerant._core import monotonic
from celerant.celery.eligibility import (
    CHAINS,
    GROUPS,
    of_chain,
    of_chains,
    of_signature,
)
from celerant.celery.generators import drawn
from celerant.celery.member_tasks import MemberChain, MemberTask, MemberTasks
from celerant.celery.versions import SKIPS_EMPTY_CHAINS

__all__ = ["GroupReader", "Slow", "Stretch", "is_taken_apart"]

_MAPS = (canvas.xmap, canvas.xstarmap)

#: How many members of a generator leave together: at first, after one that leaves
#: alone, and at most. Slow members leave when one is drawn and so many seconds have
#: passed.
_SECOND, _MOST, _LINGER = 16, 8192, 0.02

#: Options of a frozen member that its stretch has for all members.
_OF_RUN = frozenset({"group_index", "chord"})


_DICT = "it is a plain dict"


def _is_skipped(task: Any) -> bool:
    is_empty = isinstance(task, canvas._chain) and not task.tasks  # noqa: SLF001 - Celery has no public one
    return is_empty and SKIPS_EMPTY_CHAINS


def is_taken_apart(task: Any) -> bool:
    """Whether a member is a group whose members are sent instead of it."""
    return type(task) in GROUPS and not vars(task).keys() - {"_app", "_type"}


class Slow:
    """A member that takes Celery's own path.

    Args:
        prepare: Yields the items of ``group._prepared``: the frozen signature, its
            result and the group's id.
        reason: The reason why it takes that path.
    """

    __slots__ = ("prepare", "reason")

    def __init__(
        self, prepare: Callable[[], Iterator[tuple[Any, Any, str]]], reason: str
    ) -> None:
        self.prepare = prepare
        self.reason = reason


class Stretch:
    """Members next to each other that are sent in the same way."""

    __slots__ = (
        "canvases",
        "chord",
        "is_fast",
        "member_tasks",
        "originals",
        "positions",
    )

    def __init__(self, *, is_fast: bool) -> None:
        self.is_fast = is_fast
        #: The signature that the core reads.
        self.canvases: list[Any] = []
        #: The same as they were given; `Slow` for slow ones.
        self.originals: list[Any] = []
        #: `group_index` of each.
        self.positions: list[int] = []
        self.member_tasks: list[MemberTask | MemberChain] = []
        #: The body of the chord that has all of them in its header, if any.
        self.chord: Any = None

    def __len__(self) -> int:
        return len(self.originals)

    def tasks(self) -> Counter[str]:
        """Count the members of each task."""
        return Counter(sent.name for sent in self.member_tasks)


class _Pace:
    """The times at which members from a generator leave while others may follow."""

    def __init__(self) -> None:
        self._limit = 1
        self._started = monotonic()

    def is_due(self, stretch: Stretch) -> bool:
        """Whether a stretch leaves now."""
        is_old = monotonic() - self._started > _LINGER
        return is_old or len(stretch) >= self._limit

    def sent(self) -> None:
        """Hear that a stretch was sent."""
        self._limit = min(max(self._limit * 2, _SECOND), _MOST)
        self._started = monotonic()


class GroupReader:
    """Reads a group.

    Args:
        app: The group's.
        member_tasks: Collects the tasks.
        group_id: The group's.
        options: The call's.
        uuid4: Whether members get random ids.
    """

    def __init__(
        self,
        app: Any,
        member_tasks: MemberTasks,
        group_id: str,
        options: dict[str, Any],
        *,
        uuid4: bool,
    ) -> None:
        self._app = app
        self._member_tasks = member_tasks
        self._group_id = group_id
        self._root_id = options.get("root_id")
        self._route_name = options.get("route_name")
        self._reads_names = bool(app.amqp.router.routes)
        self._uuid4 = uuid4
        self._no_chains = of_chains()
        if uuid4 or self._route_name is not None:
            self._no_chains = "random ids, and names of routes, are for single tasks"

    def stretches(self, members: Any, chord: Any) -> Iterable[tuple[Stretch, bool]]:
        """Return a group's members, cut at each change of the way of sending.

        A list's stretches are a list, which is read whole; a generator's are read as
        they are iterated over.

        Args:
            members: The group.
            chord: The body of the chord that has it as its header, from the call.
        Returns:
            Stretches, and whether each is the last; one that is no part of a chord
            leaves before that is known.
        """
        held = not isinstance(members.tasks, _regen)
        pace = None if held else _Pace()
        found = self._stretches(members, pace, is_header=chord is not None)
        return list(found) if held else found

    def reason(self, given: Any, *, level: int) -> str | None:
        """Return why one member takes Celery's own path; None: it is in a volley.

        Args:
            given: The member, as it is in its group; no group that is taken apart.
            level: Groups around that group.
        """
        if not isinstance(given, CallableSignature):
            if level == 0:
                return _DICT
            given = canvas.maybe_signature(given, app=self._app)
        if _is_skipped(given):
            return None
        _, found, sent = self._signature(0, given)
        return None if sent is not None else str(found.reason)

    def _stretches(
        self, members: Any, pace: _Pace | None, *, is_header: bool
    ) -> Iterator[tuple[Stretch, bool]]:
        stretch: Stretch | None = None
        for position, original, sent in self._walk(members, level=0):
            is_fast = sent is not None
            chord = original["options"].get("chord") if is_fast else None
            if stretch is not None and (
                stretch.is_fast != is_fast
                or stretch.chord is not chord
                or (pace is not None and pace.is_due(stretch))
            ):
                yield stretch, False
                stretch = None
                if pace is not None:
                    pace.sent()
            if stretch is None:
                stretch = Stretch(is_fast=is_fast)
                stretch.chord = chord
            stretch.originals.append(original)
            stretch.positions.append(position)
            if sent is not None:
                stretch.canvases.append(self._plain(original))
                stretch.member_tasks.append(sent)
            # A member that may be the last part of a chord waits until that is known.
            is_free = is_fast and chord is None and not is_header
            if pace is not None and is_free and pace.is_due(stretch):
                yield stretch, False
                stretch = None
                pace.sent()
        if stretch is not None:
            yield stretch, True

    def _walk(
        self, members: Any, *, level: int
    ) -> Iterator[tuple[int, Any, MemberTask | MemberChain | None]]:
        """Yield position, member and task; without a task the member is `Slow`."""
        for position, given in enumerate(drawn(members.tasks)):
            if type(given) is canvas.Signature and level == 0:
                yield self._signature(position, given)
                continue
            is_own = isinstance(given, CallableSignature)
            task = given
            if level > 0:
                # As in a copy of a group, which gives its app to its members.
                task = canvas.maybe_signature(given, app=members._app)  # noqa: SLF001 - Celery has no public one
            elif not is_own:
                task = canvas.Signature.from_dict(given, app=self._app)
            if is_taken_apart(task):
                yield from self._walk(task, level=level + 1)
            elif _is_skipped(task):
                continue
            elif is_own or level > 0:
                yield self._signature(position, task)
            else:
                # Celery writes ids into it, and it keeps them when it is sent again.
                yield position, self._slow(position, task, _DICT), None

    def _signature(
        self, position: int, task: Any
    ) -> tuple[int, Any, MemberTask | MemberChain | None]:
        cls = type(task)
        if cls is canvas.Signature or cls in _MAPS:
            sent = self._member_tasks.of(task)
            reason = of_signature(task) or sent.reason
            if reason is None:
                return position, task, sent
        elif cls in CHAINS:
            reason = self._no_chains or of_chain(task)
            if reason is None:
                chained = self._member_tasks.of_chain(task)
                reason = chained.reason
                if reason is None:
                    return position, task, chained
        else:
            reason = f"it is a {cls.__name__}"
        return position, self._slow(position, task, reason), None

    def _plain(self, task: Any) -> Any:
        """Return a member for the core, without the options that its stretch has."""
        if type(task) in CHAINS:
            return {**task}
        if type(task) in _MAPS:
            task = self._map(task)
        options = task["options"]
        if not self._uuid4 and (not options or options.keys().isdisjoint(_OF_RUN)):
            return task
        options = {**options}
        for option in _OF_RUN:
            options.pop(option, None)
        if self._uuid4 and not options.get("task_id"):
            options["task_id"] = uuid()
        # As a copy of a signature has them: a tuple.
        return {**task, "args": tuple(task["args"]), "options": options}

    def _map(self, task: Any) -> dict[str, Any]:
        """Return the signature that `xmap.apply_async` sends."""
        inner, items = task.kwargs["task"], task.kwargs["it"]
        options = dict(task.options)
        name = self._route_name or options.pop("route_name", None)
        if self._reads_names:
            options["route_name"] = name or canvas.task_name_from(inner)
        return {
            "task": task.task,
            "args": (),
            "kwargs": {"task": inner, "it": list(items)},
            "options": options,
            "subtask_type": None,
            "immutable": True,
        }

    def _slow(self, position: int, task: Any, reason: str) -> Slow:
        def prepare() -> Iterator[tuple[Any, Any, str]]:
            signature = task if reason == _DICT else task.clone()
            if isinstance(signature, canvas.group):
                yield from signature._prepared(  # noqa: SLF001 - a subclass's own
                    signature.tasks, [], self._group_id, self._root_id, self._app
                )
                return
            result = signature.freeze(
                group_id=self._group_id, root_id=self._root_id, group_index=position
            )
            yield signature, result, self._group_id

        return Slow(prepare, reason)
