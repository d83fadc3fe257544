"""Check that the versions of installed packages are known to work."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from celerant.doctor.finding import Finding, note, ok, warning

__all__ = ["KNOWN", "check", "numbers"]

#: The tests run with versions from the first one up to, but without, the second.
KNOWN = {
    "kombu": ((5, 5), (5, 8)),
    "celery": ((5, 5), (5, 8)),
    "redis": ((4, 5), (9, 0)),
    "amqp": ((5, 2), (6, 0)),
    "orjson": ((3, 10), (4, 0)),
}


def check() -> Iterator[Finding]:
    """Check the installed packages."""
    yield ok(
        "versions",
        f"celerant {version('celerant')}, Python {platform.python_version()}",
    )
    for package, (low, high) in KNOWN.items():
        try:
            installed = version(package)
        except PackageNotFoundError:
            continue
        wanted = f"{_text(low)} or later, below {_text(high)}"
        if low <= numbers(installed) < high:
            yield ok("versions", f"{package} {installed}")
        elif numbers(installed) < low:
            text = f"{package} {installed} is older than what Celerant is tested with"
            yield warning("versions", text, f"install {package} {wanted}")
        else:
            text = f"{package} {installed} is newer than what Celerant is tested with"
            yield note("versions", text, f"if it fails, install {package} {wanted}")


def numbers(text: str) -> tuple[int, ...]:
    """Return the first two numbers of a version."""
    return tuple(int(n) for n in re.findall(r"\d+", text)[:2])


def _text(numbers: tuple[int, ...]) -> str:
    return ".".join(str(n) for n in numbers)
