"""The tasks after a task, in an embedded worker over memory://."""

from __future__ import annotations

import logging
import queue
import uuid

import pytest
from kombu import Connection

from celerant import Celerant, group
from celerant.context.request import current_request
from celerant.errors import ChordError, TaskRevoked
from celerant.running import errbacks

WAIT = 10


@pytest.fixture
def shop():  # noqa: C901 - many small tasks
    """An app with tasks; `shop.told` has the arguments of its errbacks and echoes."""
    with Celerant(f"continuation-{uuid.uuid4().hex[:8]}", result_extended=True) as app:
        app.told = queue.SimpleQueue()
        app.requests = {}

        @app.task(name="add")
        def add(x, y):
            app.requests[current_request.get().id] = current_request.get()
            return x + y

        @app.task(name="fail")
        def fail(*args):
            raise ValueError(*args)

        @app.task(name="unstorable")
        def unstorable(*args):
            return {1, 2}

        @app.task(name="quiet", ignore_result=True)
        def quiet(x):
            return x

        @app.task(name="total")
        def total(values):
            app.requests[current_request.get().id] = current_request.get()
            return sum(values)

        @app.task(name="listed")
        def listed(values, more=None):
            return [*values, more]

        @app.task(name="on_failure")
        def on_failure(request, exc, traceback):
            app.told.put(("here", request.id, repr(exc), traceback))

        # What is asked for its parameters is the function, not the retries around it.
        @app.task(name="on_id", autoretry_for=(OSError,))
        def on_id(task_id):
            request = current_request.get()
            app.told.put(("sent", task_id, request.parent_id, request.root_id))

        @app.task(name="on_bound", bind=True)
        def on_bound(self, *args):
            app.told.put(("bound", *args))

        @app.task(name="on_anything")
        def on_anything(*args):
            app.told.put(("anything", args[0].id))

        @app.task(name="on_partial")
        def on_partial(note, task_id):
            app.told.put(("partial", note, task_id))

        @app.task(name="breaks")
        def breaks(request, exc, traceback):
            raise SystemExit(1)

        yield app


def s(app, name, *args, **options):
    made = app.tasks[name].s(*args) if name in app.tasks else app.signature(name, args)
    return made.set(**options) if options else made


def record(app, result):
    return app.backend.decode(app.backend.read(result.id))


def frozen(app, name, *args, **options):
    return s(app, name, *args, task_id=str(uuid.uuid4()), **options)


def send_chord(app, members, body, **options):
    """Send a header as a chord does: sizes first, its body in every message."""
    group_id = str(uuid.uuid4())
    app.backend.set_chord_size(group_id, len(members))
    group(members).apply_async(task_id=group_id, chord=dict(body), **options)
    return app.AsyncResult(body.options["task_id"])


# -- success -----------------------------------------------------------------------


def test_one_callback_gets_the_value_and_the_lineage(shop):
    callback = frozen(shop, "add", 10)
    with shop.worker(concurrency=2):
        result = s(shop, "add", 1, 2).apply_async(link=[callback], root_id="root")
        assert shop.AsyncResult(callback.id).get(timeout=WAIT) == 13
    request = shop.requests[callback.id]
    assert (request.parent_id, request.root_id) == (result.id, "root")
    assert record(shop, result)["children"] == [[[callback.id, None], None]]


def test_several_callbacks_go_as_one_group_and_groups_singly(shop):
    singles = [frozen(shop, "add", n) for n in (1, 2)]
    members = [frozen(shop, "add", n) for n in (3, 4)]
    with shop.worker(concurrency=2):
        links = [singles[0], group(members), singles[1]]
        result = s(shop, "add", 100, 0).apply_async(link=links)
        for n, signature in enumerate(singles + members, 1):
            assert shop.AsyncResult(signature.id).get(timeout=WAIT) == 100 + n
    groups = {shop.requests[sig.id].group for sig in singles}
    (together,) = groups
    assert together is not None
    assert {shop.requests[sig.id].group for sig in members}.isdisjoint(groups)
    children = record(shop, result)["children"]
    assert [[leaf[0][0] for leaf in child[1]] for child in children] == [
        [sig.id for sig in members],
        [sig.id for sig in singles],
    ]


