"""Packages that only an extra installs, imported when they are needed."""

from __future__ import annotations

import importlib
from types import ModuleType

from celerant.errors import CelerantError

__all__ = ["extra"]


def extra(module: str, *, of: str, needed_by: str) -> ModuleType:
    """Import a module that the extra `of` installs.

    Args:
        module: Its dotted name.
        of: The name of the extra.
        needed_by: What the user asked for: ``"the command line"``.

    Raises:
        CelerantError: It is not installed; the text names the extra.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as exc:
        msg = (
            f"{needed_by} needs the package {exc.name}; install it with "
            f"pip install 'celerant[{of}]'"
        )
        raise CelerantError(msg) from exc
