from __future__ import annotations

import os
import tempfile
from pathlib import Path

FOLDER = Path(os.environ.get("MYSITE_FOLDER") or tempfile.mkdtemp())
SECRET_KEY = "of the tests alone"
INSTALLED_APPS = ["celerant.django", "shop"]
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