def test_a_chain_goes_on_step_by_step(shop):
    steps = [frozen(shop, "add", n) for n in (1, 2, 3)]
    with shop.worker(concurrency=2):
        first = s(shop, "add", 0, 0).apply_async(chain=steps[::-1])
        assert shop.AsyncResult(steps[-1].id).get(timeout=WAIT) == 6
    ids = [first.id, *(step.id for step in steps)]
    requests = [shop.requests[task_id] for task_id in ids]
    assert [r.parent_id for r in requests] == [None, *ids[:-1]]
    assert {r.root_id for r in requests} == {first.id}
    assert [len(r.chain or ()) for r in requests] == [3, 2, 1, 0]


def test_priority_is_inherited_if_the_setting_says_so(shop):
    callback = frozen(shop, "add", 1)
    shop.conf.task_inherit_parent_priority = True
    with shop.worker():
        s(shop, "add", 1, 2).apply_async(link=[callback], priority=7)
        assert shop.AsyncResult(callback.id).get(timeout=WAIT) == 4
    assert shop.requests[callback.id].delivery_info["priority"] == 7


def test_an_ignored_task_goes_on_with_its_value(shop):
    step = frozen(shop, "add", 1)
    with shop.worker():
        s(shop, "quiet", 41).apply_async(chain=[step])
        assert shop.AsyncResult(step.id).get(timeout=WAIT) == 42


def test_a_callback_of_an_unknown_task_is_sent_by_its_name(shop):
    callback = frozen(shop, "elsewhere.task", queue=f"{shop.name}-other")
    with shop.worker():
        result = s(shop, "add", 1, 2).apply_async(link=[callback])
        assert result.get(timeout=WAIT) == 3
        with Connection("memory://") as connection:
            assert connection.default_channel._size(f"{shop.name}-other") == 1


def test_a_callback_that_cannot_be_sent_fails_the_task_and_all_that_follows(
    shop, caplog
):
    step = frozen(shop, "add", 1)
    broken = s(shop, "add", 1).set(serializer="unknown")
    with shop.worker():
        result = s(shop, "add", 1, 2).apply_async(
            link=[dict(broken)], chain=[step], link_error=[s(shop, "on_failure")]
        )
        with pytest.raises(Exception, match="serializer"):
            result.get(timeout=WAIT)
        with pytest.raises(Exception, match="serializer"):
            shop.AsyncResult(step.id).get(timeout=WAIT)
        assert shop.told.get(timeout=WAIT)[1] == result.id
        assert s(shop, "add", 1, 1).delay().get(timeout=WAIT) == 2
    assert "what follows task add" in caplog.text


def test_a_broker_that_is_down_fails_the_task_as_celery_stores_it(shop):
    @shop.task(name="cut")
    def cut():
        shop.conf.update(broker_url="redis://127.0.0.1:1/0", task_publish_retry=False)
        shop.sender.close()

    step = frozen(shop, "add", 1)
    with shop.worker():
        results = [s(shop, "cut").apply_async(chain=[step])]
        results.append(shop.AsyncResult(step.id))
        for result in results:
            with pytest.raises(Exception, match=r"refused|onnect"):
                result.get(timeout=WAIT)
            stored = record(shop, result)["result"]
            assert stored["exc_type"] == "OperationalError"
            assert stored["exc_module"] == "kombu.exceptions"


# -- failure -----------------------------------------------------------------------


def test_the_rest_of_a_chain_fails_with_it(shop):
    steps = [frozen(shop, "add", n) for n in (1, 2)]
    members = [frozen(shop, "add", n) for n in (3, 4)]
    with shop.worker():
        first = s(shop, "fail", "no").apply_async(
            chain=[dict(group(members)), *map(dict, steps[::-1])]
        )
        for waited in (*steps, *members):
            with pytest.raises(ValueError, match="no"):
                shop.AsyncResult(waited.id).get(timeout=WAIT)
    stored = record(shop, shop.AsyncResult(steps[0].id))
    assert stored["traceback"] == record(shop, first)["traceback"]
    assert (stored["name"], stored["args"]) == ("add", [1])


def test_the_rest_of_a_revoked_chain_is_revoked_and_no_errback_called(shop):
    step = frozen(shop, "add", 1)
    with shop.worker():
        s(shop, "add", 1, 2).apply_async(
            chain=[step], expires=-1, link_error=[s(shop, "on_failure")]
        )
        with pytest.raises(TaskRevoked, match="expired"):
            shop.AsyncResult(step.id).get(timeout=WAIT)
    assert shop.told.empty()


