"""The entry in ``INSTALLED_APPS``."""

from __future__ import annotations

from django.apps import AppConfig

from celerant.django.environment import install

__all__ = ["CelerantConfig"]


class CelerantConfig(AppConfig):  # type: ignore[misc]  # Django ships no types
    """Prepares this process for tasks that use the database."""

    name = "celerant.django"
    label = "celerant"
    verbose_name = "Celerant"

    def ready(self) -> None:
        """Close connections around the tasks that this process runs."""
        install()
