"""Gather deliveries into batches for child processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from celerant.running.trace import failure
from celerant.worker.batch import Batch, Job
from celerant.worker.runner import TaskRun

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celerant.worker.message import Delivery
    from celerant.worker.pool import Pool
    from celerant.worker.process import ChildProcess
    from celerant.worker.processes import Processes
    from celerant.worker.runner import Runner

__all__ = ["Batches"]

#: The most jobs of a batch, their most bytes, and the most seconds that they are
#: expected to take.
_MOST, _LARGEST, _LONGEST = 64, 64 << 10, 0.01
#: A task's expected time shrinks by this factor with each shorter run.
_DECAY = 0.9


class Gives(Protocol):
    """A source of deliveries."""

    def ready(self) -> int:
        """Return how many `take` may give at once."""

    def take(self) -> Delivery | None:
        """Return the next delivery to run now; None if there is none."""

    def put_back(self, deliveries: Sequence[Delivery]) -> None:
        """Take back deliveries that did not begin; they are the next to go out."""


class Batches:
    """Executes deliveries in child processes; the slots of a pool call it."""

    #: The pool whose threads these are; set before the first call.
    slots: Pool

    def __init__(self, engine: Processes, runner: Runner, source: Gives) -> None:
        """Run the deliveries of `source` in the children of `engine`."""
        self._engine = engine
        self._runner = runner
        self._source = source
        #: Seconds that tasks take, by their names.
        self._seconds: dict[str, float] = {}

    def __call__(self, first: Delivery) -> None:
        """Execute a delivery and more that wait; a task's error is not raised."""
        try:
            child = self._engine.lend()
        except BaseException as exc:  # noqa: BLE001 - a task must not end its slot
            outcome = failure(exc, 0.0)
            self._runner.one_by_one(lambda _: outcome)(first)
            return
        try:
            self._run_in(child, first)
        finally:
            self._engine.give_back(child)

    def _run_in(self, child: ChildProcess, first: Delivery) -> None:
        jobs = self._gather(child, first)
        if not jobs:
            return
        batch = Batch(
            child,
            jobs,
            self._runner,
            put_back=self._source.put_back,
            is_stopping=lambda: self.slots.is_stopping,
        )
        try:
            self._engine.run(batch, child)
        finally:
            for name, seconds in batch.runtimes.items():
                before = self._seconds.get(name, 0.0)
                self._seconds[name] = max(seconds, before * _DECAY)
            child.served -= batch.withdrawn

    def _gather(self, child: ChildProcess, first: Delivery) -> list[Job]:
        """Return a batch of jobs, leaving the other slots their share."""
        most = min(_MOST, 1 + self._source.ready() // self.slots.size)
        left = self._engine.left(child)
        if left is not None:
            most = min(most, left)
        jobs: list[Job] = []
        size, seconds = 0, 0.0
        delivery: Delivery | None = first
        while delivery is not None:
            job = self._job(delivery)
            if job is not None:
                size += len(job.payload)
                if jobs and size > _LARGEST:
                    self._runner.withdraw(job.run)
                    self._source.put_back([delivery])
                    break
                jobs.append(job)
            seconds += self._seconds.get(delivery.task.name, 0.0)
            if len(jobs) >= most or seconds > _LONGEST or size > _LARGEST:
                break
            if self.slots.is_stopping:
                break
            delivery = self._source.take()
        child.served += len(jobs)
        return jobs

    def _job(self, delivery: Delivery) -> Job | None:
        """Return the job of a delivery; None if its run has ended already."""
        run, is_over = TaskRun(delivery), True
        try:
            if self._runner.admit(run):
                starts_there = (
                    self._engine.shares_store and self._runner.stores_started(run)
                )
                try:
                    payload, limit = self._engine.pack(
                        delivery,
                        stores_started=starts_there,
                        shows_value=self._runner.shows_value(run),
                    )
                except Exception as exc:  # noqa: BLE001 - reducers raise what they like
                    self._runner.begin(run)
                    self._runner.end(run, failure(exc, 0.0))
                else:
                    is_over, run.is_started_there = False, starts_there
                    return Job(run, payload, limit)
        except BaseException as exc:  # noqa: BLE001 - a task must not end its slot
            self._runner.rescue(run, exc)
        finally:
            if is_over:
                self._runner.leave(run)
        return None
