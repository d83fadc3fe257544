from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from datetime import datetime, timedelta, timezone

import pytest
import redis
from kombu import Connection

from celerant import Celerant, group
from celerant.errors import TaskError, TaskRevoked
from harness.inside import redis_socket

BROKERS = ["redis", "rabbitmq"]
pytestmark = pytest.mark.timeout(60)


def left(app):
    """Return how many messages wait in the app's queue."""
    if app.conf.broker_url.startswith("redis"):
        with redis.Redis.from_url(app.conf.broker_url) as client:
            return client.llen(app.conf.task_default_queue)
    # kombu's five seconds are few if all cores are busy.
    with Connection(app.conf.broker_url, connect_timeout=30) as connection:
        queue = app.queues[app.conf.task_default_queue](connection.default_channel)
        return queue.queue_declare(passive=True).message_count


@pytest.mark.parametrize("broker", BROKERS)
def test_a_group_comes_back_in_order(make_app, broker):
    app = make_app(broker)

    @app.task
    def add(x, y):
        return x + y

    with app.worker(concurrency=4):
        result = group(add.s(i, i) for i in range(500))()
        assert result.get(timeout=40) == [2 * i for i in range(500)]
    assert left(app) == 0


@pytest.mark.parametrize("broker", BROKERS)
def test_a_stock_client_sends_to_the_worker_and_reads_its_results(
    make_app, own_urls, broker
):
    import celery
    from celery.exceptions import NotRegistered, TaskRevokedError

    app = make_app(broker)

    @app.task(name="h3.divide")
    def divide(x, y):
        return x / y

    stock = celery.Celery(
        "stock",
        broker=own_urls[broker],
        backend=own_urls["results"],
        set_as_current=False,
    )
    queue = app.conf.task_default_queue
    stock.conf.task_default_queue = queue
    stock.conf.task_default_exchange = stock.conf.task_default_routing_key = queue
    past = datetime.now(timezone.utc) - timedelta(seconds=5)
    with app.worker(concurrency=2):
        assert stock.send_task("h3.divide", (1, 2)).get(timeout=20) == 0.5
        with pytest.raises(ZeroDivisionError):
            stock.send_task("h3.divide", (1, 0)).get(timeout=20)
        with pytest.raises(NotRegistered, match=r"h3\.unheard"):
            stock.send_task("h3.unheard").get(timeout=20)
        if broker == "redis":  # RabbitMQ itself drops expired messages
            late = stock.send_task("h3.divide", (1, 2), expires=past)
            with pytest.raises(TaskRevokedError):
                late.get(timeout=20)
    stock.close()


def test_revoked_and_unknown_read_well_here_too(make_app):
    app = make_app("redis")

    @app.task
    def nothing():
        return None

    past = datetime.now(timezone.utc) - timedelta(seconds=5)
    with app.worker(concurrency=1):
        with pytest.raises(TaskRevoked):
            nothing.apply_async(expires=past).get(timeout=20)
        with pytest.raises((TaskError, Exception), match=r"h3\.unheard"):
            app.send_task("h3.unheard").get(timeout=20)


@pytest.mark.parametrize("broker", BROKERS)
def test_stop_finishes_running_tasks_and_gives_back_the_rest(make_app, broker):
    app = make_app(broker)
    entered, gate = threading.Event(), threading.Event()

    @app.task
    def wait(i):
        entered.set()
        return gate.wait(20) and i

    worker = app.worker(concurrency=1)
    worker.start()
    result = group(wait.s(i) for i in range(12))()
    assert entered.wait(20)
    worker._slots.close()
    gate.set()
    worker.stop()
    assert left(app) == 11
    with app.worker(concurrency=1):
        assert result.get(timeout=20) == list(range(12))


@pytest.mark.parametrize("broker", BROKERS)
def test_a_task_with_an_eta_leaves_the_slot_free_and_goes_back_at_stop(
    make_app, broker, caplog
):
    caplog.set_level("INFO", "celerant")
    app = make_app(broker)

    @app.task
    def echo(x):
        return x

    with app.worker(concurrency=1):
        # More than the prefetch count: each that is held raises it.
        soon = datetime.now(timezone.utc) + timedelta(seconds=3)
        held = [echo.apply_async((i,), eta=soon) for i in range(10)]
        far = echo.apply_async((-1,), countdown=3600)
        assert echo.delay("now").get(timeout=20) == "now"
        assert not held[0].ready()
        assert [r.get(timeout=20) for r in held] == list(range(10))
    assert left(app) == 1
    assert not far.ready()
    # Not by the grace of the transport: some drop messages of a closed channel.
    assert "1 unstarted messages go back" in caplog.text


