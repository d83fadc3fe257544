"""Every command of `celery inspect` and `celery control`, to both kinds of worker."""

from __future__ import annotations

import os
import textwrap
import uuid
from contextlib import contextmanager

import pytest
import redis
from kombu import Connection

from celerant import Celerant
from harness import services
from harness.celerant_worker import CelerantWorker

RESULTS = services.redis_url(8)
URLS = {"redis": services.redis_url(7), "rabbitmq": services.RABBITMQ}
pytestmark = pytest.mark.timeout(150)

MODULE = """
    import os, redis
    from celerant import Celerant
    app = Celerant("commands", broker={broker!r}, backend={results!r},
                   task_default_queue=os.environ["CELERANT_QUEUE"],
                   control_exchange={exchange!r}, result_expires=600,
                   worker_prefetch_multiplier=1)
    stock = app.to_celery()
    store = redis.Redis.from_url({results!r}, socket_timeout=90)

    @app.task(name="commands.hold")
    def hold(key):
        "Run until the key is let go."
        store.lpush(key + "-entered", 1)
        store.expire(key + "-entered", 600)
        return store.blpop([key + "-go"], 60) is not None

    @app.task(name="commands.limited", rate_limit="9/s", routing_key="limited")
    def limited():
        return True
"""


class Both:
    """A stock worker and one of ours, and a stock client of both."""

    def __init__(self, broker, exchange, names):
        self.app = Celerant(
            "commands", broker=broker, backend=RESULTS, control_exchange=exchange
        )
        self.stock = self.app.to_celery()
        self.store = redis.Redis.from_url(RESULTS, socket_timeout=90)
        #: Host names and queues, by kind.
        self.names = names

    def ask(self, kind, command, **arguments):
        host = self.names[kind][0]
        answers = self.stock.control.broadcast(
            command, arguments, destination=[host], reply=True, timeout=20, limit=1
        )
        (answer,) = answers
        return answer[host]

    def same(self, command, **arguments):
        """Return the answer of both, which is the same."""
        stock, ours = (self.ask(kind, command, **arguments) for kind in self.names)
        assert ours == stock
        return ours

    def keys(self, command, **arguments):
        """Return the names in the answers of both."""
        return [set(self.ask(kind, command, **arguments)) for kind in self.names]

    def await_prefetch(self, kind, count):
        """Wait for messages that a worker sends in its own time."""
        for _ in range(500):
            if self.ask(kind, "stats")["prefetch_count"] == count:
                return
        pytest.fail(f"{kind}: {self.ask(kind, 'stats')['prefetch_count']}")

    def send(self, kind, task, *args, **options):
        queue = options.pop("queue", self.names[kind][1])
        return self.app.send_task(task, args, queue=queue, **options)

    def hold(self, kind, **options):
        """Let one task begin; return its result and the function that lets it go."""
        key = f"celerant-commands-{uuid.uuid4().hex[:8]}"
        result = self.send(kind, "commands.hold", key, **options)
        assert self.store.blpop([f"{key}-entered"], 30), "the task did not begin"

        def let_go():
            self.store.lpush(f"{key}-go", 1)
            self.store.expire(f"{key}-go", 600)

        return result, let_go


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def both(request, redis_url, celery_worker, tmp_path_factory):
    """Two workers for tests that leave them as they were."""
    with two_workers(request, celery_worker, tmp_path_factory) as made:
        yield made


@pytest.fixture(params=["redis", "rabbitmq"])
def both_anew(request, redis_url, celery_worker, tmp_path_factory):
    """Two workers for one test: other tests would see its changes."""
    with two_workers(request, celery_worker, tmp_path_factory) as made:
        yield made


