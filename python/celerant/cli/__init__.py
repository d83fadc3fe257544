"""The command line: ``celerant worker``, ``doctor``, ``send``, ``watch`` and others.

It is made with click and rich, the extra ``cli``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from celerant.cli.exits import USAGE
from celerant.common.extras import extra
from celerant.errors import CelerantError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; see `celerant.cli.exits`.

    Args:
        arguments: The words after the program's name; None takes the process's own.
    """
    try:
        extra("click", of="cli", needed_by="the command line")
    except CelerantError as exc:
        sys.stderr.write(f"{exc}; in Python, app.worker() needs nothing more\n")
        return USAGE
    from celerant.cli.commands import run  # noqa: PLC0415 - an extra

    return run(arguments)
