"""The settings of one app: a mapping, and an object with attributes."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from celerant.config.broker_url import (
    PARTS,
    check_transport,
    check_urls,
    completed,
    composed,
)
from celerant.config.names import canonical, unknown_setting
from celerant.config.table import CELERY, SETTINGS
from celerant.errors import SettingError

__all__ = ["Settings"]

_URLS = frozenset({"broker_read_url", "broker_url", "broker_write_url"})
_SHOWN_LENGTH = 60
#: Defaults that may be changed in place; each app has its own.
_CHANGEABLE = {
    name: setting.default
    for name, setting in SETTINGS.items()
    if isinstance(setting.default, (dict, list))
}
_MEMORY = "memory://"


class Settings(Mapping[str, Any]):
    """Settings by attribute or by key; an unset one has its default.

    A name may also be Celery's old one, such as ``CELERY_TASK_SERIALIZER``. Values
    set here come before those of `configure`, as in Celery; the environment's
    ``CELERY_BROKER_URL`` and its like come before both.

    Args:
        name: The app's; on ``memory://`` also its default queue's.
    Raises:
        SettingError: A name that Celery and Celerant do not know, or a value that the
            setting cannot have.
    """

    # Plain values are plain attributes: sending one task reads a dozen of them, and
    # `__getattr__`, which Python asks last, costs ten times as much. Settings that may
    # hold a password, or depend on others, are not among them.
    __slots__ = (
        "__dict__",
        "_configured",
        "_given",
        "_heard_by",
        "_name",
        "_own",
        "version",
    )

    _given: dict[str, Any]
    _configured: dict[str, Any]
    _name: str
    _own: dict[str, Any]
    #: Called with the names of the changed settings.
    _heard_by: list[Callable[[Iterable[str]], None]]
    #: Counts the changes, so that derived values can tell their age.
    version: int

    def __init__(self, name: str = "celery") -> None:
        keep = object.__setattr__
        keep(self, "version", 0)
        keep(self, "_name", name)
        keep(self, "_given", {})
        keep(self, "_configured", {})
        keep(self, "_own", copy.deepcopy(_CHANGEABLE))
        keep(self, "_heard_by", [])
        self._refresh(_PLAIN)

    # -- reading -----------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        if name in SETTINGS:
            if name in _DERIVED:
                return getattr(self, f"_{name}")()
            return self._value(name)
        known = None if name.startswith("_") else canonical(name)
        if known is None:
            if name.startswith("__"):  # Python asks for optional methods
                raise AttributeError(name)
            raise unknown_setting(name)
        return getattr(self, known)

    def __getitem__(self, name: str) -> Any:
        if not isinstance(name, str) or (known := canonical(name)) is None:
            raise unknown_setting(str(name))
        return getattr(self, known)

    def _value(self, name: str) -> Any:
        for layer in (self._given, self._configured, self._own):
            if name in layer:
                return layer[name]
        return SETTINGS[name].default

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and canonical(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(SETTINGS))

    def __len__(self) -> int:
        return len(SETTINGS)

    def __dir__(self) -> Iterable[str]:
        return {*super().__dir__(), *SETTINGS}

    def is_set(self, name: str) -> bool:
        """Whether it was set, also by the environment."""
        return (
            name in self._given
            or name in self._configured
            or bool(os.environ.get(_ENVIRONMENT.get(name, "")))
        )

    def changed(self) -> dict[str, Any]:
        """Return the settings that differ from their defaults, by name."""
        names = {*self._given, *self._configured}
        names |= {k for k, v in _CHANGEABLE.items() if self._own[k] != v}
        names |= {name for name in _ENVIRONMENT if self.is_set(name)}
        return {name: getattr(self, name) for name in sorted(names)}

    # -- changing ----------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        self.update({name: value})

    __setitem__ = __setattr__

    def __delattr__(self, name: str) -> None:
        if (known := canonical(name)) is None:
            raise unknown_setting(name)
        self._given.pop(known, None)
        self._refresh([known])

    __delitem__ = __delattr__

    def update(
        self,
        settings: Mapping[str, Any] | Iterable[tuple[str, Any]] = (),
        **more: Any,
    ) -> None:
        """Set many at once; nothing is set if one of them is wrong."""
        wanted = _read({**dict(settings), **more})
        self._given.update(wanted)
        self._refresh(wanted)

    def setdefault(self, name: str, default: Any = None) -> Any:
        """Set a setting unless it is set, and return its value."""
        if (known := canonical(name)) is None:
            raise unknown_setting(name)
        if not self.is_set(known):
            self[known] = default
        return self[known]

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Take these values, replacing those of the last call; `update` comes first."""
        wanted = _read(settings)
        before = self._configured
        object.__setattr__(self, "_configured", wanted)
        self._refresh({*before, *wanted})

    def clear(self) -> None:
        """Take back the values that were set one by one, as Celery does."""
        before = [*self._given]
        self._given.clear()
        self._refresh(before)

    def _refresh(self, names: Iterable[str]) -> None:
        """Make the attributes agree with the layers."""
        for name in _PLAIN.intersection(names):
            self.__dict__[name] = self._value(name)
        object.__setattr__(self, "version", self.version + 1)
        for tell in self._heard_by:
            tell(names)

    def on_change(self, tell: Callable[[Iterable[str]], None]) -> None:
        """Call `tell` with the names of the changed settings, at each change."""
        self._heard_by.append(tell)

    # -- as a whole --------------------------------------------------------------------

    def copy(self) -> Settings:
        """Return settings with the same values, which change on their own."""
        return copy.copy(self)

    def __reduce__(self) -> tuple[Any, ...]:
        own = {k: v for k, v in self._own.items() if v != _CHANGEABLE[k]}
        state = {**self._given}, {**self._configured}, own
        return type(self), (self._name,), state

    def __setstate__(self, state: tuple[dict[str, Any], ...]) -> None:
        given, configured, own = state
        self._own.update(own)
        self._given.update(given)
        self._configured.update(configured)
        self._refresh(_PLAIN)

    def __repr__(self) -> str:
        # Values may hold passwords (URLs, credentials): names only.
        return f"<Settings: {', '.join(sorted(self.changed())) or 'defaults'}>"

    # -- settings that depend on others: `_<name>` gives the value of <name>
    # ------------

    def _told(self, name: str) -> Any:
        return _environment(name) or self._value(name)

    def _parts(self) -> dict[str, Any]:
        layers = self._given.keys() | self._configured.keys()
        return {} if layers.isdisjoint(PARTS) else {p: self._value(p) for p in PARTS}

    def _broker_url(self) -> Any:
        parts = self._parts()
        return (
            completed(self._told("broker_url"), parts)
            or composed(parts)
            # An app that names only one of the two URLs has no other broker.
            or completed(self._told("broker_write_url"), parts)
            or completed(self._told("broker_read_url"), parts)
            or _MEMORY
        )

    def _broker_end(self, name: str) -> Any:
        return completed(self._told(name), self._parts()) or self._broker_url()

    def _broker_read_url(self) -> Any:
        return self._broker_end("broker_read_url")

    def _broker_write_url(self) -> Any:
        return self._broker_end("broker_write_url")

    def _result_backend(self) -> Any:
        return self._told("result_backend")

    def _task_default_queue(self) -> str:
        if self.is_set("task_default_queue"):
            queue: str = self._value("task_default_queue")
            return queue
        # Two apps in one process share kombu's memory: only the names differ.
        urls = self._broker_url()
        first = urls if isinstance(urls, str) else urls[0]
        return self._name if first.startswith("memory:") else "celery"

    def _task_default_exchange(self) -> Any:
        return self._value("task_default_exchange") or self.task_default_queue

    def _task_default_routing_key(self) -> Any:
        return self._value("task_default_routing_key") or self.task_default_queue