@contextmanager
def two_workers(request, celery_worker, tmp_path_factory):
    broker = URLS[request.param]
    if request.param == "rabbitmq":
        request.getfixturevalue("rabbitmq_url")
    folder = tmp_path_factory.mktemp("commands")
    exchange = f"celerant-commands-{uuid.uuid4().hex[:8]}"
    code = MODULE.format(broker=broker, results=RESULTS, exchange=exchange)
    (folder / "celerant_commands.py").write_text(textwrap.dedent(code))
    names, workers = {}, []
    try:
        for kind in ("stock", "ours"):
            queue = f"{exchange}-{kind}"
            host = f"{queue}-{os.getpid()}@localhost"
            names[kind] = host, queue
            environment = {"PYTHONPATH": str(folder), "CELERANT_QUEUE": queue}
            if kind == "stock":
                worker = celery_worker(
                    broker=broker,
                    backend=RESULTS,
                    queue=queue,
                    module="celerant_commands:stock",
                    pool="prefork",
                    environment=environment,
                )
            else:
                worker = CelerantWorker(
                    folder=folder,
                    module="celerant_commands:app",
                    hostname=host,
                    environment={**os.environ, **environment},
                )
                worker.__enter__()
            workers.append(worker)
        made = Both(broker, exchange, names)
        yield made
    finally:
        for worker in workers:
            worker.stop()
    made.app.close()
    made.stock.close()
    made.store.close()
    with Connection(broker) as connection:
        channel = connection.default_channel
        for _, queue in names.values():
            channel.queue_delete(queue)
            channel.queue_delete(f"{queue}-more")
        if request.param == "rabbitmq":
            for name in (f"{exchange}.pidbox", f"reply.{exchange}.pidbox"):
                channel.exchange_delete(name)
    with services.redis_client(7) as client:
        client.delete(*(client.keys(f"*{exchange}*") or ["-"]))


def test_ping_is_answered_as_by_celery(both):
    assert both.same("ping") == {"ok": "pong"}


def test_registered_is_answered_as_by_celery(both):
    assert both.same("registered") == [
        "commands.hold",
        "commands.limited [routing_key=limited rate_limit=9/s]",
    ]
    assert both.same("dump_tasks", taskinfoitems=["rate_limit", "_app"]) == [
        "commands.hold",
        "commands.limited [rate_limit=9/s]",
    ]


def test_conf_is_told_without_secrets(both):
    for command in ("conf", "dump_conf"):
        stock, ours = (both.ask(kind, command) for kind in both.names)
        for name, value in ours.items():
            if name not in {"task_default_queue", "broker_url"}:
                assert stock[name] == value, name
        assert "guest:guest" not in str(ours)
        assert ours["broker_url"]
    stock, ours = both.keys("conf", with_defaults=True)
    assert {"task_acks_late", "worker_prefetch_multiplier"} <= stock & ours


def test_report_has_settings_without_passwords(both):
    for kind in both.names:
        told = both.ask(kind, "report")
        assert set(told) == {"ok"}
        assert "control_exchange" in told["ok"]
        assert "guest:guest" not in told["ok"]


def test_stats_have_the_fields_of_celerys(both_anew):
    stock, ours = (both_anew.ask(kind, "stats") for kind in both_anew.names)
    expected = {"total", "pid", "clock", "uptime", "pool", "broker", "rusage"}
    assert expected | {"prefetch_count"} <= set(stock) & set(ours)
    assert set(ours["rusage"]) == set(stock["rusage"])
    assert ours["prefetch_count"] == stock["prefetch_count"] == 2
    assert len(ours["pool"]["processes"]) == len(stock["pool"]["processes"]) == 2
    assert ours["pool"]["max-concurrency"] == stock["pool"]["max-concurrency"]
    assert set(stock["broker"]) - {"login_method", "userid"} <= set(ours["broker"])


def _plain(info, queue):
    """Return a task's `info`, without the fields that differ between two runs."""
    assert info["id"]
    plain = {**info, "id": True, "hostname": info["hostname"].partition("-")[0]}
    plain["time_start"] = info["time_start"] is not None
    plain["worker_pid"] = info["worker_pid"] is not None
    plain["args"] = bool(info["args"])
    routing_key = info["delivery_info"]["routing_key"]
    plain["delivery_info"] = {**info["delivery_info"], "routing_key": routing_key}
    assert routing_key == queue
    del plain["delivery_info"]["routing_key"]
    return plain


