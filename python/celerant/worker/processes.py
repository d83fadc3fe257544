"""Child processes for the slots of a pool, one for each slot."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celerant.errors import SettingError
from celerant.worker.child import Checked, check, prepare, run, unpack
from celerant.worker.named import worker_lost
from celerant.worker.trace import FAILURE, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celerant.worker.message import Delivery

__all__ = ["Processes"]

logger = logging.getLogger("celerant.worker")


class _Child:
    """An executor of one spawned process; a new one where that has died."""

    def __init__(self, modules: tuple[str, ...]) -> None:
        self._modules = modules
        self._executor = self._new()
        self.pid: int | None = None

    def _new(self) -> ProcessPoolExecutor:
        # One process each: where an executor breaks, all its tasks fail with it and
        # none can be blamed. Spawned, for a fork would share sockets and locks.
        return ProcessPoolExecutor(
            1,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=prepare,
            initargs=(self._modules,),
        )

    def submit(self, function: Any, *args: Any) -> Future[Any]:
        return self._executor.submit(function, *args)

    def replace(self) -> None:
        self._executor.shutdown(wait=False)
        self._executor = self._new()
        self.pid = None
        self._executor.submit(os.getpid).add_done_callback(self._learn)

    def _learn(self, answer: Future[int]) -> None:
        if not answer.cancelled() and answer.exception() is None:
            self.pid = answer.result()

    def stop(self) -> None:
        self._executor.shutdown(wait=True)

    def kill(self) -> None:
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self._executor.shutdown(wait=False, cancel_futures=True)


class Processes:
    """Runs each task in a child of its own slot, several slots side by side."""

    def __init__(self, size: int, tasks: Mapping[str, Any], serializer: str) -> None:
        """Prepare `size` children for `tasks`; none is started yet.

        Args:
            size: How many children.
            tasks: The app's tasks by name; children import their modules.
            serializer: What children encode return values with.
        """
        self._tasks = tasks
        self._serializer = serializer
        self._references: dict[str, bytes] = {}
        self._lock = threading.Lock()
        modules = sorted({_module_of(task) for task in tasks.values()} - {"__main__"})
        self._children = [_Child(tuple(modules)) for _ in range(size)]
        self._free: deque[_Child] = deque(self._children)

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
                child.pid = checked.pid
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
        child = self._free.popleft()
        try:
            return self._run_in(child, delivery)
        finally:
            self._free.append(child)

    def _run_in(self, child: _Child, delivery: Delivery) -> Outcome:
        try:
            job = (self._reference(delivery.task), delivery.request, self._serializer)
            try:
                answer = child.submit(run, *job)
            except BrokenProcessPool:
                # It died while it was idle: no task of ours is to blame.
                child.replace()
                answer = child.submit(run, *job)
            return unpack(answer.result())
        except BrokenProcessPool:
            logger.error(  # noqa: TRY400 - our own frames tell nothing of the child
                "the process that ran task %s[%s] died; it is replaced",
                delivery.request.task,
                delivery.request.id,
            )
            child.replace()
            reason = "the process that ran the task exited before its end"
            return Outcome(FAILURE, exception=worker_lost(reason), is_lost=True)
        except Exception as exc:  # noqa: BLE001 - e.g. arguments that no pipe takes
            return Outcome(FAILURE, exception=exc)

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
