"""`group.resume`: which results it takes, and when there is nothing to do."""

from __future__ import annotations

import pytest
from kombu import Connection, Producer

from celerant import Celerant, group
from celerant.errors import CanvasError, PublishError
from harness.capture import drain
from harness.tasks import define_tasks


class FailingOnce(Producer):
    """Fails at its second publication."""

    count = 0

    def publish(self, *args, **kwargs):
        self.count += 1
        if self.count == 2:
            msg = "gone"
            raise ConnectionResetError(msg)
        return super().publish(*args, **kwargs)


@pytest.fixture
def shop(app):
    tasks = define_tasks(app)
    tasks.app = app
    app.conf.task_publish_retry_policy = {"max_retries": 0}
    yield tasks
    drain("memory://", app.conf.task_default_queue)


@pytest.fixture
def interrupt():
    """Send a group through a producer that fails once, behind the first member."""
    with Connection("memory://localhost//") as connection:

        def interrupt(members, **options):
            producer = FailingOnce(connection)
            with pytest.raises(PublishError) as caught:
                members.apply_async(producer=producer, **options)
            error = caught.value
            assert error.path == ""
            assert error.report.counts()["confirmed"] == 1
            return error.result

        yield interrupt


def _sent(shop):
    return len(drain("memory://", shop.app.conf.task_default_queue))


def test_nothing_is_sent_of_a_complete_dispatch(shop):
    for members in (
        group([shop.add.s(1, 2)]),
        group(shop.add.s(i, i) for i in range(1)),
        group.map(shop.echo, [1]),
    ):
        result = members.apply_async()
        assert _sent(shop) == 1
        assert members.resume(result) is result
        assert members.resume(result, unknown="skip") is result
        assert _sent(shop) == 0


def test_a_result_of_another_count(shop, interrupt):
    result = interrupt(group([shop.add.s(i, i) for i in range(3)]))
    other = group([shop.add.s(i, i) for i in range(4)])
    with pytest.raises(CanvasError, match="it has 3 members, the group 4") as caught:
        other.resume(result)
    assert caught.value.path == "group"
    with pytest.raises(CanvasError, match="it has 1 members, the group 4"):
        other.resume(group([shop.add.s(1, 2)]).apply_async())


def test_resume_refuses_a_result_of_other_members(shop, interrupt):
    result = interrupt(group([shop.add.s(i, i) for i in range(3)]))
    other = group([shop.echo.s(i) for i in range(3)])
    with pytest.raises(CanvasError, match="its members are others"):
        other.resume(result)


def test_resume_refuses_a_group_that_was_frozen_under_other_ids(shop, interrupt):
    result = interrupt(group([shop.add.s(i, i) for i in range(3)]))
    other = group([shop.add.s(i, i) for i in range(3)])
    frozen = other.freeze()
    with pytest.raises(CanvasError, match=f"the group was frozen as {frozen.id}"):
        other.resume(result)


def test_a_result_that_was_never_sent(shop):
    members = group([shop.add.s(1, 2)])
    with pytest.raises(CanvasError, match="no dispatch of this app"):
        members.resume(members.freeze())


def test_resume_refuses_a_result_of_another_app(shop, interrupt):
    members = group([shop.add.s(i, i) for i in range(3)])
    result = interrupt(members)
    with Celerant("celerant-test-other") as other:
        mine = group(list(members.tasks), app=other)
        with pytest.raises(CanvasError, match="no dispatch of this app"):
            mine.resume(result)


@pytest.mark.parametrize("form", ["same", "anew", "mended", "frozen", "named"])
def test_groups_that_can_be_resumed(shop, interrupt, form):
    given = [shop.add.s(i, i) for i in range(3)]
    members = group(given)
    if form == "frozen":
        members.freeze()
    result = interrupt(members, **({"task_id": "mine"} if form == "named" else {}))
    ids = [member.id for member in result]
    _sent(shop)
    if form == "anew":
        members = group(*[shop.add.s(i, i) for i in range(3)])
    if form == "mended":
        given[2] = shop.add.s(2, 3)
    assert members.resume(result) is result
    assert result.report.complete
    assert [member.id for member in result] == ids
    assert _sent(shop) == 2


def test_a_mapped_group_cannot_be_resumed_and_says_so(shop, interrupt):
    members = group.map(shop.echo, [1, 2, 3])
    result = interrupt(members)
    with pytest.raises(CanvasError, match=r"group\.map cannot be resumed"):
        members.resume(result)
