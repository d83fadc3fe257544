"""Silent mistakes are reported: no worker, messages left, options without effect."""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid

import pytest

from celerant import Celerant, group
from celerant.errors import ResultTimeout
from harness.until import until

NOBODY = "no worker of app"


@pytest.fixture
def app():
    with Celerant(f"celerant-{uuid.uuid4().hex[:8]}") as made:
        yield made


@pytest.fixture
def echo(app):
    @app.task(name="echo")
    def echo(x):
        return x

    return echo


@pytest.mark.filterwarnings("default:waiting for a result:RuntimeWarning")
def test_waiting_without_a_worker_is_warned_of_once(app, echo, recwarn):
    members = group(echo.s(i) for i in range(3))
    with pytest.raises(ResultTimeout, match=f"after 0.01 s: {NOBODY} {app.name} runs"):
        echo.delay(1).get(timeout=0.01)
    with pytest.raises(ResultTimeout, match=f"3 of 3 .*: {NOBODY}"):
        members().get(timeout=0.01)
    (told,) = recwarn
    assert f"although {NOBODY}" in str(told.message)
    assert told.filename == __file__


SCRIPT = """
from celerant import Celerant

app = Celerant("nobody-works")


@app.task
def add(x, y):
    return x + y


try:
    add.delay(1, 2).get(timeout=0.1)
except TimeoutError:
    pass
"""


def test_a_plain_script_is_told_on_stderr_without_logging():
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        timeout=25,
        check=True,
    )
    assert f"RuntimeWarning: waiting for a result although {NOBODY}" in ran.stderr
    assert "with app.worker(): ..." in ran.stderr


def test_wait_with_a_worker_warns_of_nothing(app, caplog):
    gate = threading.Event()

    @app.task(name="wait")
    def wait():
        return gate.wait(20)

    with app.worker(concurrency=1):
        result = wait.delay()
        with pytest.raises(ResultTimeout) as caught:
            result.get(timeout=0.01)
        gate.set()
        assert result.get(timeout=20) is True
    assert NOBODY not in str(caught.value) + caplog.text


def test_a_result_that_is_there_needs_no_worker(app, echo, caplog):
    with app.worker(concurrency=1):
        result = echo.delay(1)
        assert result.get(timeout=20) == 1
    assert result.get() == 1
    assert NOBODY not in caplog.text


def test_a_missing_worker_is_not_reported_if_another_process_may_have_one(caplog):
    far = Celerant("far", broker="redis://127.0.0.1:1/0", backend="memory://")
    with far as app, pytest.raises(ResultTimeout) as caught:
        app.AsyncResult("no-such-id").get(timeout=0.01)
    assert NOBODY not in str(caught.value) + caplog.text


@pytest.mark.parametrize("is_alone", [True, False])
def test_messages_left_behind_are_counted(app, echo, caplog, is_alone):
    inside = threading.Semaphore(0)
    gates = {name: threading.Event() for name in ("goes@test", "stays@test")}

    @app.task(name="wait", bind=True)
    def wait(self):
        inside.release()
        return gates[self.request.hostname].wait(20)

    hosts = ["goes@test"] if is_alone else list(gates)
    workers = [app.worker(concurrency=1, hostname=host) for host in hosts]
    for worker in workers:
        worker.start()
    for _ in hosts:
        wait.delay()
        assert inside.acquire(timeout=20)
    for number in range(3):
        echo.delay(number)
    going = workers[0]
    slots, stopping = going._slots, threading.Thread(target=going.stop)
    stopping.start()
    until(lambda: slots._stopping)
    gates["goes@test"].set()
    stopping.join(20)
    told = [r.getMessage() for r in caplog.records if "unstarted" in r.getMessage()]
    gates["stays@test"].set()
    for worker in workers[1:]:
        worker.stop()
    if is_alone:
        (line,) = told
        assert line.startswith(f"3 messages stay unstarted in {app.name},")
    else:
        assert told == []


def test_options_without_effect_are_told_at_the_start(app, caplog):
    @app.task(name="tries", rate_limit="1/s")
    def tries():
        return None

    @app.task(name="plain")
    def plain():
        return None

    app.conf.task_default_rate_limit = "9/s"
    with app.worker(concurrency=1):
        for _ in range(3):
            tries.delay().get(timeout=20)
    told = [r.getMessage() for r in caplog.records if "honour" in r.getMessage()]
    assert len(told) == 2
    assert "task tries: this worker does not honour rate_limit" in told[0]
    assert "task_default_rate_limit" in told[1]


@pytest.mark.parametrize(
    "url",
    ["redis://user:hidden@127.0.0.1:1/0", "amqp://user:hidden@127.0.0.1:1//"],
)
def test_a_broker_that_is_down_is_named(url):
    with (
        Celerant("down", broker=url, backend="memory://") as app,
        pytest.raises(ConnectionError) as caught,
        app.worker(concurrency=1, hostname="here@test"),
    ):
        pass
    message = str(caught.value)
    assert message.startswith("worker here@test cannot consume celery from ")
    assert "127.0.0.1:1" in message
    assert "hidden" not in message
    assert caught.value.__cause__ is not None
