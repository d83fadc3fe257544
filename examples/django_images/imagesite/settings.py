"""Settings for one machine; environment variables change them for a real site."""

from __future__ import annotations

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
#: Where the database and the images go.
DATA_DIR = Path(os.environ.get("IMAGES_DATA") or BASE_DIR / "data")
DATA_DIR.mkdir(parents=True, exist_ok=True)

DEBUG = os.environ.get("IMAGES_DEBUG", "1") == "1"
SECRET_KEY = os.environ.get("IMAGES_SECRET_KEY") or "for this machine alone"
ALLOWED_HOSTS = os.environ.get("IMAGES_HOSTS", "localhost,127.0.0.1").split(",")

INSTALLED_APPS = [
    "django.contrib.staticfiles",
    "celerant.django",
    "gallery",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "imagesite.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": ["django.template.context_processors.request"]
        },
    }
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA_DIR / "db.sqlite3",
        # A file for the tests too: their worker has connections of its own.
        "TEST": {"NAME": DATA_DIR / "test.sqlite3"},
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"

STATIC_URL = "static/"
MEDIA_URL = "media/"
MEDIA_ROOT = DATA_DIR / "media"

# Without a broker the tasks run inside `runserver`.
CELERANT_BROKER_URL = os.environ.get("IMAGES_BROKER") or "memory://"
CELERANT_TASK_DEFAULT_QUEUE = os.environ.get("IMAGES_QUEUE") or "images"
CELERANT_RESULT_EXPIRES = 3600
