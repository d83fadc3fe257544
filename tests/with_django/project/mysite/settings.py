from __future__ import annotations

import importlib.util
import os
import tempfile
from pathlib import Path

#: Of Django 6, or the backport.
_HAS_TASKS = importlib.util.find_spec("django.tasks") is not None
_TASKS = "django.tasks" if _HAS_TASKS else "django_tasks"
FOLDER = Path(os.environ.get("MYSITE_FOLDER") or tempfile.mkdtemp())
SECRET_KEY = "of the tests alone"
INSTALLED_APPS = ["django.contrib.staticfiles", "celerant.django", "shop"]
STATIC_URL = "static/"
ROOT_URLCONF = "mysite.urls"
if not _HAS_TASKS:
    INSTALLED_APPS.append("django_tasks")
_BACKEND = "celerant.django.tasks.CelerantBackend"
TASKS = {
    "default": {"BACKEND": _BACKEND, "QUEUES": ["default", "far"]},
    "careful": {
        "BACKEND": _BACKEND,
        "OPTIONS": {"app": "mysite.celerant:app", "on_commit": True},
    },
    "here": {"BACKEND": f"{_TASKS}.backends.immediate.ImmediateBackend"},
}
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("MYSITE_DATABASE") or FOLDER / "db.sqlite3",
        "CONN_MAX_AGE": int(os.environ.get("MYSITE_CONN_MAX_AGE", "0")),
        # A file: every thread and process of a worker has a connection of its own.
        "TEST": {"NAME": FOLDER / "test.sqlite3"},
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True

CELERY_BROKER_URL = os.environ.get("MYSITE_BROKER", "memory://")
CELERY_TASK_DEFAULT_QUEUE = os.environ.get("MYSITE_QUEUE", "mysite")
CELERY_RESULT_EXPIRES = 600
CELERY_WORKER_CONCURRENCY = 2
