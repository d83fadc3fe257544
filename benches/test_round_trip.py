"""There and back: a group is sent to a worker of its own process, run and collected.

The yardstick is as little as can be done for it: a few lines of Python that take, run,
store and acknowledge 200 tasks at a time, at kombu's own bookkeeping in Redis, with
none of a worker's duties.
"""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from baselines import RABBITMQ, REDIS, RESULTS, delete
from celery import Celery
from celery import group as celery_group
from cpu import named, spent
from memory import resident
from versus import Versus, rate

from celerant import Celerant, group

#: Tasks of a round: of Celery fewer, for it takes seconds for a thousand.
N, N_CELERY = 10_000, 500
BROKERS = {
    "redis": (REDIS, RESULTS),
    "amqp": (RABBITMQ, RESULTS),
    "rpc": (RABBITMQ, "rpc://"),
}
APP = """
import os
import time
from {library} import {kind}

app = {kind}("bench", broker={broker!r}, backend={results!r})
app.conf.task_default_queue = {queue!r}
app.conf.worker_prefetch_multiplier = 64


@app.task(name="bench.add")
def add(x: int, y: int) -> int:
    return x + y


@app.task(name="bench.nap")
def nap(ms: int) -> list[float]:
    began = time.monotonic()
    time.sleep(ms / 1000)
    return [began, time.monotonic()]
"""
PLAIN = '''
import base64, time
import orjson, redis

TAKE = """
local taken = redis.call('RPOP', KEYS[1], ARGV[1])
if not taken then return {{}} end
local index, notes = {{}}, {{}}
for _, message in ipairs(taken) do
  local tag = string.match(message, '"delivery_tag": ?"([^"]+)"')
  index[#index + 1] = ARGV[2]; index[#index + 1] = tag
  notes[#notes + 1] = tag; notes[#notes + 1] = message
end
redis.call('ZADD', KEYS[2], unpack(index))
redis.call('HSET', KEYS[3], unpack(notes))
return taken
"""
broker, results = redis.Redis.from_url({broker!r}), redis.Redis.from_url({results!r})
take = broker.register_script(TAKE)
keys = [{queue!r}, {queue!r} + "-index", {queue!r} + "-notes"]
while True:
    messages = take(keys=keys, args=[200, str(time.time())])
    if not messages:
        # As short as it can be written: a worker of ours waits without asking.
        time.sleep(0.001)
        continue
    store, tags = results.pipeline(transaction=False), []
    for message in messages:
        envelope = orjson.loads(message)
        (x, y), _, _ = orjson.loads(base64.b64decode(envelope["body"]))
        task_id = envelope["headers"]["id"]
        record = orjson.dumps(
            {{
                "status": "SUCCESS", "result": x + y, "traceback": None,
                "children": [], "date_done": "2026-11-29T18:00:00.000000+00:00",
                "group_id": envelope["headers"]["group"], "task_id": task_id,
            }}
        )
        store.set("celery-task-meta-" + task_id, record, ex=86400)
        store.publish("celery-task-meta-" + task_id, record)
        tags.append(envelope["properties"]["delivery_tag"])
    store.execute()
    done = broker.pipeline(transaction=True)
    done.zrem(keys[1], *tags)
    done.hdel(keys[2], *tags)
    done.execute()
'''


