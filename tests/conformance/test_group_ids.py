"""The id of a group in its messages is its result's, whatever the caller gives."""

from __future__ import annotations

import pytest

from harness.capture import drain
from harness.oracle import QUEUE, URL, both_sides

SENDS = {
    "call": lambda group: group.apply_async(group_id="mine"),
    "set": lambda group: group.set(group_id="mine").apply_async(),
    "task_id": lambda group: group.apply_async(task_id="mine"),
}


@pytest.mark.parametrize("send", SENDS)
def test_messages_name_the_group_of_the_result(send):
    told = []
    with both_sides() as both:
        for side in (both.celery, both.celerant):
            one = side.tasks["one"]
            group = side.group([one.s(1), one.s(2).set(group_id="own"), one.s(3)])
            result = SENDS[send](group)
            names = {result.id: "the result's"}
            groups = [message.headers["group"] for message in drain(URL, QUEUE)]
            told.append([names.get(each, each) for each in groups])
    assert told[1] == told[0] == ["the result's", "own", "the result's"]
