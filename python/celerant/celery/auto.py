"""Importing this installs the swap-in: ``celery -I celerant.celery.auto worker``."""

from celerant.celery.installing import install

install()
