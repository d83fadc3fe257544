"""A loader that installs the swap-in: ``CELERY_LOADER=celerant.celery:Loader``."""

from __future__ import annotations

from typing import Any

from celery.loaders.app import AppLoader

from celerant.celery.installing import install_lazily

__all__ = ["Loader"]


class Loader(AppLoader):  # type: ignore[misc] # Celery has no types
    """Celery's default loader of apps, which installs the swap-in as it is made."""

    def __init__(self, app: Any, **kwargs: Any) -> None:
        install_lazily()
        super().__init__(app, **kwargs)
