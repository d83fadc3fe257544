"""A program that streams members through a group, and prints how its memory grew.

Usage: ``python streaming.py MEMBERS WINDOW``; prints KiB of its peak resident memory
above what it had after the first window, and the members' sum.
"""

from __future__ import annotations

import os
import sys
import threading

from memory import Peak

from celerant._core import Roster
from celerant.results.backends import open_backend
from celerant.results.group_result import GroupResult
from celerant.results.tracking.members import Members

_CHUNK = 500


def main(count: int, window: int) -> None:
    """Let `count` members come, never more than `window` ahead of who uses them."""
    backend = open_backend("memory://", name="streaming")
    members = Members(Roster(os.urandom(16)), backend, is_group=True)
    result: GroupResult[int] = GroupResult("streaming", members)
    room = threading.Semaphore(window // _CHUNK)

    def feed() -> None:
        for start in range(0, count, _CHUNK):
            room.acquire()
            stop = start + _CHUNK
            members.grow(stop)
            members.roster.resize(stop)
            for index, task_id in enumerate(members.roster.ids(start, stop), start):
                record = b'{"status": "SUCCESS", "result": %d}' % index
                backend.store(task_id, record, expires=600)
        members.seal(count)

    feeding = threading.Thread(target=feed)
    feeding.start()
    total, peak = 0, Peak()
    for done, member in enumerate(result.as_completed(forget=True), 1):
        total += member.get()
        if done % _CHUNK == 0:
            room.release()
        if done == window:
            peak = Peak()
    feeding.join()
    grown = peak.grown()
    backend.close()
    sys.stdout.write(f"{grown} {total}\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
