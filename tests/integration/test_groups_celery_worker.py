from __future__ import annotations

import pytest

from celerant import Celerant, group
from harness.tasks import define_tasks

SIZE = 10_000


@pytest.fixture(params=["redis", "rabbitmq"], scope="module")
def shop(request, redis_url, new_queue, celery_worker):
    """An app and its tasks; one stock worker process serves its queue."""
    if request.param == "redis":
        broker = redis_url["broker"]
    else:
        broker = request.getfixturevalue("rabbitmq_url")
    backend, queue = redis_url["backend"], new_queue()
    with Celerant("celerant-test", broker=broker, backend=backend) as app:
        app.conf.task_default_queue = queue
        celery_worker(
            broker=broker,
            backend=backend,
            queue=queue,
            settings={"worker_prefetch_multiplier": 64},
        )
        yield define_tasks(app)


@pytest.mark.timeout(180)
def test_ten_thousand_come_back_complete_and_in_order(shop):
    result = group([shop.add.s(i, i) for i in range(SIZE)]).apply_async()
    # Plain looking, with nothing that waits, ends.
    looks = 0
    while not result.ready():
        looks += 1

    assert looks
    assert result.successful()
    assert result.completed_count() == SIZE
    assert not result.waiting()
    assert result.get(timeout=0) == [2 * i for i in range(SIZE)]
    assert result.report.complete


@pytest.mark.timeout(180)
def test_nested_groups_come_back_as_written(shop):
    inner = [group([shop.add.s(i, j) for j in range(99)]) for i in range(100)]
    members = [m for i, g in enumerate(inner) for m in (g, shop.add.s(i, -i))]

    result = group(members).apply_async()

    expected = [v for i in range(100) for v in (*range(i, i + 99), 0)]
    assert len(expected) == SIZE
    assert result.get(timeout=150) == expected


@pytest.mark.timeout(90)
def test_a_failure_is_raised_as_the_task_raised_it(shop):
    result = group(
        [shop.add.s(1, 1), shop.fail.s("no such item"), shop.add.s(2, 2)]
    ).apply_async()

    values = result.get(timeout=60, propagate=False)
    assert values[0] == 2
    assert isinstance(values[1], ValueError)
    assert values[1].args == ("no such item",)
    assert values[2] == 4
    with pytest.raises(ValueError, match="no such item"):
        result.get(timeout=60)


@pytest.mark.timeout(90)
def test_ignored_members_are_none_and_waited_for_by_nobody(shop):
    result = group([shop.ignored.s(), shop.add.s(1, 2)]).apply_async()

    assert result.get(timeout=60) == [None, 3]


@pytest.mark.timeout(90)
def test_a_single_task_comes_back(shop):
    assert shop.add.delay(20, 22).get(timeout=60) == 42
