from __future__ import annotations

import os
from pathlib import Path

SECRET_KEY = "of the tests alone"
INSTALLED_APPS = ["django_celery_results"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": Path(os.environ["PLANT_FOLDER"]) / "db.sqlite3",
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True

CELERY_BROKER_URL = os.environ["PLANT_BROKER"]
CELERY_TASK_DEFAULT_QUEUE = os.environ["PLANT_QUEUE"]
CELERY_RESULT_BACKEND = "django-db"
CELERY_RESULT_EXTENDED = True
