"""The project's app, as the documentation shows it."""

from __future__ import annotations

import os

from celerant import Celerant

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")

app = Celerant("mysite")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