_ENVIRONMENT = {
    "broker_read_url": "CELERY_BROKER_READ_URL",
    "broker_url": "CELERY_BROKER_URL",
    "broker_write_url": "CELERY_BROKER_WRITE_URL",
    "result_backend": "CELERY_RESULT_BACKEND",
}
_DERIVED = frozenset(name for name in SETTINGS if hasattr(Settings, f"_{name}"))
_SECRET = re.compile("KEY|PASS|SECRET|TOKEN", re.IGNORECASE)
_PLAIN = frozenset(
    name
    for name, setting in SETTINGS.items()
    if not (
        name in _DERIVED
        or setting.values.may_hide
        or setting.reader == CELERY
        or _SECRET.search(name)
    )
)


def _environment(name: str) -> str | None:
    """Return a setting that Celery reads from the environment at each look."""
    url = os.environ.get(_ENVIRONMENT[name])
    if url and name in _URLS:
        check_urls(_ENVIRONMENT[name], url)
    return url or None


def _read(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings under their names, with their values as they are kept."""
    found: dict[str, Any] = {}
    for given, value in settings.items():
        name = canonical(given) if isinstance(given, str) else None
        if name is None:
            raise unknown_setting(str(given))
        found[name] = _checked(name, value)
    return found


def _checked(name: str, value: Any) -> Any:
    values = SETTINGS[name].values
    if value is None and values.takes_none:
        return None
    try:
        kept = values.read(value)
    except (TypeError, ValueError, KeyError):
        is_secret = values.may_hide or _SECRET.search(name)
        shown = type(value).__name__ if is_secret else _shown(value)
        msg = f"{name} must be {values.words}, not {shown}"
        raise SettingError(msg, name=name) from None
    if name in _URLS:
        check_urls(name, kept)
    elif name == "broker_transport":
        check_transport(name, kept)
    return kept


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a hostile `__repr__` changes nothing
        return type(value).__name__
    return text if len(text) <= _SHOWN_LENGTH else f"{text[: _SHOWN_LENGTH - 3]}..."
