"""Forked children, made by Python and by C code."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import pickle
from collections.abc import Callable
from typing import Any

__all__ = ["FORKS", "in_child"]

_CHILD_LIMIT_S = 20

#: C code, as uWSGI's, runs none of Python's at-fork hooks.
FORKS: dict[str, Callable[[], int]] = {
    "python": os.fork,
    "c": ctypes.PyDLL(None).fork,
}


def in_child(work: Callable[[], Any], fork: Callable[[], int] = os.fork) -> Any:
    """Run `work` in a forked child and return what it returns, or its error's text."""
    read_end, write_end = os.pipe()
    pid = fork()
    if pid == 0:
        os.close(read_end)
        # A child that hangs tells where, and ends.
        faulthandler.dump_traceback_later(_CHILD_LIMIT_S, exit=True)
        try:
            with os.fdopen(write_end, "wb") as pipe:
                pipe.write(pickle.dumps(_outcome(work)))
        finally:
            # Whatever happens: a second pytest must not go on from here.
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
