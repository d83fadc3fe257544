"""Does what a new user does first; runs in an environment that has only a wheel."""

from __future__ import annotations

import subprocess
import sys

from celerant import Celerant, _core, chord, group

app = Celerant("trial")


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
def total(numbers: list[int]) -> int:
    return sum(numbers)


if __name__ == "__main__":
    with app.worker(concurrency=2):
        assert group(add.s(i, i) for i in range(100))().get(timeout=30) == [
            2 * i for i in range(100)
        ]
        assert chord([add.s(1, 1), add.s(2, 2)], total.s())().get(timeout=30) == 6
    told = subprocess.run(
        [sys.executable, "-m", "celerant", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    info = _core.build_info()
    assert info["profile"] == "release", info
    assert info["version"] in told.stdout, told.stdout
    sys.stdout.write(f"celerant {info['version']} works on Python {sys.version}\n")
