"""Forked children, made by Python and by C code."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import pickle
import sys
import time
from collections.abc import Callable
from typing import Any

__all__ = ["FORKS", "in_child"]

_CHILD_LIMIT_S = 20


def _fork_in_c() -> int:
    """Fork while no other thread asks for the interpreter.

    A child whose parent's threads do may wait for one of them at its first I/O: CPython
    mends that in the hooks that C code does not run, and no library can.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_CHILD_LIMIT_S)
    # Those that ask already get it, and then ask with the new patience.
    time.sleep(0.02)
    pid: int = ctypes.PyDLL(None).fork()
    sys.setswitchinterval(interval)
    return pid


#: C code, as uWSGI's, runs none of Python's at-fork hooks.
FORKS: dict[str, Callable[[], int]] = {
    "python": os.fork,
    "c": _fork_in_c,
}


def in_child(work: Callable[[], Any], fork: Callable[[], int] = os.fork) -> Any:
    """Run `work` in a forked child and return its value, or its error's text."""
    read_end, write_end = os.pipe()
    pid = fork()
    if pid == 0:
        os.close(read_end)
        # A child that hangs writes its traceback, and ends.
        faulthandler.dump_traceback_later(_CHILD_LIMIT_S, exit=True)
        try:
            with os.fdopen(write_end, "wb") as pipe:
                pipe.write(pickle.dumps(_outcome(work)))
        finally:
            # In any case: a second pytest must not go on from here.
            os._exit(0)
    os.close(write_end)
    try:
        with os.fdopen(read_end, "rb") as pipe:
            answer = pipe.read()
    finally:
        os.waitpid(pid, 0)
    return pickle.loads(answer) if answer else "the child hung"


def _outcome(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except BaseException as error:  # noqa: BLE001 - the parent shows it
        return f"{type(error).__name__}: {error}"