def test_the_rest_of_a_chain_with_an_unknown_task_fails(shop):
    step = frozen(shop, "add", 1)
    with shop.worker():
        shop.signature("never.heard").apply_async(
            chain=[step], link_error=[s(shop, "on_failure")]
        )
        with pytest.raises(Exception, match=r"never\.heard"):
            shop.AsyncResult(step.id).get(timeout=WAIT)
        assert shop.told.get(timeout=WAIT)[0] == "here"


def test_errbacks_that_take_the_failure_are_called_and_others_sent(shop):
    errbacks = ["on_id", "on_failure", "on_bound", "on_anything"]
    with shop.worker(concurrency=1):
        result = s(shop, "fail", "no").apply_async(
            link_error=[
                *(s(shop, name) for name in errbacks),
                s(shop, "on_partial", "a note"),
            ],
            root_id="root",
        )
        told = {
            entry[0]: entry[1:]
            for entry in [shop.told.get(timeout=WAIT) for _ in range(5)]
        }
    failed, shown, traceback = told["here"]
    assert (failed, shown) == (result.id, "ValueError('no')")
    assert "ValueError: no" in traceback
    assert told["sent"] == (result.id, result.id, "root")
    assert told["bound"] == (result.id,)
    assert told["anything"] == (result.id,)
    # One argument is left for the failure, after the given ones.
    assert told["partial"] == (result.id, "a note")


def test_an_errback_that_raises_stops_neither_the_others_nor_the_worker(shop, caplog):
    with shop.worker(concurrency=1):
        s(shop, "fail", "no").apply_async(
            link_error=[s(shop, "breaks"), s(shop, "on_failure")]
        )
        assert shop.told.get(timeout=WAIT)[0] == "here"
        assert s(shop, "add", 1, 1).delay().get(timeout=WAIT) == 2
    assert "errback breaks of task fail" in caplog.text


def test_errbacks_of_celery_5_6_are_called_in_spite_of_their_option(shop):
    with shop.worker():
        s(shop, "fail", "no").apply_async(
            link_error=[
                {**s(shop, "on_id"), "options": {"immutable": True}},
            ],
        )
        assert shop.told.get(timeout=WAIT)[0] == "sent"


# -- chords ------------------------------------------------------------------------


def test_a_chords_body_gets_the_values_in_order(shop):
    body = frozen(shop, "listed", "more")
    members = [s(shop, "add", n, n) for n in range(50)]
    with shop.worker(concurrency=4):
        result = send_chord(shop, members, body)
        assert result.get(timeout=WAIT) == [*range(0, 100, 2), "more"]


def test_a_body_is_a_child_of_the_part_that_completed_and_goes_on(shop):
    after = frozen(shop, "add", 1)
    body = frozen(shop, "total", chain=[dict(after)])
    members = [s(shop, "add", n, 0) for n in (1, 2)]
    with shop.worker(concurrency=1):
        send_chord(shop, members, body)
        assert shop.AsyncResult(after.id).get(timeout=WAIT) == 4
    parents = {shop.requests[body.id].parent_id}
    assert parents <= set(shop.requests) - {body.id, after.id}


def test_ignored_tasks_count_in_a_chord(shop):
    body = frozen(shop, "total")
    with shop.worker(concurrency=2):
        result = send_chord(shop, [s(shop, "quiet", n) for n in (1, 2)], body)
        assert result.get(timeout=WAIT) == 3


@pytest.mark.parametrize(
    ("failing", "options"),
    [
        ("fail", {}),
        ("unstorable", {}),
        ("unstorable", {"ignore_result": True}),
        ("never.heard", {}),
    ],
)
def test_a_failed_header_fails_the_body_and_the_steps_after_it(
    shop, failing, options, caplog
):
    after = frozen(shop, "add", 1)
    body = frozen(
        shop, "total", chain=[dict(after)], link_error=[dict(s(shop, "on_failure"))]
    )
    with shop.worker(concurrency=2):
        bad = frozen(shop, failing, **options)
        result = send_chord(shop, [s(shop, "add", 1, 1), bad], body)
        with pytest.raises(ChordError, match=f"Dependency {bad.id} raised"):
            result.get(timeout=WAIT)
        with pytest.raises(ChordError):
            shop.AsyncResult(after.id).get(timeout=WAIT)
        kind, failed, shown, traceback = shop.told.get(timeout=WAIT)
    assert (kind, failed, traceback) == ("here", body.id, None)
    assert "ChordError" in shown
    assert shop.told.empty()
    assert "fails: Dependency" in caplog.text


