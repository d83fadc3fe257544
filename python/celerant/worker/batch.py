"""Deliveries that one child process runs one after the other.

The child gets them in one write, and its answers come in few reads. A slow task does
not hold up the tasks behind it: these are taken back and run elsewhere.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celerant._core import monotonic
from celerant.common.stock_errors import task_revoked, time_limit_exceeded, worker_lost
from celerant.running.succession import unpack_successors
from celerant.running.trace import FAILURE, REVOKED, Outcome
from celerant.worker.changes import apply_changes
from celerant.worker.outcomes import unpack
from celerant.worker.process import ChildDied

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celerant.worker.message import Delivery
    from celerant.worker.process import ChildProcess
    from celerant.worker.runner import Runner, TaskRun

__all__ = ["Batch", "Job", "terminated"]

logger = logging.getLogger("celerant.worker")

#: Seconds between checks for jobs that have begun, while the child has several.
_LOOK = 0.002
#: Seconds after which a task counts as slow, so that no other waits behind it.
_SLOW = 0.01
#: How many processes may die just before a job until the job is taken for the cause.
_MOST_DEATHS = 2


@dataclass(slots=True, eq=False)
class Job:
    """A run and its bytes for a child."""

    run: TaskRun
    payload: bytes
    #: Seconds after which the job's process is killed; None is without limit.
    limit: float | None
    #: When its begin was noticed (`monotonic`).
    begun_at: float | None = None


class Batch:
    """The jobs of one child; only the thread of one slot uses it."""

    def __init__(
        self,
        child: ChildProcess,
        jobs: Sequence[Job],
        runner: Runner,
        *,
        put_back: Callable[[Sequence[Delivery]], None],
        is_stopping: Callable[[], bool],
    ) -> None:
        """Run `jobs` in `child`.

        Args:
            child: A child that is ready.
            jobs: The jobs, in the order in which they run.
            runner: Takes the jobs' runs through their steps.
            put_back: Called with the deliveries that do not begin in this child.
            is_stopping: Whether the pool begins no more tasks.
        """
        self._child = child
        self._jobs = list(jobs)
        self._runner = runner
        self._put_back = put_back
        self._is_stopping = is_stopping
        #: The child's jobs that have not ended, by their numbers.
        self._left: dict[int, Job] = {}
        #: Jobs that the child did not begin, and that it gets once more.
        self._again: list[Job] = []
        #: How many jobs did not begin in this child.
        self.withdrawn = 0
        #: Seconds that ended tasks took, by the tasks' names.
        self.runtimes: dict[str, float] = {}

    def run(self, enter: Callable[[dict[int, Job]], list[int]]) -> None:
        """Run all jobs, or put them back.

        Args:
            enter: Called with the jobs by their numbers before the child gets them.
                It returns the numbers of the jobs that must not run.
        """
        first = self._jobs[0]
        self._step(first.run, self._runner.begin)
        jobs = self._jobs
        while jobs:
            # The child begins the first job at once, so its ack and, in memory, its
            # state "started" are sent before.
            jobs[0].begun_at = monotonic()
            self._again = []
            self._left = dict(enumerate(jobs, self._child.sent + 1))
            for number in enter(self._left):
                self._finish(self._left.pop(number).run, terminated())
            self._run_left()
            jobs = [job for job in self._again if self._may_run(job.run)]

    def _run_left(self) -> None:
        child = self._child
        try:
            child.send([job.payload for job in self._left.values()])
            while self._left:
                answers = child.receive(self._patience())
                for number, _ in answers:
                    if number in self._left:
                        # From now on its message is settled once the result is stored.
                        self._left[number].run.delivery.has_run = True
                self._note_begun()
                for number, answer in answers:
                    self._end(number, answer)
                if self._left:
                    self._look()
        except ChildDied:
            self._bury()

    def _may_run(self, run: TaskRun) -> bool:
        """Whether a recalled run may still begin; if it may not, end it."""
        try:
            if self._runner.may_run(run):
                return True
        except BaseException as exc:  # noqa: BLE001 - the other jobs still run
            self._runner.rescue(run, exc)
        self._runner.leave(run)
        return False

    def _step(self, run: TaskRun, step: Callable[..., Any], *args: Any) -> None:
        try:
            step(run, *args)
        except BaseException as exc:  # noqa: BLE001 - the other jobs still run
            self._runner.rescue(run, exc)

    def _patience(self) -> float | None:
        """Return for how many seconds to wait for answers; None is without limit."""
        (current, *others) = self._left.values()
        if others or current.begun_at is None:
            return _LOOK
        if current.limit is None:
            return None
        return max(0.0, current.begun_at + current.limit - monotonic())

    def _note_begun(self) -> None:
        begun = self._child.begun
        for number, job in self._left.items():
            if number > begun:
                break
            if job.begun_at is None:
                job.begun_at = monotonic()
                self._step(job.run, self._runner.begin)

    def _end(self, number: int, answer: bytes) -> None:
        job = self._left.pop(number, None)
        if job is None:
            return
        self._step(job.run, self._unpack_and_end, answer)
        self._runner.leave(job.run)
        self._runner.tend()

    def _unpack_and_end(self, run: TaskRun, answer: bytes) -> None:
        request = run.delivery.request
        packed = pickle.loads(answer)  # noqa: S301 - made by our own child
        request.successors = unpack_successors(packed.successors)
        request.children += packed.children
        if packed.changes is not None:
            apply_changes(request, packed.changes)
        self.runtimes[request.task] = packed.runtime
        self._runner.end(run, unpack(packed))

    def _look(self) -> None:
        """Take back jobs that wait for long, and end a job over its time limit."""
        number, current = next(iter(self._left.items()))
        since = current.begun_at
        ran = 0.0 if since is None else monotonic() - since
        is_slow = ran >= _SLOW or self._is_stopping()
        if self._child.is_recalled() or (is_slow and len(self._left) > 1):
            self._take_back()
        if current.limit is not None and since is not None and ran >= current.limit:
            self._overrun(number, current, current.limit)

    def _take_back(self) -> None:
        begun = self._child.recall()
        if begun is not None:
            self._note_begun()
            self._withdraw([number for number in self._left if number > begun])

    def _withdraw(self, numbers: list[int]) -> None:
        withdrawn: list[Delivery] = []
        for number in numbers:
            job = self._left.pop(number)
            if job.begun_at is not None:
                # Its message may be acknowledged by now, so it runs here.
                self._again.append(job)
                continue
            self._runner.withdraw(job.run)
            withdrawn.append(job.run.delivery)
        if withdrawn:
            self.withdrawn += len(withdrawn)
            self._put_back(withdrawn)

    def _overrun(self, number: int, job: Job, limit: float) -> None:
        """Kill the child whose job is over its limit, unless the job has ended."""
        begun = self._child.recall()
        if begun is not None and begun != number:
            # The job has ended, and its answer is on the way.
            return
        self._child.end()
        with contextlib.suppress(ChildDied):
            while True:
                for answered, answer in self._child.receive(None):
                    self._end(answered, answer)
        if self._left.pop(number, None) is not None:
            request = job.run.delivery.request
            logger.error(
                "task %s[%s] is over its time limit of %s s; its process is killed",
                request.task,
                request.id,
                limit,
            )
            exc = time_limit_exceeded(limit)
            self._finish(job.run, Outcome(FAILURE, exception=exc, is_overrun=True))
        self._withdraw(list(self._left))
        self._child.replace()

    def _finish(self, run: TaskRun, outcome: Outcome) -> None:
        self._step(run, self._runner.end, outcome)
        self._runner.leave(run)

    def _bury(self) -> None:
        """Fail the job during which the child died; the other jobs run elsewhere."""
        was_terminated, begun = self._child.terminated, self._child.begun
        self._note_begun()
        job = self._left.pop(begun, None)
        if job is None and self._left:
            # The child died between two jobs, or before the first.
            number, next_one = next(iter(self._left.items()))
            next_one.run.deaths += 1
            if next_one.run.deaths >= _MOST_DEATHS:
                job = self._left.pop(number)
        self._withdraw(list(self._left))
        self._child.replace()
        if job is None:
            return
        request = job.run.delivery.request
        if was_terminated:
            self._finish(job.run, terminated())
            return
        logger.error(
            "the process that ran task %s[%s] died; it is replaced",
            request.task,
            request.id,
        )
        reason = "the process that ran the task exited before its end"
        self._finish(
            job.run, Outcome(FAILURE, exception=worker_lost(reason), is_lost=True)
        )


def terminated() -> Outcome:
    """Return the outcome of a task whose process got a signal."""
    return Outcome(REVOKED, exception=task_revoked("terminated"))
