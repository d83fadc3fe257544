"""Times without a zone are UTC, whatever zone the app is in, as in Celery."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from kombu import Exchange, Queue

from celerant.dispatch.delays import delay_by_broker
from celerant.errors import SettingError
from harness.capture import drain

ZONES = pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])

FORMS = pytest.mark.parametrize(
    "form",
    [
        lambda moment: moment,
        datetime.isoformat,
        lambda moment: f"{moment.isoformat()}Z",
    ],
    ids=["datetime", "text", "text-in-utc"],
)


def in_an_hour():
    return (datetime.now(timezone.utc) + timedelta(hours=1)).replace(tzinfo=None)


@ZONES
@FORMS
def test_a_message_stays_in_its_queue_until_it_expires(pair, zone, form):
    sides = pair("memory", timezone=zone)
    left = []
    for side in (sides.celery, sides.celerant):
        side.add.apply_async((1, 2), expires=form(in_an_hour()))
        (message,) = drain(sides.url, sides.queue)
        left.append(int(message.properties["expiration"]))
    assert left == pytest.approx([3_600_000, 3_600_000], abs=60_000)


@FORMS
def test_rabbitmq_holds_a_message_until_its_time(form):
    exchange = Exchange("topics", type="topic")
    arguments = {"x-queue-type": "quorum"}
    queue = Queue("held", exchange, routing_key="key", queue_arguments=arguments)
    options = {"queue": queue}
    delay_by_broker(options, [queue], countdown=None, eta=form(in_an_hour()))
    *bits, key = options["routing_key"].split(".")
    assert key == "key"
    assert 3_500 < int("".join(bits), 2) <= 3_600


def test_a_time_that_rabbitmq_cannot_read_is_named():
    exchange = Exchange("topics", type="topic")
    queue = Queue("held", exchange, queue_arguments={"x-queue-type": "quorum"})
    with pytest.raises(SettingError, match="eta 'soon' is no ISO 8601 time"):
        delay_by_broker({"queue": queue}, [queue], countdown=None, eta="soon")
