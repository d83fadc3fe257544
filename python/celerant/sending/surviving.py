"""Groups that survive their sender: by a journal another one goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from kombu.exceptions import EncodeError
from kombu.utils.json import dumps, loads

from celerant._core import Barrier, Fate, Ledger, Prints, Roster
from celerant.canvas.feed_options import FeedOptions
from celerant.canvas.source import Mapped, stream_in
from celerant.common.urls import masked, scheme
from celerant.dispatch.journaling import Assignment, Resumed
from celerant.errors import CanvasError, JournalError, SettingError
from celerant.errors.report import runs_of
from celerant.results.group_result import GroupResult
from celerant.results.handle import keep_handle, seed_of
from celerant.results.handle_format import is_handle
from celerant.results.tracking.survival import Survival
from celerant.sending.call import SentCall
from celerant.sending.journal_file import FileJournal, JournalFile
from celerant.sending.journal_past import Past
from celerant.sending.journal_records import VERSION, mark_name
from celerant.sending.journal_redis import RedisJournal

if TYPE_CHECKING:
    from celerant.canvas.group import group
    from celerant.context.host import App
    from celerant.dispatch.feeding import Fed
    from celerant.dispatch.run import Dispatched
    from celerant.errors.report import Intervals, Report
    from celerant.results.tracking.members import Members
    from celerant.sending.journal_records import KeptJournal
    from celerant.sending.outgoing import Outgoing

__all__ = [
    "Surviving",
    "TakenUp",
    "end_of",
    "end_of_fed",
    "kept_journal",
    "settle_known",
]

#: Options that are objects of this process.
_LIVE = ("producer", "publisher", "connection")


class TakenUp(NamedTuple):
    """A group that another process began to send, as it is gone on with here."""

    result: GroupResult[Any]
    call: SentCall
    options: FeedOptions
    resumed: Resumed
    ledger: Ledger
    #: What its journal says.
    past: Past


class Surviving:
    """Begins journals, and takes up groups by them."""

    def __init__(self, app: App, outgoing: Outgoing) -> None:
        self._app = app
        self._outgoing = outgoing

    def begin(  # noqa: PLR0913, PLR0917 - all that is kept
        self,
        given: str | os.PathLike[str] | bool,  # noqa: FBT001 - as the option
        options: FeedOptions,
        members: Members,
        group_id: str,
        source: Any,
        call: SentCall,
    ) -> KeptJournal:
        """Begin the journal of a group that is about to be sent.

        Raises:
            SettingError: This group cannot have one; nothing is sent.
            JournalError: Another group has it.
            OSError: The file cannot be written.
        """
        app, outgoing, roster = self._app, self._outgoing, members.roster
        if scheme(app.conf.broker_write_url) == "memory":
            msg = (
                "group: a journal outlives its process, and the messages of a "
                "memory:// broker do not: use another one, or send it without journal="
            )
            raise SettingError(msg, name="journal", path="group")
        head = {
            "celerant": VERSION,
            "seed": roster.seed.hex(),
            "group": group_id,
            "app": app.name,
            "broker": self._broker,
            "size": _size_of(source),
            "sent_at": time.time(),
            "feed": options._replace(journal=None)._asdict(),
            "call": _packed(call),
        }
        prints = members.prints = members.prints or Prints()
        seed = roster.seed
        if isinstance(given, bool):
            if not outgoing.backend.supports_handles:
                msg = (
                    "group: journal=True needs a result store that other processes "
                    "read, for the group's handle: give the path of a file instead"
                )
                raise SettingError(msg, name="journal", path="group")
            made = RedisJournal.create(outgoing, seed, head, prints)
            _lead_here(made, members, group_id)
            return made
        file = JournalFile.create(os.fspath(given), head)
        name = mark_name(seed)
        journal = FileJournal(file, name, Assignment(1), prints)
        members.survival = Survival(journal.used)
        return journal

    def take_up(
        self, members: group[Any], given: Any, unknown: Literal["send", "skip"]
    ) -> TakenUp:
        """Return a group of another process as it goes on here; see `group.resume`.

        Raises:
            HandleError: No app on this store made the handle.
            JournalError: The journal is garbled, another group's or app's, or another
                sender has it.
            CanvasError: The source is gone, or has another length.
            PublishError: The broker does not answer.
        """
        if not is_handle(given):
            file, past = JournalFile.open(os.fspath(given))
            with _released(file.close):
                taken, number = self._taken_up(members, past, unknown)
            kept = taken.call.journal = FileJournal(file, *_anew(taken, number))
            taken.result.members.survival = Survival(kept.used, used=past.used)
            return taken
        seed = seed_of(given, self._app.backend)
        keys, past = RedisJournal.open(self._outgoing, seed)
        with _released(keys.release):
            taken, number = self._taken_up(members, past, unknown)
        journal = RedisJournal(keys, *_anew(taken, number))
        taken.call.journal = journal
        _lead_here(journal, taken.result.members, taken.result.id, past.used)
        return taken

    def again(self, call: SentCall, report: Report, rest: Intervals) -> None:
        """Have the journal of a group that is gone on with in this process."""
        journal = call.journal
        if journal is not None:
            journal.again(report, self._outgoing.look(journal.name), rest)

    def _taken_up(
        self, members: group[Any], past: Past, unknown: Literal["send", "skip"]
    ) -> tuple[TakenUp, int | None]:
        """Return the group, and the number of its mark."""
        head, where, source = past.head, past.where, members["kwargs"]["tasks"]
        self._refuse_other(members, past)
        number = self._outgoing.look(past.mark_name)
        standing = past.standing(number)
        past.forget_unsent(standing)
        rest = standing.rest
        if unknown == "send":
            rest = sorted(rest + standing.unknown)
        double = runs_of(past.double)
        resumed = Resumed(rest, standing.known, standing.total, double)
        try:
            options = FeedOptions(**head["feed"])
            kept = loads(head["call"])
            args, kwargs, given = tuple(kept["args"]), kept["kwargs"], kept["options"]
            roster, group_id = Roster(past.seed), str(head["group"])
            sent_since = float(head.get("sent_at", past.written_at))
        except (KeyError, TypeError, ValueError) as exc:
            msg = f"{where} is garbled: {exc!r}"
            raise JournalError(msg) from exc
        outgoing = self._outgoing
        call = SentCall(source, args, kwargs, given, outgoing.backend.losses)
        kept_members = outgoing.members(roster, call)
        # The mean rate is that of both senders.
        kept_members.sent_since = sent_since
        kept_members.prints = Prints.unpack(bytes(past.prints[: 2 * standing.known]))
        if options.stamps:
            call.stamp = group_id
            kept_members.stamps = [group_id]
        ledger = Ledger()
        ledger.grow(standing.known)
        ledger.mark_range(0, standing.known, Fate.CONFIRMED)
        for ranges, fate in (
            (standing.rest, Fate.UNSENT),
            (standing.unknown, Fate.UNKNOWN),
        ):
            for start, stop in ranges:
                if start < standing.known:
                    ledger.mark_range(start, min(stop, standing.known), fate)
        result: GroupResult[Any] = GroupResult(group_id, kept_members)
        taken = TakenUp(result, call, options, resumed, ledger, past)
        return taken, number

    def _refuse_other(self, members: group[Any], past: Past) -> None:
        """Refuse a journal of another app, or of a group that is seen to be another.

        Raises:
            JournalError: It is; nothing was sent.
        """
        head, where, app = past.head, past.where, self._app
        source = members["kwargs"]["tasks"]
        stream = stream_in(source)
        if stream is not None:
            stream.check()
        if (head.get("app"), head.get("broker")) != (app.name, self._broker):
            msg = (
                f"{where} is of app {head.get('app')!r} on {head.get('broker')}, and "
                f"this is app {app.name!r} on {self._broker}"
            )
            raise JournalError(msg)
        if members.id not in {None, head.get("group")}:
            msg = (
                f"{where} is of group {head.get('group')}, and this group was frozen "
                f"as {members.id}"
            )
            raise JournalError(msg)
        size, before = _size_of(source), head.get("size")
        if size is not None and before is not None and size != before:
            at = min(size, before)
            msg = (
                f"group[{at}]: {where} is of a group of {before} members, and this one "
                f"has {size}; nothing is sent of it"
            )
            raise CanvasError(msg, path=f"group[{at}]")
        if (past.end or {}).get("end") == "cancel":
            msg = (
                f"{where}: the group was cancelled, and workers know it: send its "
                "members as a new group"
            )
            raise CanvasError(msg, path="group")

    @property
    def _broker(self) -> str:
        """Where messages go, without passwords."""
        return masked(self._app.conf.broker_write_url)


def end_of(call: SentCall, sent: Dispatched) -> None:
    """Tell the journal of a group its end, if it has one."""
    if call.journal is not None:
        call.journal.end(sent.report, is_whole=sent.error is None, why=None)


def end_of_fed(
    call: SentCall,
    fed: Fed,
    error: BaseException | None,
    why: str | None,
    *,
    is_over: bool,
) -> bool:
    """Tell the journal of a group that was fed its end, if it has one.

    Args:
        call: With what it was sent.
        fed: What was sent.
        error: Why its source was not read to its end, if so.
        why: What stopped it, if something did.
        is_over: Whether its thread is done with it; else it may be in its source, and
            what left last may not be confirmed yet.

    Returns:
        Whether no other sender goes on with the group by its journal.
    """
    journal = call.journal
    if journal is None:
        return True
    if is_over:
        is_whole = fed.is_read and error is None
        journal.end(fed.report, is_whole=is_whole, why=why)
    else:
        journal.stop(why)
    return not journal.is_lost


@contextmanager
def kept_journal(call: SentCall, *, discards: bool = True) -> Iterator[None]:
    """Keep the journal of a group only if something of it leaves.

    Args:
        call: With what it is sent.
        discards: Whether it was made for this; else it goes on to wait for a sender.
    """
    try:
        yield
    except BaseException:
        journal = call.journal
        if journal is not None:
            (journal.discard if discards else journal.close)()
        raise


def settle_known(taken: TakenUp) -> None:
    """Wait for no results that cannot come.

    Those that were used are gone, and where results go to one process, they went to
    the one that is dead. The members that had left are known by now.
    """
    members, resumed, past = taken.result.members, taken.resumed, taken.past
    for ranges, state in (
        (past.failed, Barrier.FAILURE),
        (past.used, Barrier.SUCCESS),
    ):
        for start, stop in ranges:
            members.settle(range(start, stop), state)
            members.values.drop(range(start, stop))
    backend = members.backend
    kept = backend.expires
    has_expired = bool(kept) and time.time() - past.written_at > kept
    if backend.supports_handles and not has_expired:
        return
    start = 0
    for first, stop in [*resumed.rest, (resumed.known, resumed.known)]:
        end = min(first, resumed.known)
        if start < end:
            members.settle(range(start, end), Barrier.EXPIRED)
        start = max(start, stop)


def _anew(taken: TakenUp, number: int | None) -> tuple[bytes, Assignment, Prints]:
    """Return the arguments of the journal of a sender that goes on."""
    prints, past, resumed = taken.result.members.prints, taken.past, taken.resumed
    assert prints is not None  # noqa: S101 - it was given them
    unknown = taken.ledger.intervals(Fate.UNKNOWN)
    total = resumed.total
    rest, known = resumed.rest, resumed.known
    assignment = past.next_assignment(number, rest, unknown, total, known)
    return past.mark_name, assignment, prints


def _lead_here(
    journal: RedisJournal,
    members: Members,
    group_id: str,
    used: Iterable[tuple[int, int]] = (),
) -> None:
    """Let handles from before the group's end lead to it afterwards."""
    members.survival = Survival(journal.used, has_handle=True, used=[*used])
    journal.on_end = partial(keep_handle, group_id, members)


@contextmanager
def _released(release: Callable[[], None]) -> Iterator[None]:
    """Let others have a journal that is not gone on with, after all."""
    try:
        yield
    except BaseException:
        release()
        raise


def _size_of(source: Any) -> int | None:
    """Return how many items a group's list has; None of what is read once."""
    items: Any = source.items if isinstance(source, Mapped) else source
    if stream_in(source) is not None or not hasattr(items, "__len__"):
        return None
    return len(items)


def _packed(call: SentCall) -> str:
    """Return arguments and options of a call as text.

    Raises:
        SettingError: One is an object of this process.
    """
    live = [name for name in _LIVE if call.options.get(name) is not None]
    kept = {"args": call.args, "kwargs": dict(call.kwargs), "options": call.options}
    try:
        text: str = dumps(kept)
    except (TypeError, ValueError, EncodeError) as exc:
        msg = f"group: a journal cannot keep what it is sent with: {exc}"
        raise SettingError(msg, name="journal", path="group") from exc
    if live:
        msg = (
            f"group: a journal cannot keep the option {live[0]!r}, which is of this "
            "process"
        )
        raise SettingError(msg, name=live[0], path="group")
    return text
