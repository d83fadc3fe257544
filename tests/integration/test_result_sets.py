"""Results that were sent one by one, through brokers and stores."""

from __future__ import annotations

import threading

import pytest

from celerant import AsyncResult, Celerant, ResultSet, group

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(params=["memory", "redis", "rpc"])
def app(request):
    if request.param == "memory":
        with Celerant("celerant-result-sets") as made:
            yield made
        return
    make_app = request.getfixturevalue("make_app")
    made = make_app("rabbitmq" if request.param == "rpc" else "redis")
    if request.param == "rpc":
        made.conf.result_backend = "rpc://"
    yield made


def test_hundreds_of_results_come_in_the_order_of_the_set(app):
    @app.task(name="sets.double")
    def double(x):
        return 2 * x

    with app.worker(concurrency=4):
        sent = [double.delay(i) for i in range(300)]
        found = ResultSet(sent)
        assert found.get(timeout=40) == list(range(0, 600, 2))
        assert found.completed_count() == 300
        seen = {}
        ResultSet(sent).get(timeout=40, callback=seen.__setitem__)
        assert seen == {result.id: 2 * i for i, result in enumerate(sent)}


def test_results_by_their_ids_alone_come_too(app):
    @app.task(name="sets.double")
    def double(x):
        return 2 * x

    with app.worker(concurrency=4):
        sent = [double.delay(i) for i in range(20)]
        found = ResultSet([AsyncResult(result.id, app=app) for result in sent])
        assert found.get(timeout=40) == list(range(0, 40, 2))


@pytest.mark.parametrize("kind", ["one", "set", "group"])
def test_records_of_tasks_that_run_are_told_while_it_waits(app, kind):
    gate, heard = threading.Event(), []

    @app.task(name="sets.tell", bind=True)
    def tell(self, x):
        self.update_state(state="PROGRESS", meta={"x": x})
        return gate.wait(30) and x

    def on_message(fields):
        heard.append((fields["status"], fields["task_id"], fields["result"]))
        if fields["status"] == "PROGRESS":
            gate.set()

    with app.worker(concurrency=1):
        sent = {
            "one": lambda: tell.delay(7),
            "set": lambda: ResultSet([tell.delay(7)]),
            "group": group([tell.s(7)]),
        }[kind]()
        value = sent.get(timeout=40, on_message=on_message)
    assert value == (7 if kind == "one" else [7])
    task_id = sent.id if kind == "one" else sent[0].id
    assert heard == [("PROGRESS", task_id, {"x": 7}), ("SUCCESS", task_id, 7)]
