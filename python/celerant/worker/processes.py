"""Child processes for the slots of a pool, one for each slot."""

from __future__ import annotations

import contextlib
import logging
import pickle
import sys
import threading
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from celerant.errors import SettingError
from celerant.running.header_results import with_values
from celerant.worker.child import Checked, check, run_job
from celerant.worker.jobs import Terms, pack_job
from celerant.worker.pool import Engine
from celerant.worker.process import ChildDied, ChildProcess
from celerant.worker.time_limits import TimeLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from celerant.worker.batch import Batch, Job
    from celerant.worker.message import Delivery

__all__ = ["Processes"]

logger = logging.getLogger("celerant.worker")

#: The most ids that are remembered of tasks to be terminated that have not begun.
_MOST_DOOMED = 1000


class Processes(Engine):
    """Lends child processes to the slots of a pool; any thread may call it."""

    name = "processes"

    def __init__(  # noqa: PLR0913 - what a worker says of its pool
        self,
        size: int,
        tasks: Mapping[str, Any],
        serializer: str,
        max_tasks: int | None = None,
        set_up: Sequence[Callable[[], Any]] = (),
        *,
        shares_store: bool = True,
    ) -> None:
        """Prepare `size` children for `tasks`; `start` starts them.

        Args:
            size: How many children there are.
            tasks: The app's tasks by name; children import their modules.
            serializer: Name of the serializer that encodes return values.
            max_tasks: How many tasks a child runs before it is replaced; None is
                without limit.
            set_up: Called in each child before its imports; they travel by pickle.
            shares_store: Whether what a child stores of a result is found by others.
        """
        self._tasks = tasks
        self._serializer = serializer
        self._max_tasks = max_tasks
        self.shares_store = shares_store
        self._limits = TimeLimits()
        self._references: dict[str, bytes] = {}
        self._modules = sorted({_module_of(t) for t in tasks.values()} - {"__main__"})
        self._set_up = set_up
        self._children = [self._new_child() for _ in range(size)]
        #: Children that run nothing; a slot that finds none waits for one.
        self._free: SimpleQueue[ChildProcess] = SimpleQueue()
        for child in self._children:
            self._free.put(child)
        #: Guards the fields below, so that a signal never reaches a child's next task.
        self._lock = threading.Lock()
        #: How many children must end as soon as they are free.
        self._surplus = 0
        #: The child of each task by the task's id, and the task's number there.
        self._running: dict[str, tuple[ChildProcess, int]] = {}
        #: Ids of tasks that are terminated as soon as they begin, the oldest first.
        self._doomed: dict[str, None] = {}

    def _new_child(self) -> ChildProcess:
        return ChildProcess(self._modules, self._set_up)

    def start(self) -> None:
        """Start all children and check that they find the tasks.

        Raises:
            SettingError: A child cannot start or does not find a task.
        """
        _refuse_unimportable(self._tasks)
        references = {name: self._reference(task) for name, task in self._tasks.items()}
        try:
            for child in self._children:
                child.start()
            for child in self._children:
                checked: Checked = child.call(check, references)
                if checked.missing:
                    raise _missing(checked.missing)  # noqa: TRY301 - cleaned up below
        except ChildDied as exc:
            self.kill()
            msg = (
                "a child process died while it started; if a script starts a "
                "worker with pool='processes', put that under "
                "if __name__ == '__main__':, because children import the script"
            )
            raise SettingError(msg, name="pool") from exc
        except BaseException:
            self.kill()
            raise

    def lend(self) -> ChildProcess:
        """Wait for a free child, make it ready and return it, until `give_back`.

        Raises:
            ChildDied: The child died, and so did its successor.
        """
        child = self._free.get()
        try:
            try:
                child.make_ready()
            except ChildDied:
                # It died while it was idle.
                child.replace()
                child.make_ready()
        except BaseException:
            self.give_back(child)
            raise
        return child

    def left(self, child: ChildProcess) -> int | None:
        """Return how many tasks a child may still run; None is without limit."""
        most = self._max_tasks
        return None if not most else max(1, most - child.served)

    def pack(
        self,
        delivery: Delivery,
        *,
        stores_started: bool = False,
        shows_value: bool = True,
    ) -> tuple[bytes, float | None]:
        """Return a delivery's job for a child, and its hard time limit in seconds.

        Args:
            delivery: The delivery.
            stores_started: Whether the child stores the state STARTED.
            shows_value: Whether a log or an event shows the task's value.

        Raises:
            Exception: An argument cannot be pickled.
        """
        limit = self._limits.of(delivery)
        reference = self._reference(delivery.task)
        task = delivery.task
        if task.takes_header and not task.backend.supports_handles:
            with_values(delivery.request, task.backend)
        terms = Terms(self._serializer, limit.soft, stores_started, shows_value)
        return pack_job(run_job, reference, delivery.request, *terms), limit.hard

    def run(self, batch: Batch, child: ChildProcess) -> None:
        """Run a batch in a lent child."""
        entered: list[str] = []

        def enter(jobs: dict[int, Job]) -> list[int]:
            doomed = []
            with self._lock:
                for number, job in jobs.items():
                    task_id = job.run.delivery.request.id
                    entered.append(task_id)
                    self._running[task_id] = child, number
                    if self._doomed.pop(task_id, None) is not None:
                        doomed.append(number)
            return doomed

        try:
            batch.run(enter)
        finally:
            with self._lock:
                for task_id in entered:
                    self._running.pop(task_id, None)

    def give_back(self, child: ChildProcess) -> None:
        """Free a child for other tasks; a worn one is replaced first."""
        if self._retire(child):
            return
        try:
            if child.served == self._max_tasks or child.is_worn:
                child.replace()
        except Exception:
            # The system may have no more processes; the next task tries again.
            logger.exception("a child process cannot be replaced")
            child.is_worn = True
        finally:
            self._free.put(child)

    def terminate(self, task_id: str, signal: int) -> bool:
        """Send a signal to the child that runs a task, now or as soon as it begins."""
        with self._lock:
            child, number = self._running.get(task_id, (None, 0))
            if child is None or not child.signal(number, signal):
                self._doomed[task_id] = None
                for oldest in list(self._doomed)[:-_MOST_DOOMED]:
                    del self._doomed[oldest]
        return True

    def recall(self) -> set[str]:
        """Let tasks that no child has begun be checked again; return their ids."""
        recalled = set()
        with self._lock:
            children = {id(child): child for child, _ in self._running.values()}
            begun = {key: child.recall() for key, child in children.items()}
            for task_id, (child, number) in self._running.items():
                last = begun[id(child)]
                if last is not None and number > last:
                    recalled.add(task_id)
        return recalled

    def limit(self, task: str, hard: float | None, soft: float | None) -> bool:
        """Set a task's time limits in seconds, for messages without their own."""
        self._limits.set(task, hard, soft)
        return True

    def resize(self, more: int) -> None:
        """Start `more` children; if negative, let some end, each after its task."""
        if more > 0:
            grown = [self._new_child() for _ in range(more)]
            with self._lock:
                self._children += grown
            for child in grown:
                child.start()
                self._free.put(child)
            return
        with self._lock:
            self._surplus -= more
        for child in self._idle():
            if not self._retire(child):
                self._free.put(child)

    def restart(self) -> bool:
        """Replace each child once its running task has ended."""
        with self._lock:
            for child in self._children:
                child.is_worn = True
        for child in self._idle():
            child.replace()
            self._free.put(child)
        return True

    def pids(self) -> list[int]:
        """Return the children's process ids."""
        with self._lock:
            pids = [child.pid for child in self._children]
        return [pid for pid in pids if pid is not None]

    def _idle(self) -> list[ChildProcess]:
        """Take the children that run nothing out of the free ones."""
        idle: list[ChildProcess] = []
        with contextlib.suppress(Empty):
            while True:
                idle.append(self._free.get_nowait())
        return idle

    def _retire(self, child: ChildProcess) -> bool:
        """Let a child end if there are too many; return whether it ends."""
        with self._lock:
            if not self._surplus:
                return False
            self._surplus -= 1
            self._children.remove(child)
        child.stop(wait=False)
        return True

    def _reference(self, task: Any) -> bytes:
        reference = self._references.get(task.name)
        if reference is None:
            reference = self._references[task.name] = pickle.dumps(task)
        return reference

    def stop(self) -> None:
        """Let the children end by themselves; called once they run no task."""
        for child in self._children:
            child.stop()

    def kill(self) -> None:
        """Kill the children."""
        for child in self._children:
            child.kill()


