"""Tasks whose class notes the calls of its hooks, in any process."""

from __future__ import annotations

import os

from celerant import Celerant, Ignore, Reject, Task
from celerant.signals import (
    task_failure,
    task_postrun,
    task_prerun,
    task_retry,
    task_success,
    worker_process_init,
)

NOTES = []
app = Celerant("hooked-tasks")


class Noting(Task):
    abstract = True

    def before_start(self, task_id, args, _kwargs):
        note("before_start", list(args), self.request.id == task_id)
        if self.name.endswith("unready"):
            raise ValueError("not ready")

    def on_success(self, retval, task_id, args, _kwargs):
        note("on_success", retval, list(args), self.request.id == task_id)

    def on_retry(self, exc, _task_id, _args, _kwargs, einfo):
        note("on_retry", repr(exc), "Retry" in str(einfo))

    def on_failure(self, exc, _task_id, _args, _kwargs, einfo):
        note("on_failure", type(exc).__name__, type(exc).__name__ in str(einfo))
        if self.name.endswith("hostile"):
            raise SystemExit

    def after_return(self, status, retval, task_id, _args, _kwargs, einfo):
        value = retval if status == "SUCCESS" else type(retval).__name__
        note("after_return", status, value, self.request.id == task_id, einfo)


def note(*what):
    NOTES.append([*what, os.getpid()])


def _told(name):
    def receive(sender, **named):
        if sender.name.startswith("hooked.") and sender.name != "hooked.notes":
            plain = {k: v for k, v in named.items() if k in {"state", "result"}}
            note(name, sender.name, plain)

    return receive


RECEIVERS = {
    signal.name: _told(signal.name)
    for signal in (task_prerun, task_postrun, task_success, task_failure, task_retry)
}
for _signal in (task_prerun, task_postrun, task_success, task_failure, task_retry):
    _signal.connect(RECEIVERS[_signal.name])


@worker_process_init.connect
def started(**_named):
    note("worker_process_init")


@app.task(base=Noting, name="hooked.works")
def works(x):
    return x


@app.task(base=Noting, name="hooked.quiet", ignore_result=True)
def quiet(x):
    return {"x": x}


@app.task(base=Noting, name="hooked.fails")
def fails():
    raise KeyError("x")


@app.task(base=Noting, name="hooked.hostile")
def hostile():
    raise KeyError("x")


@app.task(base=Noting, name="hooked.unready")
def unready():
    note("ran")


@app.task(base=Noting, name="hooked.retries", bind=True, max_retries=1)
def retries(self):
    raise self.retry(exc=ValueError("y"), countdown=0)


@app.task(base=Noting, name="hooked.unsendable")
def unsendable():
    return object()


@app.task(base=Noting, name="hooked.ignores")
def ignores():
    raise Ignore


@app.task(base=Noting, name="hooked.rejects", acks_late=True)
def rejects():
    raise Reject("no", requeue=False)


@app.task(name="hooked.notes")
def notes():
    found, NOTES[:] = list(NOTES), []
    return found
