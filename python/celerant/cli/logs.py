"""The log of ``celerant worker``, in its own process and in its children."""

from __future__ import annotations

import logging
import sys

__all__ = ["log_to_stderr"]

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def log_to_stderr(level: str) -> None:
    """Log to stderr from `level` on, unless logging is configured already.

    Called before the app is imported, so that a module of the user's which configures
    logging has the last word, and the same one in each process.
    """
    logging.basicConfig(level=level, format=_FORMAT, stream=sys.stderr)
