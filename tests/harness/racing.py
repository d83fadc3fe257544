"""Threads that do something all at once."""

from __future__ import annotations

import threading

__all__ = ["run"]


def run(acts):
    """Run all at once; raise what any of them raised."""
    start, errors = threading.Barrier(len(acts)), []

    def guarded(act):
        start.wait()
        try:
            act()
        except BaseException as exc:  # noqa: BLE001 - handed to the test
            errors.append(exc)

    threads = [threading.Thread(target=guarded, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