@pytest.mark.parametrize("broker", BROKERS)
@pytest.mark.parametrize("late", [False, True])
def test_a_message_is_acknowledged_before_or_after_the_run(
    make_app, broker, late, caplog
):
    app = make_app(broker)
    entered, gate = threading.Event(), threading.Event()
    runs = []

    @app.task(acks_late=late)
    def wait():
        runs.append(1)
        entered.set()
        return gate.wait(20)

    @app.task
    def echo(x):
        return x

    # A message that comes again takes another slot while the first run goes on.
    with app.worker(concurrency=3) as worker:
        result = wait.delay()
        assert entered.wait(20)
        # Its ack goes out before the next message comes in.
        assert echo.delay(1).get(timeout=20) == 1
        _break(worker, broker)
        assert echo.delay(2).get(timeout=20) == 2
        gate.set()
        assert result.get(timeout=30) is True
    # An ack for the old connection must not break the new one.
    lost = [r for r in caplog.records if r.getMessage().startswith("lost ")]
    assert len(lost) == 1
    # Unacknowledged messages came again when the connection broke. Those noted in
    # Redis are still this worker's, and the new connection acknowledges them.
    comes_again = late and broker == "rabbitmq"
    assert (len(runs), left(app)) == ((2, 0) if comes_again else (1, 0))


def _break(worker, broker):
    """Cut the worker's connection under it."""
    source = worker._source
    if broker == "rabbitmq":
        connected = source._connection.connection.sock
    else:
        connected = redis_socket(source)
    connected.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("broker", BROKERS)
def test_a_lost_connection_is_made_again_and_running_tasks_go_on(
    make_app, broker, caplog
):
    app = make_app(broker)
    entered, gate = threading.Event(), threading.Event()

    @app.task
    def wait():
        entered.set()
        return gate.wait(20)

    @app.task
    def echo(x):
        return x

    with app.worker(concurrency=2) as worker:
        running = wait.delay()
        assert entered.wait(20)
        for i in range(3):
            assert echo.delay(i).get(timeout=20) == i
            _break(worker, broker)
        assert echo.delay("after").get(timeout=20) == "after"
        gate.set()
        assert running.get(timeout=20) is True
    assert "guest:guest" not in caplog.text


def test_a_restarted_redis_is_found_again(redis_server, tmp_path, caplog):
    server = redis_server()
    url = f"redis://127.0.0.1:{server.port}/0"
    app = Celerant("celerant-h3-restart", broker=url, backend=url)

    @app.task
    def echo(x):
        return x

    with app, app.worker(concurrency=1):
        assert echo.delay(1).get(timeout=20) == 1
        server.stop()
        redis_server(port=server.port)
        assert echo.delay(2).get(timeout=40) == 2
    assert "lost" in caplog.text


SCRIPT = """
import os, sys, time
from celerant import Celerant, group
app = Celerant("script")

@app.task
def square(x):
    return x * x

@app.task
def die():
    os._exit(3)

@app.task
def odd():
    return {1, 2}

class Own(Exception):
    pass

@app.task
def burst():
    raise Own("mine", 1)

@app.task
def who():
    return os.getpid()

@app.task
def send():
    square.delay(1)

def run():
    with app.worker(concurrency=2, pool="processes"):
        assert group(square.s(i) for i in range(50))().get(timeout=40) == [
            i * i for i in range(50)
        ]
        assert who.delay().get(timeout=20) != os.getpid()
        g = group([square.s(1), die.s(), square.s(2), odd.s(), square.s(3)])()
        one, lost, two, odd_, three = g.get(timeout=40, propagate=False)
        assert (one, two, three) == (1, 4, 9), (one, two, three)
        print("LOST", repr(lost))
        print("ODD", repr(odd_))
        try:
            burst.delay().get(timeout=20)
        except Own as exc:
            print("OWN", exc.args)
        for _ in range(4):
            assert square.delay(7).get(timeout=20) == 49
        print("SEND", repr(send.delay().get(timeout=20, propagate=False)))
    app.conf.worker_max_tasks_per_child = 2
    with app.worker(concurrency=1, pool="processes"):
        pids = [who.delay().get(timeout=20) for _ in range(5)]
        print("PIDS", [len(set(pids[:2])), len(set(pids[2:4])), len(set(pids))])
    app.close()
    print("END")

GUARD
"""


