"""Settings from a mapping, an object or a module, such as Django's settings."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from celerant.config import SETTINGS, canonical, nearest, unknown_setting
from celerant.errors import ExtraError, SettingError

__all__ = ["read_settings"]

#: The namespace of Celery's old names, which begin in several ways.
_OF_OLD_NAMES = "CELERY_"


def read_settings(
    source: Any, namespace: str | None = None, *, silent: bool = False
) -> dict[str, Any]:
    """Return the settings that `source` has, under their lower-case names.

    Celery's old names, such as ``BROKER_URL`` and ``CELERYD_CONCURRENCY``, are taken
    too, if there is no namespace or it is ``"CELERY"``; a new name comes before an
    old one. Django's ``TIME_ZONE`` is ``timezone`` if nothing else sets it.

    Args:
        source: A mapping, an object with attributes, or the name of one:
            ``"package.module"``, ``"package.module:attribute"`` or
            ``"package.module.attribute"``.
        namespace: Read names that begin with it and an underscore: ``"CELERY"`` reads
            ``CELERY_TASK_ROUTES`` as ``task_routes``, and ``"celery"`` takes
            ``celery_task_routes`` too. As in Celery, ``task_routes`` itself is read if
            there is no such name. An object's names that are no settings are ignored,
            and in a namespace those in small letters.
        silent: Return none of a module that is not there.

    Raises:
        SettingError: A name in the namespace, or in a mapping, that is no setting.
        ImportError: There is no such module.
    """
    try:
        found = _imported(source) if isinstance(source, str) else source
    except ImportError as exc:
        # The module is there if an extra that it needs is missing.
        if silent and not isinstance(exc, ExtraError):
            return {}
        raise
    is_mapping = isinstance(found, Mapping)
    if is_mapping:
        values = dict(found)
    else:
        values = {name: getattr(found, name) for name in dir(found) if _public(name)}
    zone = values.pop("TIME_ZONE", None)
    if namespace:
        settings = _of_namespace(
            values, namespace.rstrip("_") + "_", is_strict=is_mapping
        )
    else:
        settings = _of_any(values, is_strict=is_mapping)
    if zone and settings.get("timezone") is None:
        settings["timezone"] = zone
    return settings


def _of_any(values: Mapping[Any, Any], *, is_strict: bool) -> dict[str, Any]:
    old: dict[str, Any] = {}
    new: dict[str, Any] = {}
    for name, value in values.items():
        known = canonical(name) if isinstance(name, str) else None
        if known is not None:
            (new if name == known else old)[known] = value
        elif is_strict:
            raise unknown_setting(str(name))
    return {**old, **new}


def _of_namespace(
    values: Mapping[Any, Any], prefix: str, *, is_strict: bool
) -> dict[str, Any]:
    old: dict[str, Any] = {}
    bare: dict[str, Any] = {}
    new: dict[str, Any] = {}
    for name, value in values.items():
        if not isinstance(name, str):
            continue
        is_in_it = name.startswith((prefix, prefix.upper()))
        rest = name[len(prefix) :].lower()
        if is_in_it and rest in SETTINGS:
            new[rest] = value
        elif name in SETTINGS and name.islower():
            bare[name] = value
        elif prefix.upper() == _OF_OLD_NAMES and name.isupper() and canonical(name):
            old[str(canonical(name))] = value
        elif is_in_it and (is_strict or name.isupper()):
            raise _unknown(name[: len(prefix)], rest)
    return {**old, **bare, **new}


def _imported(path: str) -> Any:
    module, colon, attribute = path.partition(":")
    try:
        found: Any = _module(module)
    except ModuleNotFoundError as exc:
        above, _, last = module.rpartition(".")
        # "package.module.attribute", as Celery takes it too.
        if colon or not above or not module.startswith(f"{exc.name}."[:-1]):
            raise
        found, attribute = _module(above), last
        if not hasattr(found, last):
            raise
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


def _module(name: str) -> Any:
    """Import a module; it may be in the folder in which the process was started."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        here = str(Path.cwd())
        if exc.name != name.partition(".")[0] or {"", here} & {*sys.path}:
            raise
    sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(here)


def _public(name: str) -> bool:
    return not name.startswith("_")


def _unknown(prefix: str, name: str) -> SettingError:
    near = nearest(name, SETTINGS)
    names = (f"{prefix}{name}", f"{prefix}{near or ''}")
    shown, near_shown = map(str.upper, names) if prefix.isupper() else names
    hint = f"; did you mean {near_shown!r}" if near else ""
    msg = f"unknown setting {shown!r}{hint}"
    return SettingError(msg, name=shown, nearest=near_shown if near else None)