class Side:
    """A sender and a worker of its kind, which sleeps while another is measured."""

    def __init__(self, app: Any, canvas: Any, command: list[str], folder: Path) -> None:
        self._app = app
        self._group = canvas
        self._add = app.signature("bench.add")
        self._worker = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def collect(self, n: int) -> None:
        """Send `n` tasks and get their values, in order."""
        members = (self._add.clone((i, i)) for i in range(n))
        result = self._group(members, app=self._app).apply_async()
        assert result.get(timeout=120) == [2 * i for i in range(n)]

    def rate(self, n: int) -> float:
        """Wake the worker and return tasks a second."""
        with self._awake():
            reached = rate(n, lambda: self.collect(n))
        # A full store is slower, for whoever is measured next.
        with redis.Redis.from_url(RESULTS) as client:
            client.flushdb()
        return reached

    def busy(self, n: int, ms: int, slots: int) -> float:
        """Return the share of time that `slots` spend in `n` tasks that sleep.

        From the first task's begin to the last one's end; what a task waits for the
        interpreter counts.
        """
        nap = self._app.signature("bench.nap")
        with self._awake():
            result = self._group((nap.clone((ms,)) for _ in range(n)), app=self._app)()
            spans = result.get(timeout=300)
        lasted = max(end for _, end in spans) - min(began for began, _ in spans)
        busy = sum(end - began for began, end in spans)
        return float(busy / (slots * lasted))

    def cost(self, n: int, broker: str) -> dict[str, int]:
        """Return microseconds of a core that a task takes, by who spends them.

        Args:
            n: How many tasks are measured.
            broker: The name of the broker's program.
        """
        who = {"sender": [os.getpid()], "worker": [self._worker.pid]}
        who["broker"] = named(broker)
        before = {name: spent(*pids) for name, pids in who.items()}
        self.rate(n)
        return {
            f"{name}_us": round(1e6 * (spent(*pids) - before[name]) / n)
            for name, pids in who.items()
        }

    def rss(self) -> float:
        """Return the worker's memory, in MiB."""
        return resident(pid=self._worker.pid) / 1024

    @contextlib.contextmanager
    def _awake(self) -> Iterator[None]:
        self._worker.send_signal(signal.SIGCONT)
        try:
            yield
        finally:
            self._worker.send_signal(signal.SIGSTOP)

    def close(self) -> None:
        """End the worker."""
        self._worker.send_signal(signal.SIGCONT)
        self._worker.terminate()
        self._worker.wait(30)


class Sides:
    """A worker of each kind that is measured, over one broker."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self._folder = folder
        self._stack = stack

    def __call__(self, broker: str, *kinds: str, slots: int = 2) -> dict[str, Side]:
        """Start a worker of each kind, one after the other."""
        return {kind: self._start(broker, kind, slots) for kind in kinds}

    def _start(self, broker: str, kind: str, slots: int) -> Side:
        url, results = BROKERS[broker]
        # Celery's connections outlive its apps, and do not declare a queue again that
        # was deleted meanwhile.
        queue = f"celerant-bench-{broker}-{kind}"
        names = {"broker": url, "results": results, "queue": queue}
        app: Any
        if kind == "stock":
            app = Celery("bench", broker=url, backend=results)
            library = "celery", "Celery"
        else:
            app = self._stack.enter_context(
                Celerant("bench", broker=url, backend=results)
            )
            library = "celerant", "Celerant"
        app.conf.task_default_queue = queue
        code = APP.format(library=library[0], kind=library[1], **names)
        (self._folder / f"bench_{kind}.py").write_text(code)
        (self._folder / "plain.py").write_text(PLAIN.format(**names))
        self._empty(url, queue)
        self._stack.callback(self._empty, url, queue)
        canvas = celery_group if kind == "stock" else group
        side = Side(app, canvas, _command(kind, slots), self._folder)
        self._stack.callback(side.close)
        # It sleeps once it has answered for the first time.
        side.rate(10)
        return side

    @staticmethod
    def _empty(url: str, queue: str) -> None:
        if url == RABBITMQ:
            delete(queue)
            return
        with redis.Redis.from_url(url) as client:
            client.delete(queue, f"{queue}-notes", f"{queue}-index")


def _command(kind: str, slots: int) -> list[str]:
    if kind == "plain":
        return [sys.executable, "plain.py"]
    library = "celery" if kind == "stock" else "celerant"
    app = ["-A", f"bench_{kind}:app"]
    pool = "prefork" if kind == "stock" else kind
    command = [sys.executable, "-m", library]
    command += ["worker", *app] if library == "celerant" else [*app, "worker"]
    command += ["-P", pool, "-c", str(slots), "-l", "ERROR"]
    if kind == "stock":
        command += ["--without-gossip", "--without-mingle"]
    return command


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[Sides]:
    """Sides that leave nothing with the broker."""
    with contextlib.ExitStack() as stack:
        yield Sides(tmp_path, stack)


@pytest.mark.timeout(600)
@pytest.mark.benchmark(group="round trip")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="Celery's prefork, and signals")
def test_round_trip_over_redis(versus: Versus, sides: Sides, benchmark: Any) -> None:
    """A worker with two thread slots, beside Celery's with two processes."""
    started = sides("redis", "threads", "plain", "stock")
    versus(
        lambda: started["threads"].rate(N),
        plain=lambda: started["plain"].rate(N),
        celery=lambda: started["stock"].rate(N_CELERY),
    )
    benchmark.extra_info["plot"] = ["round-trips", "Redis"]