def run_script(folder, guard, timeout=50):
    script = folder / "script.py"
    script.write_text(textwrap.dedent(SCRIPT).replace("GUARD", guard))
    return subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=folder,
        check=False,
    )


def test_processes_run_the_tasks_of_a_script(tmp_path):
    ended = run_script(tmp_path, 'if __name__ == "__main__":\n    run()')
    assert ended.returncode == 0, ended.stderr
    assert "LOST" in ended.stdout
    assert "WorkerLostError" in ended.stdout
    assert "EncodeError" in ended.stdout
    assert "OWN ('mine', 1)" in ended.stdout
    assert "SEND ForkError" in ended.stdout
    assert "would never leave the child" in ended.stdout
    assert "PIDS [1, 1, 3]" in ended.stdout
    assert ended.stdout.endswith("END\n")


def test_a_script_without_a_guard_gets_an_error_with_the_remedy(tmp_path):
    ended = run_script(tmp_path, "run()")
    assert ended.returncode != 0
    assert "if __name__ == '__main__':" in ended.stderr
    assert "SettingError" in ended.stderr


def test_tasks_of_an_interactive_session_are_refused_for_processes():
    code = (
        "from celerant import Celerant\n"
        "app = Celerant('x')\n"
        "@app.task\n"
        "def f(): pass\n"
        "app.worker(pool='processes').start()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-"],
        input=code,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert ended.returncode != 0
    assert "put the tasks and their app into a module" in ended.stderr


@pytest.fixture
def module(tmp_path, make_app):
    """A folder with a module `h3tasks` that holds an app, and the app's twin here."""
    twin = make_app("redis")
    name, urls = twin.name, twin.conf
    code = f"""
        import os, redis, time
        from celerant import Celerant
        store = redis.Redis.from_url({urls.result_backend!r}, socket_timeout=40)
        app = Celerant({name!r}, broker={urls.broker_url!r},
                       backend={urls.result_backend!r}, task_default_queue={name!r},
                       control_exchange={name!r}, event_exchange={name + ".ev"!r},
                       result_expires=600)

        @app.task(name="who")
        def who():
            return os.getpid()

        @app.task(name="linger")
        def linger():
            print("LINGERING", flush=True)
            store.blpop([{(name + "-go")!r}], 30)
            return "finished"

        @app.task(name="stay")
        def stay():
            print("STAYING", flush=True)
            time.sleep(600)
    """
    (tmp_path / "h3tasks.py").write_text(textwrap.dedent(code))
    return tmp_path, twin


