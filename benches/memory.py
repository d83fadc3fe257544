"""Resident memory: of a process now, and the peak of this one from a moment on."""

from __future__ import annotations

from pathlib import Path

__all__ = ["Peak", "resident"]


class Peak:
    """The highest resident memory since this was made.

    `getrusage` begins with the memory of the process that started this one: Linux
    keeps that through an exec.
    """

    def __init__(self) -> None:
        # "5" puts the peak back to what is resident now: man 5 proc.
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        self._before = resident("VmHWM")

    def grown(self) -> int:
        """Return KiB of the peak above the memory at the beginning."""
        return resident("VmHWM") - self._before


def resident(field: str = "VmRSS", pid: int | None = None) -> int:
    """Return KiB of a process (None: this one), by a field of its ``status``."""
    place = "self" if pid is None else pid
    status = Path(f"/proc/{place}/status").read_text(encoding="ascii")
    return int(status.split(f"{field}:")[1].split()[0])
