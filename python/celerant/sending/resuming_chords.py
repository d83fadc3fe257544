"""Chords whose header did not leave whole, and the rest of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from celerant.errors import CanvasError
from celerant.errors.report import Intervals

if TYPE_CHECKING:
    from celerant.results.backends.base import Backend
    from celerant.results.group_result import GroupResult
    from celerant.sending.call import SentCall

__all__ = ["InterruptedChord", "forget_unsent", "left_over"]


@dataclass(slots=True)
class InterruptedChord:
    """What is needed to send the rest of a header."""

    #: The header's tasks as they were given.
    source: Any
    call: SentCall
    #: The header's result.
    members: GroupResult[Any]
    #: Says of how many parts it consists; None where that was said.
    tell_size: Callable[[], None] | None
    #: Keeps the header's form, where there are groups in it.
    keep_form: Callable[[int], None]


def left_over(
    chord: InterruptedChord | None, shown: str, unknown: Literal["send", "skip"]
) -> Intervals:
    """Return which of a header's tasks are to be sent again.

    Raises:
        CanvasError: It is no chord that was interrupted here, or its tasks are gone.
    """
    if unknown not in {"send", "skip"}:
        msg = f"unknown must be 'send' or 'skip', not {unknown!r}"
        raise ValueError(msg)
    if chord is None or chord.members.report is None:
        msg = (
            f"result {shown} is of no chord that this app has begun to send in this "
            "process; resume takes what PublishError.result is"
        )
        raise CanvasError(msg, path="chord")
    if not isinstance(chord.source, (list, tuple)):
        msg = (
            "a chord whose header came from a generator or from group.map cannot be "
            "resumed: its tasks are gone, and nobody knows how many they are"
        )
        raise CanvasError(msg, path="chord")
    report = chord.members.report
    only = report.unsent + report.rejected
    if unknown == "send":
        only += report.unknown
    return sorted(only)


def forget_unsent(result: Any, backend: Backend) -> None:
    """Delete what was stored for those that wait for a body elsewhere.

    Where the body has run all the same, as the broker had got more than was known, its
    result stays.
    """
    stored = [
        task_id
        for task_id in result.task_ids()
        if _says_not_sent(backend.decode(backend.read(task_id)))
    ]
    backend.forget(stored)


def _says_not_sent(meta: dict[str, Any]) -> bool:
    said = meta.get("result")
    if meta.get("status") != "FAILURE" or not isinstance(said, dict):
        return False
    return bool(said.get("exc_type") == "NotSent")
