"""A journal in a file."""

from __future__ import annotations

import base64
import contextlib
import os
import stat
import threading
import weakref
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson

from celerant._core import Prints
from celerant.common.file_lock import try_lock
from celerant.errors import JournalError
from celerant.sending.journal_past import Past
from celerant.sending.journal_records import KeptJournal, record_of

if TYPE_CHECKING:
    from celerant.dispatch.journaling import Assignment, Command
    from celerant.errors.report import Intervals, Report

__all__ = ["FileJournal", "JournalFile"]

#: A checksum and a space.
_SUM = 9


class JournalFile:
    """An open journal, which nobody else writes.

    Each record is one write. It is in the system's hands then, and outlives the
    process, but not a machine that loses its power.
    """

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self._fd: int | None = fd
        #: Held while the descriptor is in use: its number may be another's afterwards.
        self._lock = threading.Lock()
        _OPEN.add(self)

    @classmethod
    def create(cls, path: str, head: dict[str, Any]) -> JournalFile:
        """Begin a journal in a file that is not there yet, or is empty.

        Raises:
            JournalError: It holds something.
            OSError: It cannot be written.
        """
        made = cls._locked(path, os.O_CREAT)
        if made.size:
            made.close()
            msg = (
                f"{path} holds something already: go on with the group whose journal "
                "it is, by group(source).resume(path), or give another path"
            )
            raise JournalError(msg)
        try:
            made.append(head)
        except BaseException:
            made.discard()
            raise
        return made

    @classmethod
    def open(cls, path: str) -> tuple[JournalFile, Past]:
        """Open a journal to go on with it, and read it.

        Raises:
            JournalError: It is none, is garbled, or somebody writes it.
            OSError: It cannot be read.
        """
        made = cls._locked(path, 0)
        try:
            return made, made.read()
        except BaseException:
            made.close()
            raise

    @classmethod
    def _locked(cls, path: str, flags: int) -> JournalFile:
        flags |= os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0)
        fd = os.open(path, flags, 0o600)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            # A device, for example, which the end of the group would delete.
            os.close(fd)
            msg = f"{path} is no file: give the path of one, or of one to be made"
            raise JournalError(msg)
        if not try_lock(fd):
            os.close(fd)
            msg = (
                f"journal {path} is written by a sender that lives{_said_by(path)}: "
                "two senders of one group would send its members twice"
            )
            raise JournalError(msg)
        return cls(path, fd)

    @property
    def size(self) -> int:
        """Bytes in it."""
        return os.fstat(self._open_fd()).st_size

    def _open_fd(self) -> int:
        assert self._fd is not None  # noqa: S101 - it is open
        return self._fd

    def read(self) -> Past:
        """Return what it holds; drops a record that was cut off.

        Raises:
            JournalError: It is no journal, or garbled.
        """
        with open(self.path, "rb") as file:  # noqa: PTH123 - as it was opened before
            whole = file.read()
        lines = whole.split(b"\n")
        # A record that was cut off by the end of its sender: its members never left.
        torn = lines.pop()
        if not lines and not torn:
            msg = f"{self.path} is empty: nothing was sent by it"
            raise JournalError(msg)
        records = [_record(self.path, at, line) for at, line in enumerate(lines, 1)]
        past = Past.of(f"journal {self.path}", records)
        past.written_at = os.fstat(self._open_fd()).st_mtime
        if torn:
            os.ftruncate(self._open_fd(), len(whole) - len(torn))
        return past

    def append(self, record: Any) -> None:
        """Write a record; nothing once it is closed."""
        with self._lock:
            if self._fd is not None:
                _write(self._fd, record)

    def append_late(self, record: Any) -> None:
        """Write a record, also once it is closed; nothing once the file is gone."""
        with self._lock:
            if self._fd is not None:
                _write(self._fd, record)
                return
        # Whoever goes on with it meanwhile only adds to it, too.
        flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0)
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(self.path, flags)
            try:
                _write(fd, record)
            finally:
                os.close(fd)

    def close(self) -> None:
        """Let others go on with it."""
        with self._lock:
            self.leave()

    def leave(self) -> None:
        """Close it without the lock, which a forked child may never get."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def discard(self) -> None:
        """Close and remove it: nothing was sent by it."""
        self.close()
        with contextlib.suppress(OSError):
            os.unlink(self.path)  # noqa: PTH108 - as it was opened


class FileJournal(KeptJournal):
    """Names what leaves in a file."""

    def __init__(
        self, file: JournalFile, name: bytes, assignment: Assignment, prints: Prints
    ) -> None:
        super().__init__(name, assignment, prints)
        self.file = file

    def write_begin(self) -> Sequence[Command]:
        self.file.append(record_of(self))
        return ()

    def write_leaving(self, start: int, stop: int, has_generic: bool) -> None:  # noqa: FBT001 - as declared
        prints = base64.b64encode(self.prints.pack(start, stop)).decode()
        self.file.append([start, stop, self.low, int(has_generic), prints])

    def write_low(self) -> None:
        self.file.append([self.low])

    def append(self, record: Any) -> None:
        self.file.append(record)

    def append_late(self, record: Any) -> None:
        self.file.append_late(record)

    def close(self) -> None:
        self.file.close()

    def discard(self) -> None:
        self.file.discard()

    def again(self, report: Report, number: int | None, rest: Intervals) -> None:
        file, past = JournalFile.open(self.file.path)
        if past.mark_name != self.name:
            file.close()
            msg = f"journal {file.path} is another group's by now"
            raise JournalError(msg)
        try:
            assignment = past.again(self, report, number, rest)
        except BaseException:
            file.close()
            raise
        self.file = file
        self.renew(assignment)


def _write(fd: int, record: Any) -> None:
    """Add a record, or nothing of it.

    Raises:
        OSError: There is no room for it.
    """
    text = orjson.dumps(record)
    line = b"%08x %b\n" % (zlib.crc32(text), text)
    written = os.write(fd, line)
    if written == len(line):
        return
    size = os.fstat(fd).st_size
    try:
        while written < len(line):
            written += os.write(fd, line[written:])
            size = os.fstat(fd).st_size
    except OSError:
        # What is behind a part of a record cannot be read. The part is the last of
        # the file, unless another has written meanwhile.
        if os.fstat(fd).st_size == size:
            os.ftruncate(fd, size - written)
        raise


def _record(path: str, number: int, line: bytes) -> Any:
    text = line[_SUM:]
    try:
        if int(line[: _SUM - 1], 16) == zlib.crc32(text) and line[8:9] == b" ":
            return orjson.loads(text)
    except ValueError:
        pass
    is_first = number == 1
    msg = (
        f"{path} is no journal of a group"
        if is_first
        else f"journal {path} is garbled at line {number}: nothing is sent by it"
    )
    raise JournalError(msg)


def _said_by(path: str) -> str:
    """Return who writes a journal, if it says so."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - as it was opened before
            lines = file.read().split(b"\n")
        found = [line for line in lines if b'"sender":' in line]
        return f", {_record(path, 2, found[-1])['sender']}" if found else ""
    except (OSError, JournalError, KeyError, TypeError):
        return ""


#: Journals of this process; a forked child closes its copies, so that they are not
#: locked for as long as it lives.
_OPEN: weakref.WeakSet[JournalFile] = weakref.WeakSet()


def _close_all() -> None:
    for file in list(_OPEN):
        file.leave()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_all)