@pytest.mark.timeout(600)
@pytest.mark.benchmark(group="round trip")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="Celery's prefork, and signals")
def test_round_trip_by_processes(versus: Versus, sides: Sides, benchmark: Any) -> None:
    """Two child processes beside Celery's two."""
    started = sides("redis", "processes", "stock")
    versus(
        lambda: started["processes"].rate(N),
        celery=lambda: started["stock"].rate(N_CELERY),
    )
    benchmark.extra_info["plot"] = ["round-trips", "Redis, processes"]


@pytest.mark.timeout(600)
@pytest.mark.benchmark(group="round trip")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="Celery's prefork, and signals")
@pytest.mark.parametrize(
    ("broker", "title"),
    [("amqp", "RabbitMQ, results in Redis"), ("rpc", "RabbitMQ, rpc")],
)
def test_round_trip_over_rabbitmq(
    versus: Versus, sides: Sides, benchmark: Any, broker: str, title: str
) -> None:
    """Results in Redis, and as replies; the broker confirms what our side sends."""
    started = sides(broker, "threads", "stock")
    versus(
        lambda: started["threads"].rate(N),
        celery=lambda: started["stock"].rate(N_CELERY),
    )
    if Path("/proc/self/stat").exists():
        # RabbitMQ's program. One that runs elsewhere costs nothing here.
        benchmark.extra_info |= started["threads"].cost(N, "beam.smp")
    benchmark.extra_info["plot"] = ["round-trips", title]


@pytest.mark.timeout(600)
@pytest.mark.benchmark(group="round trip")
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_growth(versus: Versus, sides: Sides, benchmark: Any) -> None:
    """A group ten times as large: as fast, and the worker's memory stays."""
    side = sides("redis", "threads")["threads"]
    side.rate(20_000)
    before = side.rss()
    versus(lambda: side.rate(200_000), rounds=3, of_20_000=lambda: side.rate(20_000))
    benchmark.extra_info["worker_grew_mib"] = round(side.rss() - before, 1)


@pytest.mark.timeout(600)
@pytest.mark.benchmark(group="round trip")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals")
@pytest.mark.parametrize(("ms", "n"), [(1, 100_000), (20, 50_000)])
def test_busy_slots(sides: Sides, benchmark: Any, ms: int, n: int) -> None:
    """200 thread slots and tasks that sleep; one interpreter runs them all."""
    side = sides("redis", "threads", slots=200)["threads"]
    shares: list[float] = []
    benchmark.pedantic(
        lambda: shares.append(side.busy(n, ms, slots=200)), rounds=3, warmup_rounds=1
    )
    benchmark.extra_info["busy_percent"] = round(100 * statistics.median(shares[1:]))
    benchmark.extra_info["least_busy_percent"] = round(100 * min(shares[1:]))
    benchmark.extra_info["correct"] = True
