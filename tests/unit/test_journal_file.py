"""Journals in files: who may write them, and what is read of them."""

from __future__ import annotations

import errno
import os
import signal

import pytest

from celerant.errors import JournalError
from celerant.sending.journal_file import JournalFile

HEAD = {"celerant": 1, "seed": "00" * 16}
EPOCH = {
    "epoch": 1,
    "rest": [[0, 10]],
    "unknown": [],
    "total": None,
    "sender": "process 7 on host",
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "group.journal"


def made(path, *records):
    file = JournalFile.create(str(path), HEAD)
    for record in records:
        file.append(record)
    file.close()


def test_a_written_journal_is_read(path):
    made(path, EPOCH, [0, 2, 0, 0, "AQACAA=="], [2])
    file, past = JournalFile.open(str(path))
    file.close()
    assert past.head == HEAD
    assert past.epochs[0].low == 2
    assert past.prints == b"\1\0\2\0"


def test_a_record_that_was_cut_off_is_dropped(path):
    made(path, EPOCH)
    whole = path.stat().st_size
    path.write_bytes(path.read_bytes() + b"0123456")
    file, past = JournalFile.open(str(path))
    assert past.epochs[0].high == 0
    assert file.size == whole
    file.append([0, 2, 0, 0, "AQACAA=="])
    file.close()
    file, past = JournalFile.open(str(path))
    file.close()
    assert past.epochs[0].high == 2


@pytest.fixture
def full(monkeypatch):
    """Let so many more bytes fit on the disk."""
    write = os.write

    def fill(room):
        def write_some(fd, line):
            nonlocal room
            if not room:
                raise OSError(errno.ENOSPC, "no space left")
            written = write(fd, line[:room])
            room -= written
            return written

        monkeypatch.setattr(os, "write", write_some)
        return lambda: monkeypatch.setattr(os, "write", write)

    return fill


@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("room", [0, 1, 20])
def test_a_record_for_which_there_is_no_room_leaves_nothing(path, full, is_late, room):
    file = JournalFile.create(str(path), HEAD)
    file.append(EPOCH)
    if is_late:
        file.close()
    before = path.read_bytes()
    empty = full(room)
    with pytest.raises(OSError, match="no space left"):
        file.append_late({"used": [[0, 1]], "failed": []})
    empty()
    assert path.read_bytes() == before
    file.append_late({"used": [[1, 2]], "failed": []})
    file.close()
    file, past = JournalFile.open(str(path))
    file.close()
    assert past.used == [(1, 2)]


def test_a_journal_for_which_there_is_no_room_is_gone(path, full):
    empty = full(20)
    with pytest.raises(OSError, match="no space left"):
        JournalFile.create(str(path), HEAD)
    empty()
    assert not path.exists()
    JournalFile.create(str(path), HEAD).close()


def test_a_journal_that_was_cut_off_anywhere_is_read_or_refused(path):
    made(path, EPOCH, [0, 2, 0, 0, "AQACAA=="], [2])
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        if size < len(lines[0]):
            with pytest.raises(JournalError, match=r"no journal|is empty"):
                JournalFile.open(str(path))
            continue
        file, past = JournalFile.open(str(path))
        file.close()
        kept = whole[:size].count(b"\n")
        assert path.read_bytes() == b"".join(lines[:kept])
        assert len(past.epochs) == (kept > 1)


def test_a_changed_record_is_refused(path):
    made(path, EPOCH, [0, 2, 0, 0, "AQACAA=="])
    path.write_bytes(path.read_bytes().replace(b"[0,2", b"[0,3"))
    with pytest.raises(JournalError, match="garbled at line 3"):
        JournalFile.open(str(path))


@pytest.mark.parametrize("content", [b"\x00\xff", b"hello\n", b"x" * 50 + b"\n", b"\n"])
def test_a_file_that_is_no_journal_is_refused_and_stays(path, content):
    path.write_bytes(content)
    with pytest.raises(JournalError, match="no journal"):
        JournalFile.open(str(path))
    assert path.read_bytes() == content


def test_an_empty_file_is_no_journal_and_may_become_one(path):
    path.touch()
    with pytest.raises(JournalError, match="is empty"):
        JournalFile.open(str(path))
    made(path, EPOCH)
    with pytest.raises(JournalError, match="holds something already"):
        made(path)


def test_no_two_write_one_file(path):
    file = JournalFile.create(str(path), HEAD)
    file.append(EPOCH)
    with pytest.raises(JournalError, match="sender that lives, process 7 on host"):
        JournalFile.open(str(path))
    with pytest.raises(JournalError, match="sender that lives"):
        JournalFile.create(str(path), HEAD)
    file.close()
    JournalFile.open(str(path))[0].close()


def test_a_forked_child_does_not_keep_it_locked(path):
    file = JournalFile.create(str(path), HEAD)
    file.append(EPOCH)
    hears, says = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(says, b".")
        signal.pause()
        os._exit(0)
    try:
        os.read(hears, 1)
        file.close()
        JournalFile.open(str(path))[0].close()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(hears)
        os.close(says)


def test_used_members_are_kept_after_the_end_too(path):
    made(path, EPOCH)
    file, past = JournalFile.open(str(path))
    file.close()
    file.append({"used": [[0, 1]], "failed": []})
    file.append_late({"used": [[1, 2]], "failed": [[1, 2]]})
    file, past = JournalFile.open(str(path))
    file.close()
    assert (past.used, past.failed) == ([(1, 2)], [(1, 2)])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")
def test_what_is_no_file_is_refused_and_stays(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(JournalError, match="is no file"):
        JournalFile.create(str(path), HEAD)
    assert path.is_fifo()
