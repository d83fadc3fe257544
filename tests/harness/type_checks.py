"""Run mypy as a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["mypy_errors"]


def mypy_errors(folder: Path, configuration: str, *files: Path) -> str:
    """Return what mypy says against `files`; "" if nothing.

    In the process of the tests it would leave millions of objects, which slow every
    later collection of garbage.

    Args:
        folder: Where it runs, and keeps its cache.
        configuration: The text of its file.
        *files: What is checked.
    """
    (folder / "mypy.ini").write_text(configuration)
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini"]
    done = subprocess.run(
        [*command, "--cache-dir=cache", *map(str, files)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    is_well = (done.returncode, done.stderr) == (0, "")
    return "" if is_well else done.stdout + done.stderr
