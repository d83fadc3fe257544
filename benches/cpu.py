"""The processor time of processes."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["named", "spent"]


def spent(*pids: int) -> float:
    """Return the seconds of a core that processes have used, with all their threads."""
    ticks = 0
    for pid in pids:
        # The name, which may have spaces, is in brackets: man 5 proc.
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2]
        user, system = stat.split()[11:13]
        ticks += int(user) + int(system)
    return ticks / os.sysconf("SC_CLK_TCK")


def named(name: str) -> list[int]:
    """Return the ids of the processes whose program has this name."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if (place / "comm").read_text(encoding="utf-8").strip() == name:
                found.append(int(place.name))
        except OSError:
            # It has ended.
            continue
    return found
