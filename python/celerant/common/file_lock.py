"""A lock on an open file that ends with its process, however that ends."""

from __future__ import annotations

import os
import sys

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["try_lock"]

#: Windows locks bytes, and nobody reads a locked one: this is behind any content.
_BYTE = 1 << 62


def try_lock(fd: int) -> bool:
    """Lock the file; False if somebody else has it locked, here or elsewhere.

    The lock ends once the descriptor is closed, and its copies in forked children.
    """
    if sys.platform == "win32":
        at = os.lseek(fd, 0, os.SEEK_CUR)
        os.lseek(fd, _BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(fd, at, os.SEEK_SET)
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
