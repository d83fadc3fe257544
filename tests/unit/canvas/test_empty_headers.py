"""A header that holds no task: the chord's body runs at once."""

from __future__ import annotations

import pytest

from celerant import chain, chord, group
from harness.capture import drain


@pytest.mark.parametrize(
    "header",
    [
        list,
        group,
        lambda: [group()],
        lambda: [group(), chain()],
        lambda: [group([group(), group([chain()])])],
        lambda: [chain(group())],
        lambda: (chain(group()) for _ in range(600)),
        lambda: iter(()),
        lambda: (group() for _ in range(3)),
        lambda: (chain() for _ in range(600)),
    ],
    ids=[
        "list",
        "group",
        "an-empty-group",
        "empty-parts",
        "nested",
        "chains-of-empty-groups",
        "generated-chains-of-empty-groups",
        "no-item",
        "generated-groups",
        "generated-chains",
    ],
)
def test_the_body_runs_with_no_values(shop, header):
    made = chord(header(), shop.echo.s(k=1).set(priority=3), app=shop.app)
    result = made.set(shadow="empty").apply_async(task_id="id-of-the-body")

    (message,) = drain("memory://", shop.app.conf.task_default_queue)
    assert result.id == message.headers["id"] == "id-of-the-body"
    assert message.headers["argsrepr"] == "([],)"
    assert message.headers["kwargsrepr"] == "{'k': 1}"
    assert message.headers["shadow"] == "empty"
    assert message.properties["priority"] == 3


def test_an_empty_header_runs_the_body_in_a_worker(shop):
    with shop.app.worker(concurrency=1):
        result = (group(group() for _ in range(2)) | shop.echo.s()).delay()
        result.get(timeout=10)
        assert result.successful()


def test_a_member_of_a_header_that_counts_for_nothing_still_runs(shop):
    def fruitless():
        return chord([shop.echo.s(1)], group(), app=shop.app)

    for header in ([fruitless()], (fruitless() for _ in range(1))):
        chord(header, shop.echo.s(), app=shop.app).apply_async()
        messages = drain("memory://", shop.app.conf.task_default_queue)
        assert [m.headers["argsrepr"] for m in messages] == ["(1,)", "([],)"]
