"""Child processes for the slots of a pool, one for each slot."""

from __future__ import annotations

import contextlib
import logging
import pickle
import sys
import threading
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from celerant.common.stock_errors import task_revoked, time_limit_exceeded, worker_lost
from celerant.errors import SettingError
from celerant.running.succession import unpack_successors
from celerant.running.trace import FAILURE, REVOKED, Outcome, failure
from celerant.worker.child import Checked, check, run, unpack
from celerant.worker.limits import Limits
from celerant.worker.process import ChildProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from celerant.worker.message import Delivery

__all__ = ["Processes"]

logger = logging.getLogger("celerant.worker")


class Processes:
    """Runs each task in a child of its own slot, several slots side by side."""

    name = "processes"

    def __init__(
        self,
        size: int,
        tasks: Mapping[str, Any],
        serializer: str,
        max_tasks: int | None = None,
        set_up: Callable[[], None] | None = None,
    ) -> None:
        """Prepare `size` children for `tasks`; none is started yet.

        Args:
            size: How many children.
            tasks: The app's tasks by name; children import their modules.
            serializer: What children encode return values with.
            max_tasks: After how many tasks a child is replaced; None never.
            set_up: What a child calls first; travels by pickle.
        """
        self._tasks = tasks
        self._serializer = serializer
        self._max_tasks = max_tasks
        self._limits = Limits()
        self._references: dict[str, bytes] = {}
        self._modules = sorted({_module_of(t) for t in tasks.values()} - {"__main__"})
        self._set_up = set_up
        self._children = [self._new_child() for _ in range(size)]
        #: A slot that ends with its child gone waits here for another's.
        self._free: SimpleQueue[ChildProcess] = SimpleQueue()
        for child in self._children:
            self._free.put(child)
        #: Guards those below: a signal must not reach a child's next task.
        self._lock = threading.Lock()
        #: How many children are to go as soon as they are free.
        self._surplus = 0
        self._running: dict[str, ChildProcess] = {}
        #: To be terminated as soon as they run.
        self._doomed: set[str] = set()

    def _new_child(self) -> ChildProcess:
        return ChildProcess(self._modules, self._set_up)

    def start(self) -> None:
        """Start all children and see that they find the tasks.

        Raises:
            SettingError: A child cannot start or misses tasks; says what to do.
        """
        _refuse_unimportable(self._tasks)
        references = {name: self._reference(task) for name, task in self._tasks.items()}
        try:
            answers = [(c, c.submit(check, references)) for c in self._children]
            for child, answer in answers:
                checked: Checked = answer.result()
                child.start()
                if checked.missing:
                    raise _missing(checked.missing)  # noqa: TRY301 - cleaned up below
        except BrokenProcessPool as exc:
            self.kill()
            msg = (
                "a child process died while it started; where a script starts a "
                "worker with pool='processes', that must stand under "
                "if __name__ == '__main__':, for children import the script"
            )
            raise SettingError(msg, name="pool") from exc
        except BaseException:
            self.kill()
            raise

    def run(self, delivery: Delivery) -> Outcome:
        """Run it in a free child; one that dies is replaced and fails its task."""
        child = self._free.get()
        try:
            return self._run_in(child, delivery)
        except BaseException as exc:  # noqa: BLE001 - e.g. arguments that no pipe takes
            return failure(exc, 0.0)
        finally:
            self._release(child)

    def _release(self, child: ChildProcess) -> None:
        """Give a child to the next task, or its successor."""
        child.served += 1
        if self._retire(child):
            return
        try:
            if child.served == self._max_tasks or child.is_worn:
                child.replace()
        except Exception:
            # For instance no more processes: the next task tries again.
            logger.exception("a child process cannot be replaced")
            child.is_worn = True
        finally:
            self._free.put(child)

    def _run_in(self, child: ChildProcess, delivery: Delivery) -> Outcome:
        task_id, limit = delivery.request.id, self._limits.of(delivery)
        reference = self._reference(delivery.task)
        job = pickle.dumps((reference, delivery.request, self._serializer, limit.soft))
        self._await(child)
        if not self._enter(task_id, child):
            return _terminated()
        try:
            try:
                answer = child.submit(run, job)
            except BrokenProcessPool:
                # It died while it was idle: no task of ours is to blame.
                child.replace()
                child.start().result()
                answer = child.submit(run, job)
            done, _ = wait([answer], limit.hard)
        finally:
            with self._lock:
                self._running.pop(task_id, None)
        if not done:
            return _overrun(child, delivery, limit.hard)
        try:
            packed = pickle.loads(answer.result())  # noqa: S301 - made by our own child
            delivery.request.successors = unpack_successors(packed.successors)
            delivery.request.children += packed.children
            return unpack(packed)
        except BrokenProcessPool:
            return _lost(child, delivery)

    @staticmethod
    def _await(child: ChildProcess) -> None:
        """Wait until it can run a task: its imports are not the task's time."""
        try:
            child.start().result()
        except BrokenProcessPool:
            child.replace()
            child.start().result()

    def _enter(self, task_id: str, child: ChildProcess) -> bool:
        with self._lock:
            if task_id in self._doomed:
                self._doomed.discard(task_id)
                return False
            self._running[task_id] = child
            return True

    def terminate(self, task_id: str, signal: int) -> bool:
        """Send the child that runs a task a signal; say that it can be done."""
        with self._lock:
            child = self._running.get(task_id)
            if child is None:
                self._doomed.add(task_id)
            else:
                child.terminated = True
                # The signal may come too late, and is then still on its way to it.
                child.is_worn = True
                child.signal(signal)
        return True

    def limit(self, task: str, hard: float | None, soft: float | None) -> bool:
        """Set a task's time limits, for messages without their own."""
        self._limits.set(task, hard, soft)
        return True

    def resize(self, more: int) -> None:
        """Start so many more children, or let some go, each after its task."""
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
        """Replace the children, each after the task it runs."""
        with self._lock:
            for child in self._children:
                child.is_worn = True
        for child in self._idle():
            child.replace()
            self._free.put(child)
        return True

    def pids(self) -> list[int]:
        """Return the children that are ready."""
        with self._lock:
            pids = [child.pid for child in self._children]
        return [pid for pid in pids if pid is not None]

    def _idle(self) -> list[ChildProcess]:
        """Take the children that run nothing."""
        idle: list[ChildProcess] = []
        with contextlib.suppress(Empty):
            while True:
                idle.append(self._free.get_nowait())
        return idle

    def _retire(self, child: ChildProcess) -> bool:
        """Let a child go if there are too many; return whether it went."""
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
        """Let the children end by themselves; nothing runs in them any more."""
        for child in self._children:
            child.stop()

    def kill(self) -> None:
        """End the children at once."""
        for child in self._children:
            child.kill()


def _terminated() -> Outcome:
    return Outcome(REVOKED, exception=task_revoked("terminated"))


def _overrun(child: ChildProcess, delivery: Delivery, limit: Any) -> Outcome:
    request = delivery.request
    logger.error(
        "task %s[%s] is over its time limit of %s s; its process is killed",
        request.task,
        request.id,
        limit,
    )
    child.kill()
    child.replace()
    return Outcome(FAILURE, exception=time_limit_exceeded(limit), is_overrun=True)


def _lost(child: ChildProcess, delivery: Delivery) -> Outcome:
    request, was_terminated = delivery.request, child.terminated
    child.replace()
    if was_terminated:
        return _terminated()
    logger.error(
        "the process that ran task %s[%s] died; it is replaced",
        request.task,
        request.id,
    )
    reason = "the process that ran the task exited before its end"
    return Outcome(FAILURE, exception=worker_lost(reason), is_lost=True)


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
        # A program read from standard input calls its file "<stdin>", which
        # children try to run whatever the tasks are.
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
