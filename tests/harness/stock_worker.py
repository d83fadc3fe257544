"""The module that a stock `celery worker` process of the tests runs.

Broker, result backend and settings come through the environment, so that one
module serves every test.
"""

from __future__ import annotations

import json
import os

from celery import Celery

from harness.tasks import define_tasks

app = Celery("celerant-test", set_as_current=False)
app.conf.update(
    broker_url=os.environ["CELERANT_TEST_BROKER"],
    result_backend=os.environ.get("CELERANT_TEST_BACKEND"),
    # Leftovers of a test go away by themselves.
    result_expires=600,
    # RabbitMQ: an idle worker wakes twice a second, and so sees that it is to stop.
    broker_heartbeat=60,
    broker_heartbeat_checkrate=120,
    **json.loads(os.environ.get("CELERANT_TEST_SETTINGS", "{}")),
)
define_tasks(app)
