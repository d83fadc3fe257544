"""What code says in a Python that lacks a package."""

from __future__ import annotations

import subprocess
import sys

__all__ = ["error_without"]


def error_without(packages: list[str], setup: str, act: str) -> str:
    """Return the `CelerantError` of the line `act`, in a Python without `packages`.

    Args:
        packages: Modules that cannot be imported there.
        setup: Lines before it, which work.
        act: It, as one line.
    """
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({packages!r}))\n"
        "from celerant import CelerantError\n"
        f"{setup}\n"
        f"try: {act}\n"
        "except CelerantError as exc: print(exc)\n"
    )
    return subprocess.check_output([sys.executable, "-c", script], text=True)
