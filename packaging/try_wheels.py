"""Installs the wheels of a folder into an empty venv of each CPython, and tries them.

    python packaging/try_wheels.py dist

Pythons are found as `python3.X` on PATH and among pyenv's versions. A wheel for another
machine is looked into, but cannot run here. Exit code 1 if any trial failed.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
#: The oldest that the wheels serve.
OLDEST = (3, 10)
_ASK = (
    "import platform, sys, sysconfig; print(platform.python_implementation(), "
    "*sys.version_info[:2], sysconfig.get_config_var('Py_GIL_DISABLED') or 0)"
)


def pythons() -> dict[tuple[int, int], str]:
    """Return a CPython of each version that is installed here."""
    on_path = [shutil.which(f"python3.{minor}") for minor in range(OLDEST[1], 20)]
    candidates = [path for path in on_path if path]
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates += map(str, sorted(root.glob("versions/3.*/bin/python")))
    found: dict[tuple[int, int], str] = {}
    for path in [*candidates, sys.executable]:
        asked = subprocess.run(
            [path, "-c", _ASK], capture_output=True, text=True, check=False
        )
        if asked.returncode != 0:
            # pyenv's shims answer for versions that are not switched on.
            continue
        kind, major, minor, is_free = asked.stdout.split()
        version = int(major), int(minor)
        if kind == "CPython" and version >= OLDEST:
            if is_free != "0":
                print(f"{path}: free-threaded, which the stable ABI does not serve")
                continue
            found.setdefault(version, path)
    return dict(sorted(found.items()))


def check_contents(wheel: Path) -> None:
    """Look for what every wheel must have."""
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
    for wanted in ("celerant/_core", "celerant/py.typed", "/sboms/", "/licenses/"):
        assert any(wanted in name for name in names), f"{wheel.name} lacks {wanted}"
    extra = [name for name in names if name.startswith("tests/")]
    assert not extra, extra


def runs_here(wheel: Path) -> bool:
    """Whether the wheel is for this machine."""
    machine = platform.machine().lower()
    other = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)
    return any(name in wheel.name for name in (machine, other))


def try_wheel(wheel: Path, python: str) -> bool:
    """Install a wheel into an empty venv and run the trial there."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([python, "-m", "venv", folder], check=True)
        bin_ = Path(folder) / ("Scripts" if os.name == "nt" else "bin")
        inside = str(bin_ / "python")
        install = [inside, "-m", "pip", "install", "--quiet", f"{wheel}[cli]"]
        subprocess.run(install, check=True)
        # Not in the checkout: its own package must not be found.
        tried = subprocess.run(
            [inside, "-W", "error", str(HERE / "trial.py")], cwd=folder, check=False
        )
        return tried.returncode == 0


def main() -> int:
    """Try all wheels; return how the process ends."""
    wheels = sorted(Path(sys.argv[1]).resolve().glob("*.whl"))
    if not wheels:
        print(f"no wheels in {sys.argv[1]}: make wheels builds them")
        return 1
    failed = []
    for wheel in wheels:
        check_contents(wheel)
        if not runs_here(wheel):
            print(f"{wheel.name}: looked into; this machine cannot run it")
            continue
        for version, python in pythons().items():
            if not try_wheel(wheel, python):
                failed.append(f"{wheel.name} on Python {version}")
    for told in failed:
        print(f"FAILED: {told}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