def test_query_task_says_where_tasks_are(both_anew):
    seen = {}
    for kind, (_, queue) in both_anew.names.items():
        running = [both_anew.hold(kind) for _ in range(2)]
        later = both_anew.send(kind, "commands.limited", countdown=600)
        told = {}
        ids = [running[0][0].id, later.id, "nobody-knows"]

        def are_there(kind=kind, ids=ids):
            return set(both_anew.ask(kind, "query_task", ids=ids)) == set(ids[:2])

        # The worker reads the broker in its own time; asking is waiting.
        for _ in range(100):
            if are_there():
                break
        found = both_anew.ask(kind, "query_task", ids=ids)
        told["states"] = [found[task_id][0] for task_id in ids[:2]]
        told["infos"] = [_plain(found[task_id][1], queue) for task_id in ids[:2]]
        told["active"] = [_plain(i, queue) for i in both_anew.ask(kind, "active")]
        told["safe"] = [
            type(i["args"]) for i in both_anew.ask(kind, "active", safe=True)
        ]
        (entry,) = both_anew.ask(kind, "scheduled")
        assert entry["eta"]
        told["scheduled"] = entry["priority"], _plain(entry["request"], queue)
        told["one"] = list(both_anew.ask(kind, "query_task", ids=later.id)) == [
            later.id
        ]
        both_anew.app.control.revoke(later.id, destination=[both_anew.names[kind][0]])
        for _, let_go in running:
            let_go()
        assert [result.get(timeout=30) for result, _ in running] == [True, True]
        assert later.id in both_anew.ask(kind, "revoked")
        seen[kind] = told
    assert seen["ours"] == seen["stock"]
    assert seen["ours"]["states"] == ["active", "scheduled"]


def test_added_queue_is_consumed_until_it_is_cancelled(both_anew):
    for kind, (_, queue) in both_anew.names.items():
        more = f"{queue}-more"
        told = both_anew.ask(kind, "add_consumer", queue=more)
        assert told == {"ok": f"add consumer {more}"}
        result = both_anew.send(kind, "commands.limited", queue=more)
        assert result.get(timeout=30) is True
        queues = {q["name"]: q for q in both_anew.ask(kind, "active_queues")}
        assert set(queues) == {queue, more}
        assert queues[more]["exchange"]["type"] == "direct"
        told = both_anew.ask(kind, "cancel_consumer", queue=more)
        assert told == {"ok": f"no longer consuming from {more}"}
        for _ in range(100):
            if [q["name"] for q in both_anew.ask(kind, "active_queues")] == [queue]:
                break
        else:
            pytest.fail(f"{kind} still consumes {more}")
        unheard = both_anew.send(kind, "commands.limited", queue=more)
        assert both_anew.send(kind, "commands.limited").get(timeout=30) is True
        assert not unheard.ready()


def test_active_queues_are_described_alike(both):
    stock, ours = (both.ask(kind, "active_queues")[0] for kind in both.names)
    assert set(ours) == set(stock)
    for name, value in ours.items():
        if name not in {"name", "exchange", "routing_key"}:
            assert value == stock[name], name


def test_pool_grows_and_shrinks(both_anew):
    for kind in both_anew.names:
        before = both_anew.ask(kind, "stats")["prefetch_count"]
        assert both_anew.ask(kind, "pool_grow", n=1) == {"ok": "pool will grow"}
        running = [both_anew.hold(kind) for _ in range(3)]
        assert len(both_anew.ask(kind, "stats")["pool"]["processes"]) == 3
        both_anew.await_prefetch(kind, before + 1)
        for _, let_go in running:
            let_go()
        assert all(result.get(timeout=30) for result, _ in running)
        for _ in range(100):
            told = both_anew.ask(kind, "pool_shrink", n=1)
            # A stock worker shrinks only by its idle slots.
            if told == {"ok": "pool will shrink"}:
                break
        if kind == "ours":
            # A stock worker tells of the one that went for some time yet.
            assert len(both_anew.ask(kind, "stats")["pool"]["processes"]) == 2
        both_anew.await_prefetch(kind, before)
        assert both_anew.send(kind, "commands.limited").get(timeout=30) is True
    assert set(both_anew.ask("ours", "pool_shrink", n=9)) == {"error"}


