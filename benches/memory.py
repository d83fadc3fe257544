"""The peak of this process's resident memory, from a moment on."""

from __future__ import annotations

from pathlib import Path

__all__ = ["Peak"]

_SELF = Path("/proc/self")


class Peak:
    """The highest resident memory since this was made.

    `getrusage` begins with the memory of the process that started this one: Linux
    keeps that through an exec.
    """

    def __init__(self) -> None:
        # "5" puts the peak back to what is resident now: man 5 proc.
        (_SELF / "clear_refs").write_text("5", encoding="ascii")
        self._before = _resident("VmHWM")

    def grown(self) -> int:
        """Return KiB of the peak above the memory at the beginning."""
        return _resident("VmHWM") - self._before


def _resident(field: str) -> int:
    status = (_SELF / "status").read_text(encoding="ascii")
    return int(status.split(f"{field}:")[1].split()[0])
