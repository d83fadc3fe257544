"""What a journal holds: its records, and who writes them.

A journal of a file is a line for each record: a checksum of 8 hex digits, a space, and
JSON. A journal in Redis is a list of the same JSON.

```text
{"celerant": 1, "seed": .., "group": .., ..}   what is sent, and how; the first record
{"epoch": 1, "rest": [[0, 4294967295]], ..}    a sender begins, and what it is to send;
                                               "unknown" of that may have left before,
                                               all else before "known" has left;
                                               "token" is the sender's own
[start, stop, low, generic, prints]            members start to stop leave; all before
                                               low are confirmed
[low]                                          all before low are confirmed
{"double": [[0, 9]]}                           members that may be in a queue twice
{"used": [[0, 9]], "failed": [[3, 4]]}         members whose results are deleted, and
                                               those among them that failed
{"end": why, "of": 1, "token": .., ..}         the sender of that epoch ended by itself
```
"""

from __future__ import annotations

import logging
import os
import socket
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from celerant.dispatch.journaling import Assignment, Journal
from celerant.errors import CelerantError
from celerant.errors.report import Intervals, runs_of

if TYPE_CHECKING:
    from celerant.errors.report import Report

__all__ = ["VERSION", "KeptJournal", "mark_name", "record_of", "sender"]

logger = logging.getLogger("celerant")

#: The version of the form above.
VERSION = 1


class KeptJournal(Journal):
    """The journal of a group, which tells its own end, too."""

    #: Tells this sender from another of the same epoch.
    token: str

    def renew(self, assignment: Assignment) -> None:
        """Be the journal of another sender."""
        super().renew(assignment)
        self.token = os.urandom(8).hex()

    @abstractmethod
    def append(self, record: Any) -> None:
        """Keep a record."""

    @abstractmethod
    def close(self) -> None:
        """Let others go on with it."""

    @abstractmethod
    def discard(self) -> None:
        """Close and remove it: nothing was sent by it."""

    @abstractmethod
    def again(self, report: Report, number: int | None, rest: Intervals) -> None:
        """Open it once more: the group goes on in this process.

        Args:
            report: What became of the members so far.
            number: Of the mark now; None: there is none.
            rest: What is to be sent.

        Raises:
            JournalError: Another sender has gone on by it, or does so now.
        """

    def is_replaced(self) -> bool:
        """Whether another sender goes on by it, or has done so.

        Raises:
            JournalError, PublishError: The broker does not say so.
        """
        return self.is_lost

    def append_late(self, record: Any) -> None:
        """Keep a record, also after `close`."""
        self.append(record)

    def used(self, indices: Sequence[int], failed: Sequence[int]) -> None:
        """Keep that the results of members are about to be deleted; see `Survival`."""
        self.append_late({"used": runs_of(indices), "failed": runs_of(failed)})

    def write_double(self, double: set[int]) -> None:
        """Keep which members may be in a queue twice."""
        if self.is_lost:
            return
        self.append({"double": runs_of(double)})

    def end(self, report: Report, *, is_whole: bool, why: str | None) -> None:
        """Keep what became of all members, and close it.

        Args:
            report: Their fates.
            is_whole: Whether the source was read to its end.
            why: What stopped it, if not that.
        """
        record = {
            **self._end(why),
            "count": report.total,
            "whole": is_whole,
            "unsent": sorted(report.unsent + report.rejected),
            "unknown": report.unknown,
        }
        self._append_last(record)

    def stop(self, why: str | None) -> None:
        """Close it while it is not known what became of the last members."""
        self._append_last(self._end(why))

    def _end(self, why: str | None) -> dict[str, Any]:
        return {"end": why, "of": self.assignment.epoch, "token": self.token}

    def _append_last(self, record: Any) -> None:
        try:
            # What became of the members is the other's to tell.
            if self.is_replaced():
                self.is_lost = True
            else:
                self.append(record)
        except (CelerantError, OSError) as exc:
            logger.warning("the end of a group is not in its journal: %s", exc)
        finally:
            self.close()


def record_of(journal: KeptJournal) -> dict[str, Any]:
    """Return the record of a sender that begins."""
    assignment = journal.assignment
    return {
        "epoch": assignment.epoch,
        "token": journal.token,
        "rest": assignment.rest,
        "unknown": assignment.unknown,
        "known": assignment.known,
        "total": assignment.total,
        "sender": sender(),
    }


def mark_name(seed: bytes) -> bytes:
    """Return the key of the mark of a group's journal, without kombu's prefix."""
    return b"_kombu.celerant.journal.%b" % seed.hex().encode()


def sender() -> str:
    """Return the words for this process."""
    return f"process {os.getpid()} on {socket.gethostname()}"