def test_changed_time_limit_ends_the_next_run(both_anew):
    arguments = {"task_name": "commands.hold", "hard": 1, "soft": None}
    told = both_anew.same("time_limit", **arguments)
    assert told == {"ok": "time limits set successfully"}
    result, _ = both_anew.hold("ours")
    assert "TimeLimitExceeded" in repr(result.get(timeout=30, propagate=False))
    both_anew.same("time_limit", **(arguments | {"hard": None}))
    result, let_go = both_anew.hold("ours")
    let_go()
    assert result.get(timeout=30) is True
    unknown = both_anew.same("time_limit", task_name="no.such", hard=1)
    assert unknown == {"error": "unknown task"}


def test_unsupported_commands_get_an_error_from_the_embedded_worker(both):
    told = both.ask("ours", "rate_limit", task_name="commands.hold", rate_limit="1/s")
    assert set(told) == {"error"}
    assert "rates" in told["error"]
    for command, arguments in (
        ("rate_limit", {"task_name": "no.such", "rate_limit": "1/s"}),
        ("pool_restart", {}),
        ("autoscale", {"max": 3, "min": 1}),
    ):
        assert set(both.same(command, **arguments)) == {"error"}, command
    for kind in both.names:
        told = both.ask(kind, "no_such_command")
        assert set(told) == {"error"}
        assert "no_such_command" in told["error"]


#: Fields that do not change from one moment to the next.
_SAME = {
    "ping": (),
    "registered": ("rate_limit",),
    "conf": (),
    "active_queues": (),
    "clock": None,
    "report": (),
    "stats": None,
    "active": (True,),
    "scheduled": (),
    "reserved": (),
    "revoked": None,
    "query_task": (["no-such"],),
}


@pytest.mark.parametrize("method", _SAME)
def test_our_inspect_gets_the_answers_that_celerys_gets(both, method):
    given = _SAME[method]
    hosts = [host for host, _ in both.names.values()]
    ours, stock = (
        getattr(client.control.inspect(hosts, timeout=20), method)(*(given or ()))
        for client in (both.app, both.stock)
    )
    assert set(ours) == set(stock) == set(hosts)
    if given is not None:
        assert ours == stock


def test_inspect_of_one_worker_of_none_and_of_those_that_a_pattern_fits(both):
    (host, _), (other, _) = both.names.values()
    pong = {"ok": "pong"}
    inspect = both.app.control.inspect
    assert inspect(host, timeout=20).ping() == pong
    assert inspect([host], timeout=20).ping() == {host: pong}
    assert inspect(["nobody@here"], timeout=0.2).ping() is None
    pattern = f"{other[:-12]}*"
    heard = []
    fitting = inspect(
        timeout=20, limit=1, callback=heard.append, pattern=pattern, matcher="glob"
    )
    assert fitting.ping() == {other: pong}
    assert heard == [{other: pong}]


#: A command's arguments, and the beginning of both workers' answers.
_COMMANDS = {
    "add_consumer": (("{queue}-more",), "ok", "add consumer {queue}-more"),
    "cancel_consumer": (("{queue}-more",), "ok", "no longer consuming from {queue}"),
    "time_limit": (("commands.limited", 50, 60), "ok", "time limits set"),
    "terminate": (("no-such",), "ok", "terminate: tasks unknown"),
    "revoke": (("no-such",), "ok", "tasks "),
    "pool_restart": ((), "error", ""),
    "autoscale": ((5, 2), "error", ""),
}


@pytest.mark.parametrize("command", _COMMANDS)
def test_workers_of_both_kinds_answer_our_control(both, command):
    arguments, kind, text = _COMMANDS[command]
    for host, queue in both.names.values():
        given = [a.format(queue=queue) if isinstance(a, str) else a for a in arguments]
        send = getattr(both.app.control, command)
        (answer,) = send(*given, destination=[host], reply=True, timeout=20)
        assert set(answer) == {host}
        assert set(answer[host]) == {kind}
        assert answer[host][kind].startswith(text.format(queue=queue))


def test_a_result_that_waits_for_its_revocation_is_revoked_then(both):
    for kind, (host, _) in both.names.items():
        later = both.send(kind, "commands.limited", countdown=600)
        # Both workers answer; to hear of them takes as long as it takes.
        later.revoke(wait=True, timeout=2)
        assert later.id in both.ask(kind, "revoked"), host
