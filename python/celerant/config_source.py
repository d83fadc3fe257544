"""Settings from a mapping, an object or a module, such as Django's settings."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from celerant.config import DEFAULTS, HANDED_OVER, nearest
from celerant.errors import SettingError

__all__ = ["read_settings"]

_KNOWN = frozenset(DEFAULTS) | HANDED_OVER


def read_settings(source: Any, namespace: str | None = None) -> dict[str, Any]:
    """Return the settings that `source` has, under their lower-case names.

    Args:
        source: A mapping, an object with attributes, or the name of one:
            ``"package.module"`` or ``"package.module:attribute"``.
        namespace: Read only names that begin with it and an underscore, all in
            capitals: ``"CELERY"`` reads ``CELERY_TASK_ROUTES`` as ``task_routes``.
            Without one, an object's names that are no settings are its own matter.
    Raises:
        SettingError: A name in the namespace, or any in a mapping, that is none.
        ImportError: There is no such module.
    """
    found = _imported(source) if isinstance(source, str) else source
    if isinstance(found, Mapping):
        values = dict(found)
    else:
        values = {name: getattr(found, name) for name in dir(found) if _public(name)}
    if not namespace:
        if isinstance(found, Mapping):
            return values
        return {name: value for name, value in values.items() if name in _KNOWN}
    prefix = namespace.upper().rstrip("_") + "_"
    named = {
        name.removeprefix(prefix).lower(): value
        for name, value in values.items()
        if name.startswith(prefix) and name.isupper()
    }
    for name in named:
        if name not in _KNOWN:
            raise _unknown(prefix, name)
    return named


def _imported(path: str) -> Any:
    module, _, attribute = path.partition(":")
    found: Any = importlib.import_module(module)
    for name in filter(None, attribute.split(".")):
        try:
            found = getattr(found, name)
        except AttributeError:
            msg = (
                f"settings {path!r}: module {module!r} has no {attribute!r}; name what "
                "holds the settings, like 'django.conf:settings'"
            )
            raise SettingError(msg, name=path) from None
    return found


def _public(name: str) -> bool:
    return not name.startswith("_")


def _unknown(prefix: str, name: str) -> SettingError:
    near = nearest(name, _KNOWN)
    shown, near_shown = f"{prefix}{name.upper()}", f"{prefix}{(near or '').upper()}"
    hint = f"; did you mean {near_shown!r}" if near else ""
    msg = f"unknown setting {shown!r}{hint}"
    return SettingError(msg, name=shown, nearest=near_shown if near else None)