def start_cli(folder, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "celerant", "worker", "-A", "h3tasks:app", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("pool", ["threads", "processes"])
@pytest.mark.parametrize(
    ("number", "to_all"),
    [(signal.SIGTERM, False), (signal.SIGTERM, True), (signal.SIGINT, True)],
)
def test_command_line_runs_tasks_and_stops_warm(module, pool, number, to_all):
    folder, twin = module
    process = start_cli(folder, "-P", pool, "-c", "2", "-n", "w@here")
    try:
        pid = twin.send_task("who").get(timeout=30)
        assert (pid == process.pid) == (pool == "threads")
        running = twin.send_task("linger")
        assert process.stdout.readline() == "LINGERING\n"
        if to_all:  # as terminals and supervisors do: to the children as well
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        while "stopping after what runs" not in process.stderr.readline():
            assert process.poll() is None
        with redis.Redis.from_url(twin.conf.result_backend) as store:
            store.lpush(f"{twin.name}-go", 1)
        _, log = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, log
    assert running.get(timeout=5) == "finished"
    assert "worker w@here stopped" in log


@pytest.mark.parametrize("pool", ["threads", "processes"])
def test_a_second_signal_stops_cold(module, pool):
    folder, twin = module
    process = start_cli(folder, "-P", pool, "-c", "1")
    try:
        twin.send_task("stay")
        assert process.stdout.readline() == "STAYING\n"
        process.terminate()
        while "second signal stops at once" not in process.stderr.readline():
            assert process.poll() is None
        process.terminate()
        process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 128 + signal.SIGTERM


def test_quit_stops_cold_and_events_are_asked_for(module):
    folder, twin = module
    host = f"{twin.name}@here"
    process = start_cli(folder, "-E", "-c", "1", "-n", host)
    try:
        twin.send_task("stay")
        assert process.stdout.readline() == "STAYING\n"
        answers = twin.control.broadcast(
            "enable_events", destination=[host], reply=True, timeout=20
        )
        assert answers == [{host: {"ok": "task events already enabled"}}]
        process.send_signal(signal.SIGQUIT)
        _, log = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 128 + signal.SIGQUIT, log


def test_a_broker_that_is_away_at_the_start_is_waited_for(module):
    folder, _ = module
    code = (folder / "h3tasks.py").read_text()
    code = re.sub(r"broker='[^']*'", "broker='redis://:secret@127.0.0.1:1/0'", code)
    (folder / "h3tasks.py").write_text(code)
    process = start_cli(folder)
    try:
        line = process.stderr.readline()
        assert "cannot consume" in line
        assert "secret" not in line
        process.terminate()
        _, log = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, log
    assert "secret" not in log


def test_a_killed_parent_leaves_no_child(module):
    folder, twin = module
    process = start_cli(folder, "-P", "processes", "-c", "1")
    try:
        child = twin.send_task("who").get(timeout=30)
    finally:
        process.kill()
        process.communicate()
    watch = os.pidfd_open(child) if _is_alive(child) else None
    if watch is not None:
        import select

        poll = select.poll()
        poll.register(watch, select.POLLIN)
        assert poll.poll(10_000), "the child outlives its parent"
        os.close(watch)


LATE = """
    import redis
    from celerant import Celerant
    app = Celerant({name!r}, broker={broker!r}, backend={results!r},
                   task_default_queue={name!r}, result_expires=600,
                   broker_transport_options={options!r})
    store = redis.Redis.from_url({results!r})

    @app.task(name="late", acks_late=True)
    def late(key):
        store.expire(key, 600)
        if store.incr(key) == 1:
            print("STAYING", flush=True)
            store.blpop([key + "-never"], 60)
        return store.incr(key + "-ends")
"""


@pytest.mark.parametrize("pool", ["threads", "processes"])
@pytest.mark.parametrize("broker", BROKERS)
def test_a_late_ack_survives_kill_9_and_counts_once(
    make_app, own_urls, tmp_path, broker, pool
):
    app = make_app(broker)
    options = {
        "visibility_timeout": 1,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        # Keys of its own: messages of others in this database are not to come again.
        **{
            f"unacked_{kind}": f"{app.name}-unacked-{kind}"
            for kind in ("key", "index_key", "mutex_key")
        },
    }
    options = options if broker == "redis" else {}
    code = LATE.format(
        name=app.name,
        broker=own_urls[broker],
        results=own_urls["results"],
        options=options,
    )
    (tmp_path / "h3tasks.py").write_text(textwrap.dedent(code))
    first = start_cli(tmp_path, "-P", pool, "-c", "1")
    try:
        result = group([app.signature("late", (f"{app.name}-runs",))])()
        assert first.stdout.readline() == "STAYING\n"
        first.kill()
        first.communicate(timeout=20)
        second = start_cli(tmp_path, "-P", pool, "-c", "1")
        try:
            assert result.get(timeout=40) == [1]
            assert result.completed_count() == 1
            second.terminate()
            second.communicate(timeout=20)
        finally:
            second.kill()
            second.communicate()
    finally:
        first.kill()
        first.communicate()
    assert left(app) == 0
    with redis.Redis.from_url(own_urls["results"]) as store:
        runs, ends = store.mget(f"{app.name}-runs", f"{app.name}-runs-ends")
        store.delete(f"{app.name}-runs", f"{app.name}-runs-ends")
    assert (runs, ends) == (b"2", b"1")


@pytest.mark.parametrize("broker", BROKERS)
def test_messages_held_for_their_time_are_bounded(make_app, broker):
    app = make_app(broker)
    app.conf.worker_eta_task_limit = 5

    @app.task
    def echo(x):
        return x

    many = group(echo.s(i) for i in range(40))
    many.apply_async(countdown=3600)
    with app.worker(concurrency=1) as worker:
        source = worker._source
        # As many as may be held: the prefetch of 4, and 5 more.
        while len(source.unstarted()) < 9:
            assert worker.is_running
            assert app.control.ping([worker.hostname], timeout=10)
        for _ in range(5):
            assert app.control.ping([worker.hostname], timeout=10)
            assert len(source.unstarted()) == 9
    assert left(app) == 40


def _is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
