"""The way of an unpickled result to its app."""

from __future__ import annotations

import importlib
from contextlib import suppress
from typing import Any

from celerant.context.apps import apps_named
from celerant.errors import CelerantError
from celerant.results.saving import unpickled

__all__ = ["result_of"]


def result_of(app: str, module: str, state: dict[str, Any]) -> Any:
    """Return a result of an app of this process; pickles of results call it.

    Args:
        app: The app's name.
        module: The module that made it; imported if the app is not here.
        state: The contents of the pickle.

    Raises:
        CelerantError: There is no such app here.
    """
    found = next(apps_named(app), None)
    if found is None and module not in {"__main__", "__mp_main__"}:
        with suppress(ModuleNotFoundError):
            importlib.import_module(module)
        found = next(apps_named(app), None)
    if found is None:
        msg = (
            f"no app {app!r} here, to which a pickled result belongs: import the "
            "module that makes it first"
        )
        raise CelerantError(msg)
    return unpickled(state, found.backend)
