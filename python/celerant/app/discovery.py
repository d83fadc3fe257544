"""Finding an app's tasks in modules that are not imported yet."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from celerant.common.per_process import PerProcess
from celerant.errors import CelerantError

__all__ = ["Discovery"]

_DJANGO = "DJANGO_SETTINGS_MODULE"

Packages = Iterable[str] | Callable[[], Iterable[str]] | None


class Discovery:
    """The modules that an app imports before its tasks are complete.

    The import is late, because the package that makes the app is still being imported
    itself, and Django is not set up.
    """

    def __init__(self) -> None:
        self._lock = PerProcess(threading.RLock)
        self._wanted: list[tuple[Packages, str | None]] = []

    def add(self, packages: Packages, related_name: str | None) -> None:
        """Search `packages` for a module of that name, when it is time."""
        with self._lock.get():
            self._wanted.append((packages, related_name))

    def run(self, conf: Any) -> None:
        """Import the modules that were asked for since, and the settings' modules.

        Raises:
            CelerantError: Django's apps are wanted, and there is no Django.
            Exception: An import of a module raised it.
        """
        # Even if there is no module: imported ones may need Django.
        _set_up_django()
        with self._lock.get():
            wanted, self._wanted = self._wanted, []
        for module in (*conf.imports, *conf.include):
            importlib.import_module(module)
        for at, (packages, related_name) in enumerate(wanted):
            try:
                for package in _names(packages):
                    find_related_module(package, related_name)
            except BaseException:
                # The next time, with its cause mended, it is found.
                with self._lock.get():
                    self._wanted[:0] = wanted[at:]
                raise


def find_related_module(package: str, related_name: str | None) -> ModuleType | None:
    """Import ``package.related_name`` and return it; None if there is none.

    As in Django's ``INSTALLED_APPS``, `package` may name a class inside it.
    Source: ``celery.loaders.base.find_related_module`` of celery 5.7.0.
    """
    try:
        found = importlib.import_module(package)
        if not related_name:
            return found
    except ModuleNotFoundError:
        package = package.rpartition(".")[0]
        if not package:
            raise
    wanted = f"{package}.{related_name}"
    try:
        return importlib.import_module(wanted)
    except ModuleNotFoundError as exc:
        if exc.name == wanted:
            return None
        raise


def _names(packages: Packages) -> Iterable[str]:
    if packages is None:
        return _django_packages()
    return packages() if callable(packages) else packages


def _set_up_django() -> None:
    if not os.environ.get(_DJANGO):
        return
    try:
        from celerant.django.environment import set_up  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as exc:
        msg = (
            f"{_DJANGO} is set and Django is not installed; install it with "
            "pip install 'celerant[django]', or unset the variable"
        )
        raise CelerantError(msg) from exc
    set_up()


def _django_packages() -> list[str]:
    try:
        from django.apps import apps  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        ready = False
    else:
        ready = apps.ready
    if not ready:
        msg = (
            "autodiscover_tasks() without packages searches the apps of Django, which "
            f"is not set up here; set {_DJANGO}, or name the packages to search"
        )
        raise CelerantError(msg)
    return [config.name for config in apps.get_app_configs()]
