"""A real Flower sees the embedded worker as it sees a stock one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import urllib.request
import uuid

import pytest

from celerant import Celerant
from harness import services
from harness.celerant_worker import CelerantWorker
from harness.logged_process import LoggedProcess
from harness.redis_server import free_port
from harness.until import until

pytestmark = pytest.mark.timeout(150)

BROKER, RESULTS = services.redis_url(7), services.redis_url(8)
MODULE = """
    import os
    from celerant import Celerant
    app = Celerant("shop", broker={broker!r}, backend={results!r},
                   task_default_queue=os.environ["CELERANT_QUEUE"],
                   control_exchange={name!r}, event_exchange="{name}.ev",
                   worker_send_task_events=True, result_expires=600)
    stock = app.to_celery()

    @app.task(name="shop.divide")
    def divide(x, y):
        return x / y
"""
#: The questions that Flower asks a worker by itself.
INSPECTED = {
    *("active", "active_queues", "conf", "registered", "reserved", "revoked"),
    *("scheduled", "stats"),
}


class Monitored:
    """A stock worker and one of ours, both with events on."""

    def __init__(self, name, environment):
        self.name = name
        self.environment = environment
        self.app = Celerant(
            "shop",
            broker=BROKER,
            backend=RESULTS,
            control_exchange=name,
            event_exchange=f"{name}.ev",
        )
        self.hosts = {kind: f"{kind}@{name}" for kind in ("stock", "ours")}

    def send(self, kind, *args):
        return self.app.send_task("shop.divide", args, queue=f"{self.name}-{kind}")


@pytest.fixture(scope="module")
def monitored(redis_url, tmp_path_factory):
    folder = tmp_path_factory.mktemp("flower")
    name = f"celerant-test-{uuid.uuid4().hex[:8]}"
    code = MODULE.format(broker=BROKER, results=RESULTS, name=name)
    (folder / "celerant_shop.py").write_text(textwrap.dedent(code))
    environment = {
        **os.environ,
        "PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "FLOWER_UNAUTHENTICATED_API": "true",
    }
    made = Monitored(name, environment | {"CELERANT_QUEUE": name})
    stock = LoggedProcess(
        [
            *(sys.executable, "-m", "celery", "-A", "celerant_shop:stock", "worker"),
            *("-P", "prefork", "-c", "2", "-l", "INFO", "-E", "-n"),
            *(made.hosts["stock"], "--without-gossip", "--without-mingle"),
        ],
        is_ready=lambda line: line.rstrip().endswith(" ready."),
        folder=folder,
        environment=environment | {"CELERANT_QUEUE": f"{name}-stock"},
    )
    ours = CelerantWorker(
        folder=folder,
        module="celerant_shop:app",
        hostname=made.hosts["ours"],
        environment=environment | {"CELERANT_QUEUE": f"{name}-ours"},
    )
    made.folder = folder
    with stock, ours:
        yield made
    made.app.close()
    with services.redis_client(7) as client:
        client.delete(*(client.keys(f"*{name}*") or ["-"]))


@pytest.fixture
def flower(monitored):
    """Return the answers of Flower's HTTP API: `flower("/api/workers")`."""
    port = free_port()
    process = LoggedProcess(
        [
            *(sys.executable, "-m", "celery", "-A", "celerant_shop:stock", "flower"),
            *("--address=127.0.0.1", f"--port={port}", "--inspect_timeout=5000"),
        ],
        # Its events come by a thread that says so.
        is_ready=lambda line: "Connected to" in line,
        folder=monitored.folder,
        environment=monitored.environment,
    )

    def ask(path):
        url = f"http://127.0.0.1:{port}{path}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)

    with process:
        yield ask


