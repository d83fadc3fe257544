"""`chord.resume`: the rest of a header leaves, and the body runs after all."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from kombu import Connection, Producer

from celerant import CanvasError, NotSent, PublishError, chain, chord, group
from celerant.dispatch.carriers import Carriers
from celerant.dispatch.wires.base import Broken
from harness.capture import drain
from harness.until import until

WAIT = 10


class Failing(Producer):
    """Fails at its publications number `at`, before or after they have left."""

    at: tuple[int, ...] = ()
    is_late = False
    count = 0

    def publish(self, *args, **kwargs):
        self.count += 1
        if self.is_late or self.count not in self.at:
            super().publish(*args, **kwargs)
        if self.count in self.at:
            raise ConnectionResetError


@pytest.fixture
def producer():
    with Connection("memory://localhost//") as connection:
        yield Failing(connection)


@pytest.fixture
def shop(app):
    app.conf.task_publish_retry_policy = {"max_retries": 0}

    @app.task(name="resume.add")
    def add(x, y):
        return x + y

    @app.task(name="resume.echo")
    def echo(values):
        return values

    yield SimpleNamespace(app=app, add=add, echo=echo)
    drain("memory://", app.conf.task_default_queue)


def interrupt(canvas, producer, *at, is_late=False):
    """Send a chord that is interrupted; return its result."""
    producer.at, producer.is_late, producer.count = at, is_late, 0
    with pytest.raises(PublishError) as caught:
        canvas.apply_async(producer=producer)
    return caught.value.result


HEADERS = {
    "tasks": (lambda add: [add.s(n, n) for n in range(4)], [0, 2, 4, 6]),
    "groups": (
        lambda add: [
            add.s(0, 0),
            add.s(1, 1),
            add.s(1, 1) | group(add.s(1), add.s(2)),
        ],
        [0, 2, [3, 4]],
    ),
}
BODIES = {
    "task": (lambda echo: echo.s(), lambda values: values),
    "chain": (lambda echo: chain(echo.s(), echo.s()), lambda values: values),
    "group": (lambda echo: group(echo.s(), echo.s()), lambda values: [values] * 2),
}


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("header", HEADERS)
def test_the_body_runs_after_all(shop, producer, header, body, at):
    make_header, values = HEADERS[header]
    make_body, expected = BODIES[body]
    canvas = chord(make_header(shop.add), make_body(shop.echo), app=shop.app)
    with shop.app.worker(concurrency=1):
        result = interrupt(canvas, producer, at)
        ids = [member.id for member in result.parent]
        with pytest.raises(NotSent):
            result.get(timeout=WAIT)
        assert canvas.resume(result) is result
        assert result.get(timeout=WAIT) == expected(values)
        assert result.parent.get(timeout=WAIT) == values
        assert result.parent.report.complete
        assert [member.id for member in result.parent] == ids
        assert canvas.resume(result) is result


def test_another_result_of_the_body_gets_the_resumed_value(shop, producer):
    canvas = chord([shop.add.s(1, 1), shop.add.s(2, 2)], shop.echo.s())
    result = interrupt(canvas, producer, 2)
    assert shop.app.AsyncResult(result.id).state == "FAILURE"
    canvas.resume(result)
    elsewhere = shop.app.AsyncResult(result.id)
    assert elsewhere.state == "PENDING"
    with shop.app.worker(concurrency=1):
        assert elsewhere.get(timeout=WAIT) == [2, 4]


def test_a_body_that_had_run_has_not_run_in_vain(shop, producer):
    """The last message left, which the sender did not know."""
    bodies = []

    @shop.app.task(name="resume.count")
    def count(values):
        bodies.append(values)
        return values

    canvas = chord([shop.add.s(1, 1), shop.add.s(2, 2)], count.s())
    with shop.app.worker(concurrency=1):
        result = interrupt(canvas, producer, 2, is_late=True)
        elsewhere = shop.app.AsyncResult(result.id)
        until(lambda: bodies)
        until(lambda: elsewhere.state == "SUCCESS")
        canvas.resume(result)
        # Behind the messages that were sent again.
        assert shop.add.delay(3, 3).get(timeout=WAIT) == 6
        assert result.get(timeout=WAIT) == [2, 4]
    assert bodies == [[2, 4]]


def test_resume_with_skip_leaves_unknown_members(shop, producer):
    canvas = chord([shop.add.s(n, n) for n in range(3)], shop.echo.s())
    result = interrupt(canvas, producer, 2, is_late=True)
    canvas.resume(result, unknown="skip")
    found = drain("memory://", shop.app.conf.task_default_queue)
    assert [message.headers["group_index"] for message in found] == [0, 1, 2]


def test_a_resumed_chord_may_be_interrupted_again(shop, producer):
    canvas = chord([shop.add.s(n, n) for n in range(4)], shop.echo.s())
    result = interrupt(canvas, producer, 2, 4)
    with pytest.raises(PublishError) as caught:
        canvas.resume(result)
    assert caught.value.result is result
    assert caught.value.report.counts()["confirmed"] == 2
    assert shop.app.AsyncResult(result.id).state == "FAILURE"
    with shop.app.worker(concurrency=1):
        assert canvas.resume(result).get(timeout=WAIT) == [0, 2, 4, 6]


def test_resume_refuses_generators_and_other_results(shop, producer):
    generated = chord((shop.add.s(n, n) for n in range(3)), shop.echo.s())
    result = interrupt(generated, producer, 1)
    with pytest.raises(CanvasError, match="came from a generator"):
        generated.resume(result)
    whole = chord([shop.add.s(1, 1)], shop.echo.s())
    for other in (whole.apply_async(), shop.add.delay(1, 1), None):
        with pytest.raises(CanvasError, match="is of no chord"):
            whole.resume(other)
    with pytest.raises(ValueError, match="'send' or 'skip'"):
        whole.resume(result, unknown="maybe")


def test_the_form_of_a_header_that_begins_with_many_tasks(shop, producer):
    """It is known with the last of several chunks alone."""
    pair = shop.add.s(1, 1) | group(shop.add.s(1), shop.add.s(2))
    canvas = chord([*[shop.add.s(0, 1)] * 600, pair], shop.echo.s())
    with shop.app.worker(concurrency=1):
        result = interrupt(canvas, producer, 2)
        canvas.resume(result)
        assert result.get(timeout=WAIT) == [*[1] * 600, [3, 4]]


def test_resuming_a_chord_of_which_nothing_left_tells_its_size(shop, monkeypatch):
    canvas = chord([shop.add.s(1, 1), shop.add.s(2, 2)], shop.echo.s())

    def refuse(_self, _dispatch):
        msg = "nobody is there"
        raise Broken(msg, recoverable=True)

    with monkeypatch.context() as patch:
        patch.setattr(Carriers, "acquire", refuse)
        with pytest.raises(PublishError) as caught:
            canvas.apply_async()
    assert caught.value.report.counts()["unsent"] == 2
    with shop.app.worker(concurrency=1):
        assert canvas.resume(caught.value.result).get(timeout=WAIT) == [2, 4]
