"""What Windows lacks is not needed: forks, signals, `poll`, waits for pipes."""

from __future__ import annotations

import subprocess
import sys
import uuid

import pytest

WITHOUT = """
import os, select, signal, sys, threading
import asyncio, concurrent.futures, logging, multiprocessing, random, socket, subprocess

for module, names in {
    os: ("fork", "forkpty", "register_at_fork", "set_blocking", "getuid", "killpg"),
    select: ("poll", "epoll"),
    signal: (
        "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGKILL", "SIGQUIT", "SIGHUP", "SIGCHLD",
        "setitimer", "alarm", "pthread_sigmask",
    ),
}.items():
    for name in names:
        delattr(module, name)
for name in ("resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
theirs = select.select


def pair():
    # As Python makes one on Windows.
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        return one, server.accept()[0]


socket.socketpair = pair


def of_sockets(reads, writes, errors, timeout=None):
    # On Windows it takes nothing else.
    for each in (*reads, *writes, *errors):
        if not isinstance(each, int):
            assert isinstance(each, socket.socket), each
    return theirs(reads, writes, errors, timeout)


select.select = of_sockets
"""
RUN = """
from celerant import Celerant, chord, group

broker, results, name = sys.argv[1:]
app = Celerant(name, broker=broker, backend=results, task_default_queue=name)


@app.task
def double(x):
    return 2 * x


@app.task
def total(xs):
    return sum(xs)


with app, app.worker(concurrency=2):
    result = group(double.s(i) for i in range(2000)).apply_async(window=500)
    print(sum(result.get(timeout=60)), len(result))
    if results != "rpc://":
        print(chord([double.s(i) for i in range(10)])(total.s()).get(timeout=60))
    app.control.ping(timeout=0.2)
"""


@pytest.mark.parametrize("broker", ["memory", "redis", "rabbitmq"])
def test_groups_come_back_without_what_windows_lacks(broker, own_urls, new_queue):
    url, results = "memory://", "memory://"
    if broker != "memory":
        url, results = own_urls[broker], own_urls["results"]
    if broker == "rabbitmq":
        results = "rpc://"
    name = new_queue() if broker != "memory" else f"no-posix-{uuid.uuid4().hex[:6]}"
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT + RUN, url, results, name],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stderr == ""
    expected = f"{2 * sum(range(2000))} 2000\n"
    assert done.stdout == expected + ("90\n" if results != "rpc://" else "")


def test_the_swap_in_sends_without_what_windows_lacks(own_urls, new_queue):
    name = new_queue()
    code = WITHOUT + (
        "from celery import Celery, group\n"
        "from celerant.celery import install\n"
        "broker, name = sys.argv[1:]\n"
        "app = Celery(name, broker=broker)\n"
        "app.conf.task_default_queue = name\n"
        "install()\n"
        "@app.task\n"
        "def keep(x): return x\n"
        "group(keep.s(i) for i in range(50)).apply_async()\n"
        "with app.connection() as c:\n"
        "    print(c.default_channel._size(name))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, own_urls["redis"], name],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("50\n", "")