def _module_of(task: Any) -> str:
    return str(getattr(task.run, "__module__", None) or "__main__")


def _refuse_unimportable(tasks: Mapping[str, Any]) -> None:
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if getattr(main, "__spec__", None) is not None:
        return
    if file is None:
        here = sorted(n for n, task in tasks.items() if _module_of(task) == "__main__")
    else:
        # A program read from standard input calls its file "<stdin>", which each child
        # would try to run.
        here = [] if Path(file).exists() else sorted(tasks)
    if here:
        msg = (
            f"pool='processes' cannot run {_listed(here)}: the main program is an "
            f"interactive session or standard input, which a child process cannot "
            f"import; put the tasks and their app into a module and start a file, or "
            f"use pool='threads'"
        )
        raise SettingError(msg, name="pool")


def _missing(missing: dict[str, str]) -> SettingError:
    reason = next(iter(missing.values()))
    msg = (
        f"a child process does not find {_listed(sorted(missing))} ({reason}); define "
        f"the app and its tasks at the top level of an importable module (not in a "
        f"function, nor under if __name__ == '__main__':), or use pool='threads'"
    )
    return SettingError(msg, name="pool")


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""  # noqa: PLR2004 - as many as a line holds
    return f"task{'s' if len(names) > 1 else ''} {shown}{more}"
