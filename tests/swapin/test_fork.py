"""A forked child sends by connections of its own, for every kind of fork."""

from __future__ import annotations

import json
import os
from collections import Counter

import pytest
from celery import group

import celerant.celery
from harness.capture import drain
from harness.forking import FORKS

_ROUNDS, _MANY, _CHILDREN = 20, 20, 3


@pytest.mark.timeout(90)
@pytest.mark.parametrize("fork", FORKS.values(), ids=FORKS)
@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_each_message_of_a_parent_and_its_children_arrives_once(
    make_app, volleys, broker, fork
):
    side = make_app(broker, task_ignore_result=True)
    celerant.celery.install()
    share = _ROUNDS * _MANY

    def send(first):
        for at in range(first, first + share, _MANY):
            group(side.add.s(at + i, 0) for i in range(_MANY)).apply_async()
        return 0 not in volleys

    assert send(0)
    pids = []
    for child in range(1, _CHILDREN + 1):
        pid = fork()
        if pid == 0:
            try:
                os._exit(0 if send(child * share) else 1)
            finally:
                os._exit(2)
        pids.append(pid)
    send((_CHILDREN + 1) * share)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * _CHILDREN
    arrived = Counter(json.loads(m.body)[0][0] for m in drain(side.url, side.queue))
    assert arrived == Counter(range((_CHILDREN + 2) * share))
