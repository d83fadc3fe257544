"""The messages that wait in a queue of Redis."""

from __future__ import annotations

import json

import redis

from celerant.common.group_stamp import GROUP_STAMP

__all__ = ["stamps_of"]


def stamps_of(app):
    """Return the stamp of each message in an app's queue, the oldest first."""
    with redis.Redis.from_url(app.conf.broker_url) as client:
        messages = client.lrange(app.conf.task_default_queue, 0, -1)
    headers = [json.loads(message)["headers"] for message in reversed(messages)]
    return [each["stamps"][GROUP_STAMP] for each in headers]
