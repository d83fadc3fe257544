"""A Celery project with Django's results, for `celery -A` and the client."""

from __future__ import annotations

import os

from celery import Celery, group

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "plant.settings")

app = Celery("plant")
app.config_from_object("django.conf:settings", namespace="CELERY")


@app.task(name="plant.add")
def add(x, y):
    return x + y


@app.task(name="plant.total")
def total(parts):
    return sum(parts)


@app.task(name="plant.fail")
def fail(message):
    raise ValueError(message)


@app.task(name="plant.spread")
def spread(n):
    return [one.id for one in group(add.s(i, i) for i in range(n))()]