def test_flower_shows_both_workers_and_the_ends_of_their_tasks(monitored, flower):
    hosts = monitored.hosts
    assert set(hosts.values()) <= set(flower("/api/workers?refresh=true"))

    def inspected(host):
        told = flower(f"/api/workers?refresh=true&workername={host}").get(host, {})
        return told if set(told) >= INSPECTED else None

    ours, stock = (
        until(lambda host=host: inspected(host), 60)
        for host in (hosts["ours"], hosts["stock"])
    )
    assert ours["registered"] == stock["registered"] == ["shop.divide"]
    assert ours["stats"]["pool"]["max-concurrency"] == 2
    assert [q["name"] for q in ours["active_queues"]] == [f"{monitored.name}-ours"]
    assert "control_exchange" in ours["conf"]

    # Flower hears events from some moment after its start: so again until it does.
    def send_and_look():
        seen = {}
        for kind in hosts:
            done, failed = monitored.send(kind, 6, 3), monitored.send(kind, 1, 0)
            assert done.get(timeout=30) == 2.0
            failed.get(timeout=30, propagate=False)
            seen[kind] = done.id, failed.id
        tasks = flower("/api/tasks?limit=1000")
        ids = [task_id for pair in seen.values() for task_id in pair]
        states = {tasks.get(task_id, {}).get("state") for task_id in ids}
        return (seen, tasks) if states <= {"SUCCESS", "FAILURE"} else None

    seen, tasks = until(send_and_look, 60)
    told = {}
    for kind, (done, failed) in seen.items():
        assert tasks[done]["worker"] == hosts[kind]
        shown = []
        for task_id in (done, failed):
            task = dict(tasks[task_id])
            assert task.pop("uuid") == task_id
            assert task.pop("root_id") == task_id
            # The times and the place of its run; a traceback names its files.
            for name in ("worker", "clock", "traceback", "children", "root"):
                task.pop(name, None)
            for name, value in task.items():
                if isinstance(value, float):
                    task[name] = "a time"
            shown.append(task)
        told[kind] = shown
    assert told["ours"] == told["stock"]
    assert [task["state"] for task in told["ours"]] == ["SUCCESS", "FAILURE"]
    assert told["ours"][0]["result"] == "2.0"
    assert "ZeroDivisionError" in told["ours"][1]["exception"]
    info = flower(f"/api/task/info/{seen['ours'][0]}")
    assert info["worker"] == hosts["ours"]


def test_heartbeats_are_those_of_a_stock_worker(monitored):
    stock = monitored.app.to_celery()
    beats = {}

    def note(event):
        # Others' workers may beat on this broker too; and a stock worker's answer
        # to remote control has fewer fields than its own beats.
        is_asked = event["hostname"] == monitored.hosts["stock"]
        is_asked = is_asked and "active" not in event
        if event["hostname"] in monitored.hosts.values() and not is_asked:
            beats.setdefault(event["hostname"], event)
        if len(beats) == 2:
            receiver.should_stop = True

    with stock.connection_for_read() as connection:
        receiver = stock.events.Receiver(connection, {"worker-heartbeat": note})
        receiver.capture(limit=None, timeout=30)
    stock.close()
    ours, theirs = (beats[monitored.hosts[kind]] for kind in ("ours", "stock"))
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        assert type(ours[name]) is type(value), name
    for name in ("freq", "sw_sys", "type", "utcoffset"):
        assert ours[name] == theirs[name], name
    assert ours["sw_ident"] == "celerant"
    assert len(ours["loadavg"]) == 3


def test_celery_inspect_sees_both(monitored):
    found = subprocess.run(
        [
            *(sys.executable, "-m", "celery", "-A", "celerant_shop:stock"),
            *("inspect", "ping", "--timeout", "10", "--json"),
            *("--destination", ",".join(monitored.hosts.values())),
        ],
        check=True,
        capture_output=True,
        text=True,
        cwd=monitored.folder,
        env=monitored.environment,
        timeout=60,
    )
    answers = json.loads(found.stdout)
    assert answers == {host: {"ok": "pong"} for host in monitored.hosts.values()}
