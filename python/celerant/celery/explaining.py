"""Why a canvas, or a member of it, would take Celery's own path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from celery import canvas

from celerant.celery.canvas import group
from celerant.celery.eligibility import of_app, of_call
from celerant.celery.functions import actual
from celerant.celery.generators import app_of, pulled
from celerant.celery.installing import is_lazy, obstacle
from celerant.celery.member_tasks import MemberTasks
from celerant.celery.sending import SETTINGS
from celerant.celery.stretches import GroupReader, is_taken_apart
from celerant.errors import CanvasError

__all__ = ["Explanation", "Reason", "explain"]


@dataclass(frozen=True)
class Reason:
    """A part that takes Celery's own path, and the reason."""

    #: ``group[3]`` is a group's fourth member, ``chord.chord_header`` a whole header,
    #: ``chain[1]`` a chain's second step.
    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class Explanation:
    """How a canvas would leave, in this process, now.

    It is true if all messages that this process sends for the canvas leave in volleys.
    """

    #: Whether `install` is in place, with no other code in its way.
    is_installed: bool
    #: Members that leave in volleys, as far as they are known; none does without the
    #: swap-in.
    volleyed: int
    #: The parts that take Celery's own path, in the order of the canvas.
    reasons: tuple[Reason, ...]
    #: Parts that cannot be known, or that this process does not send.
    notes: tuple[Reason, ...] = ()
    #: Whether all members are known: a generator's are not, before it has given them.
    is_counted: bool = True

    def __bool__(self) -> bool:
        return not self.reasons

    def __str__(self) -> str:
        place = "in place" if self.is_installed else "not in place"
        lines = [
            f"the swap-in is {place}; {self._count()}",
            *(f"Celery's own path: {reason}" for reason in self.reasons),
            *(f"note: {note}" for note in self.notes),
        ]
        return "\n".join(lines)

    def _count(self) -> str:
        if self.volleyed == 0:
            which = "" if self.is_counted else " that its generator has given so far"
            return f"no member{which} leaves in a volley"
        count = "" if self.is_counted else "at least "
        if self.volleyed == 1:
            return f"{count}1 member leaves in a volley"
        return f"{count}{self.volleyed} members leave in volleys"


def explain(canvas_: Any, /, **options: Any) -> Explanation:
    """Say which members leave in volleys, and why others take Celery's own path.

    Nothing is sent. Of a generator at most the first member is drawn, which tells the
    group's app; it stays with the group.

    Args:
        canvas_: A group, chord, chain or signature of Celery's; a list or tuple is
            read as the members of a group.
        options: Options of its `apply_async`.
    Returns:
        An object that prints a line for each reason, and is true if there is none.
    Raises:
        CanvasError: It is no canvas of Celery's.
    """
    if isinstance(canvas_, (list, tuple)):
        canvas_ = canvas.group(canvas_)
    if not isinstance(canvas_, canvas.Signature):
        msg = (
            "explain: give a group, chord, chain or signature of Celery's, or a list "
            f"of these, not {type(canvas_).__name__}"
        )
        raise CanvasError(msg, path="")
    found = _Looking(options)
    path = _name(canvas_)
    found.canvas(canvas_, path)
    # Only now: the app may have made the loader that installs.
    missing = obstacle()
    # A group of ours needs no installing.
    if missing is not None and type(canvas_) is not group:
        found.reasons.insert(0, Reason(path, missing))
        found.volleyed = 0
    if is_lazy():
        found.notes.append(Reason("CELERY_LOADER", _LAZY))
    return Explanation(
        missing is None,
        found.volleyed,
        tuple(found.reasons),
        tuple(found.notes),
        found.is_counted,
    )


def _name(member: Any) -> str:
    kind = member.get("subtask_type")
    return kind if kind in {"group", "chord", "chain"} else "task"


_LAZY = (
    "it installed the swap-in when an app first needed its loader, at the latest in "
    "this call; a group sent before that took Celery's own path"
)


class _Looking:
    """The findings about one canvas."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = dict(options)
        self.volleyed = 0
        self.is_counted = True
        self.reasons: list[Reason] = []
        self.notes: list[Reason] = []

    def canvas(self, found: Any, path: str) -> None:
        """Look at a canvas that is sent by itself."""
        if isinstance(found, canvas.group):
            self._group(found, path, self._options)
        elif isinstance(found, canvas._chord):  # noqa: SLF001 - Celery has no public one
            self._chord(found, path)
        elif isinstance(found, canvas._chain):  # noqa: SLF001 - the same
            self._chain(found, path)
        elif isinstance(found, canvas.chunks):
            self.canvas(found.group(), f"{path}.group()")
        else:
            self._own(path, "a single task is sent by Celery itself")

    def _own(self, path: str, reason: str) -> None:
        self.reasons.append(Reason(path, reason))

    def _chord(self, found: Any, path: str) -> None:
        header = found.tasks
        if not isinstance(header, canvas.group):
            header = canvas.group(header, app=found._app)  # noqa: SLF001 - as Celery does
        # Options of a chord's call, except callbacks, go to its header.
        options = {**found.options, **self._options}
        for option in ("link", "link_error", "task_id", "countdown", "eta"):
            options.pop(option, None)
        self._group(header, f"{path}.chord_header", options)
        if found.body is None:
            self.notes.append(Reason(path, "it has no body yet"))

    def _chain(self, found: Any, path: str) -> None:
        steps = found.tasks
        if not steps:
            self.notes.append(Reason(path, "it has no steps: nothing is sent"))
            return
        app = found._app  # noqa: SLF001 - Celery has no public one
        first, *others = (canvas.maybe_signature(step, app=app) for step in steps)
        if isinstance(first, (canvas.group, canvas._chord)):  # noqa: SLF001 - the same
            self.canvas(first, f"{path}[0]")
        else:
            self._own(f"{path}[0]", "a chain's first task is sent by Celery itself")
        for index, step in enumerate(others, 1):
            if isinstance(step, (canvas.group, canvas._chord)):  # noqa: SLF001 - the same
                told = "it is sent by the worker that runs the step before"
                self.notes.append(Reason(f"{path}[{index}]", told))

    def _group(self, found: Any, path: str, options: dict[str, Any]) -> None:
        try:
            app = actual(app_of(found))
        except AttributeError:
            self._own(path, "its first member is a plain dict, which has no app")
            return
        reason = of_call(app, found, options) or of_app(app)
        if reason is not None:
            self._own(path, reason)
            return
        merged = {**found.options, **options}
        reader = GroupReader(app, MemberTasks(app), "", merged, uuid4=SETTINGS.uuid4)
        self._members(found, path, reader, level=0)

    def _members(
        self, found: Any, path: str, reader: GroupReader, *, level: int
    ) -> None:
        members, are_all = pulled(found.tasks)
        for index, member in enumerate(members):
            at = f"{path}[{index}]"
            if is_taken_apart(member):
                self._members(member, at, reader, level=level + 1)
                continue
            reason = reader.reason(member, level=level)
            if reason is None:
                self.volleyed += 1
            else:
                self._own(at, reason)
        if not are_all:
            self.is_counted = False
            told = "what its generator has not given yet is looked at when it comes"
            self.notes.append(Reason(path, told))
