"""A Celery of another version in a virtual environment of its own."""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path

from harness import services

__all__ = ["install_celery"]

_INSTALL_TIMEOUT_S = 300


def install_celery(folder: Path, version: str) -> Path:
    """Return the Python of an environment with ``celery[redis]==version``.

    Args:
        folder: Where it is made, unless it is there already.
        version: As pip takes it, e.g. ``5.6.*``.
    """
    python = folder / "bin" / "python"
    done = folder / "installed"
    if done.exists() and done.read_text() == version:
        return python
    venv.create(folder, clear=True, with_pip=True)
    install = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", f"celery[redis]=={version}"],
        check=False,
        capture_output=True,
        text=True,
        timeout=_INSTALL_TIMEOUT_S,
    )
    if install.returncode:
        why = install.stderr.strip().splitlines()[-1:]
        services.absent(f"an environment with celery {version} {why}")
    done.write_text(version)
    return python