def test_each_member_of_a_groups_body_fails_with_the_headers_error(shop):
    told = dict(s(shop, "on_failure"))
    members = [frozen(shop, "add", n) for n in (1, 2)]
    body = group(members).set(task_id=str(uuid.uuid4()), link_error=[told])
    with shop.worker(concurrency=2):
        send_chord(shop, [s(shop, "fail", "no"), s(shop, "add", 1, 1)], body)
        for member in members:
            with pytest.raises(ValueError, match="no"):
                shop.AsyncResult(member.id).get(timeout=WAIT)
        failed = {shop.told.get(timeout=WAIT)[1] for _ in members}
    assert failed == {member.id for member in members}


def test_a_failed_chord_in_a_header_fails_the_outer_chord(shop):
    outer_id = str(uuid.uuid4())
    outer = frozen(shop, "total")
    inner = frozen(shop, "total", group_id=outer_id, group_index=0, chord=dict(outer))
    with shop.worker(concurrency=2):
        shop.backend.set_chord_size(outer_id, 2)
        other = s(shop, "add", 1, 1)
        other.apply_async(group_id=outer_id, group_index=1, chord=dict(outer))
        send_chord(shop, [s(shop, "fail", "no")], inner)
        with pytest.raises(ChordError, match=f"Dependency {inner.id} raised ChordErr"):
            shop.AsyncResult(outer.id).get(timeout=WAIT)


def test_a_chain_in_a_header_that_fails_fails_the_chord(shop):
    group_id, body = str(uuid.uuid4()), frozen(shop, "total")
    last = frozen(shop, "add", 1, group_id=group_id, group_index=0, chord=dict(body))
    with shop.worker(concurrency=2):
        shop.backend.set_chord_size(group_id, 1)
        s(shop, "fail", "no").apply_async(chain=[dict(last)])
        with pytest.raises(ChordError, match=f"Dependency {last.id} raised ValueErr"):
            shop.AsyncResult(body.id).get(timeout=WAIT)


def test_a_revoked_chain_in_a_header_fails_the_chord(shop):
    group_id, body = str(uuid.uuid4()), frozen(shop, "total")
    last = frozen(shop, "add", 1, group_id=group_id, group_index=0, chord=dict(body))
    with shop.worker(concurrency=2):
        shop.backend.set_chord_size(group_id, 1)
        s(shop, "add", 1, 1).apply_async(chain=[dict(last)], expires=-1)
        with pytest.raises(ChordError, match="TaskRevokedError"):
            shop.AsyncResult(body.id).get(timeout=WAIT)


def test_a_body_that_cannot_be_sent_fails(shop, caplog):
    body = frozen(shop, "total")
    body.options["countdown"] = "soon"
    with shop.worker():
        result = send_chord(shop, [s(shop, "add", 1, 1)], body)
        with pytest.raises(ChordError, match=r"Callback error: .*countdown"):
            result.get(timeout=WAIT)
    assert "the body of chord" in caplog.text


def test_a_backend_that_counts_no_chords_is_told_of_in_one_line(caplog):
    name = f"continuation-{uuid.uuid4().hex[:8]}"
    with Celerant(name, backend="disabled://") as app:
        done = queue.SimpleQueue()
        app.task(name="note")(lambda: done.put(1))
        with app.worker():
            app.signature("note").apply_async(
                group_id="g", chord={"task": "body", "options": {}}
            )
            done.get(timeout=WAIT)
    (line,) = [r for r in caplog.records if "part of chord g" in r.message]
    assert line.levelno == logging.ERROR
    assert line.exc_info is None


@pytest.mark.parametrize("moment", ["made", "sent"])
@pytest.mark.parametrize("kind", [ValueError, SystemExit])
def test_errbacks_that_cannot_go_out_leave_the_body_told(
    shop, monkeypatch, caplog, moment, kind
):
    def refuse(*_args, **_named):
        raise kind("refused")

    unsent = type("Unsent", (group,), {"apply_async": refuse})
    monkeypatch.setattr(errbacks, "group", refuse if moment == "made" else unsent)
    with shop.worker(concurrency=1):
        body = frozen(shop, "total", link_error=[s(shop, "on_id")])
        result = send_chord(shop, [s(shop, "fail", "no")], body)
        with pytest.raises(ChordError):
            result.get(timeout=WAIT)
    assert "errbacks of task total" in caplog.text
