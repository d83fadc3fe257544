"""Bundles of results: many records in one message of `rpc://`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celerant.results.backends.rpc_bundles import PREFIX, bundled, records_of
from celerant.results.backends.rpc_frames import Reply

OURS = f"{PREFIX}one"
SIZES = st.sampled_from([0, 1, 300, 20_000, 70_000])
QUEUES = st.sampled_from([OURS, f"{PREFIX}two", "0f9a-celery"])


def replies(*records, queue=OURS):
    return [Reply(record, queue, f"id-{at}") for at, record in enumerate(records)]


def arrived(messages):
    """Return what each queue's reader gets: ids and records."""
    found = {}
    for message in messages:
        records = [(message.correlation_id, message.record)]
        if message.is_bundle:
            records = list(records_of(message.record))
        found.setdefault(message.reply_to, []).extend(records)
    return found


@given(st.lists(st.tuples(QUEUES, SIZES), max_size=30))
def test_every_queue_gets_its_records_in_their_order(chosen):
    sent = [
        Reply(bytes([at]) * size, queue, f"täsk-{at}")
        for at, (queue, size) in enumerate(chosen)
    ]
    messages = bundled(sent)
    assert arrived(messages) == arrived(sent)
    assert not any(one.is_bundle for one in messages if one.reply_to == "0f9a-celery")


def test_small_records_leave_in_one_message():
    assert len(bundled(replies(*[b"{}"] * 100))) == 1


def test_a_lone_record_leaves_as_in_celery():
    assert bundled(replies(b"{}")) == replies(b"{}")


def test_large_records_share_no_message():
    large = b"x" * 40_000
    assert bundled(replies(large, large)) == replies(large, large)


@pytest.mark.parametrize("kept", [1, 4, 6, 10])
def test_a_bundle_that_is_cut_off_is_refused(kept):
    (message,) = bundled(replies(b"first", b"second"))
    with pytest.raises(ValueError, match="a bundle of results ends"):
        list(records_of(message.record[:kept]))


def test_what_came_whole_of_a_bundle_is_read_before_it_is_refused():
    (message,) = bundled(replies(b"first", b"second"))
    records = records_of(message.record[:-1])
    assert next(records) == ("id-0", b"first")
    with pytest.raises(ValueError, match="within a record"):
        next(records)
