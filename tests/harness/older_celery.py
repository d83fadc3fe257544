"""A Celery of another version in a virtual environment of its own."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import venv
from pathlib import Path

import celerant
from harness import services

__all__ = ["install_celery", "lend_celerant"]

_INSTALL_TIMEOUT_S = 300


def install_celery(folder: Path, version: str, *more: str) -> Path:
    """Return the Python of an environment with ``celery[redis]==version``.

    Args:
        folder: Made unless it exists.
        version: As pip takes it, e.g. ``5.6.*``.
        *more: Other packages to install.
    """
    python = folder / "bin" / "python"
    done = folder / "installed"
    wanted = [f"celery[redis]=={version}", *more]
    if done.exists() and done.read_text() == "\n".join(wanted):
        return python
    venv.create(folder, clear=True, with_pip=True)
    install = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", *wanted],
        check=False,
        capture_output=True,
        text=True,
        timeout=_INSTALL_TIMEOUT_S,
    )
    if install.returncode:
        why = install.stderr.strip().splitlines()[-1:]
        services.absent(f"an environment with celery {version} {why}")
    done.write_text("\n".join(wanted))
    return python


def lend_celerant(folder: Path) -> str:
    """Return a PYTHONPATH on which another environment finds this Celerant.

    The extension keeps to the stable ABI.

    Args:
        folder: Gets the metadata, which names the version.
    """
    kept = importlib.metadata.distribution("celerant")
    for file in kept.files or ():
        if file.parent.name.endswith(".dist-info"):
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(kept.locate_file(file)), target)
    package = Path(celerant.__file__).parents[1]
    return os.pathsep.join([str(package), str(folder)])
