"""A child process of the pool, and the processes that replace it."""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import select
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

from celerant._core import monotonic
from celerant.common.receivers import tell
from celerant.worker.claims import Claims
from celerant.worker.serving import FRAME, LARGE, RING, serve
from celerant.worker.sigterm import GRACE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["ChildDied", "ChildProcess"]

#: The most bytes of one read.
_READ = 1 << 18
#: Seconds between checks that the child lives. Its sockets do not show that, because a
#: process that it has forked may keep them open.
_LOOK = 1.0
#: Seconds to wait until a killed process is gone.
_GONE = 1.0

#: Only one thread at a time may start a process.
_starting = threading.Lock()


class ChildDied(Exception):  # noqa: N818 - an event, not a fault of the caller
    """The process is gone, and all of its answers have been read."""


class ChildProcess:
    """A spawned process that runs jobs one after the other; `replace` makes a new one.

    Any thread may call `signal`, `recall` and `kill`; all else is for one thread at a
    time.
    """

    def __init__(
        self, modules: Sequence[str], set_up: Sequence[Callable[[], Any]] = ()
    ) -> None:
        """Prepare a child; `start` starts its process.

        Args:
            modules: Names of the modules that it imports before its first task.
            set_up: Called in the child before the imports.
        """
        self._set_up = tuple(set_up)
        self._modules = tuple(modules)
        self._process: Any = None
        self._jobs: socket.socket
        self._answers: socket.socket
        self._claims: Claims
        self._read = bytearray()
        #: Whether the child is writing an answer that the socket cannot hold.
        self._comes_large = False
        self._is_ready = self._is_ended = False
        #: The number of the last job that was sent.
        self.sent = 0
        #: How many tasks the process has run.
        self.served = 0
        #: Whether the process got a signal that ends its task.
        self.terminated = False
        #: Whether the process must be replaced before another task.
        self.is_worn = False

    @property
    def pid(self) -> int | None:
        """The process's id; None if it is not started."""
        process = self._process
        return None if process is None else process.pid

    def start(self) -> None:
        """Start the process, if it is not started."""
        if self._process is not None or self._is_ended:
            return
        tell("worker_before_create_process", self)
        # Spawned, because a forked child would share sockets and locks.
        context = multiprocessing.get_context("spawn")
        self._jobs, jobs = socket.socketpair()
        self._answers, answers = socket.socketpair()
        for end in (self._jobs, self._answers):
            # The program may have given all new sockets a timeout.
            end.settimeout(None)
        self._claims = claims = Claims(context)
        process = context.Process(
            target=serve, args=(jobs, answers, claims, self._modules, self._set_up)
        )
        try:
            with _starting:
                process.start()
        except BaseException:
            self._jobs.close()
            self._answers.close()
            raise
        finally:
            # With our copies closed, the end of the child closes the sockets.
            jobs.close()
            answers.close()
        self._process = process
        if self._is_ended:
            # Another thread has called `kill` meanwhile.
            process.kill()

    def make_ready(self) -> None:
        """Start the process if need be, and wait until it can run tasks.

        Raises:
            ChildDied: It died before it was ready.
        """
        if not self._is_ready:
            self.start()
            if self._process is None:
                raise ChildDied
            while not self.receive(None):
                pass
            self._is_ready = True

    def send(self, jobs: list[bytes]) -> int:
        """Send jobs for `child.run` to the process, which is ready and idle.

        Returns:
            The number of the first job.

        Raises:
            ChildDied: The process is gone.
        """
        first = self.sent + 1
        self.sent += len(jobs)
        batch = pickle.dumps(jobs)
        try:
            self._jobs.settimeout(None)
            self._jobs.sendall(FRAME.pack(len(batch), first) + batch)
        except OSError as exc:
            raise ChildDied from exc
        return first

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function in the process and return its value.

        Raises:
            ChildDied: The process is gone.
        """
        self.make_ready()
        self.send([pickle.dumps((function, args))])
        while not (answers := self.receive(None)):
            pass
        return pickle.loads(answers[0][1])  # noqa: S301 - made by our own child

    def receive(self, timeout: float | None) -> list[tuple[int, bytes]]:
        """Wait for answers and return them with their jobs' numbers.

        Args:
            timeout: Seconds after which an empty list is returned; None waits on.

        Raises:
            ChildDied: The process is gone, and there are no more answers.
        """
        until = None if timeout is None else monotonic() + timeout
        while True:
            left = _LOOK if until is None else min(_LOOK, max(0.0, until - monotonic()))
            is_gone = not self._wait(left)
            answers = self._take()
            if not answers and (is_gone or not self._process.is_alive()):
                # It may have written between the two.
                answers, is_gone = self._take(), True
            if answers:
                return answers
            if is_gone:
                raise ChildDied
            if until is not None and monotonic() >= until:
                return []

    def _wait(self, seconds: float) -> bool:
        """Wait until the process announces answers; return False if it is gone."""
        if self._comes_large:
            poll = select.poll()
            poll.register(self._jobs, select.POLLIN)
            poll.register(self._answers, select.POLLIN)
            ready = poll.poll(seconds * 1000)
            if not any(number == self._jobs.fileno() for number, _ in ready):
                return True
            seconds = 0.0
        try:
            self._jobs.settimeout(seconds)
            told = self._jobs.recv(_READ)
        except (TimeoutError, BlockingIOError):
            return True
        except OSError:
            return False
        if told:
            self._comes_large = told[-1:] == LARGE
            assert self._comes_large or told[-1:] == RING  # noqa: S101 - the child sends no other
        return bool(told)

    def _take(self) -> list[tuple[int, bytes]]:
        read = self._read
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while part := self._answers.recv(_READ, socket.MSG_DONTWAIT):
                read += part
        answers, at = [], 0
        while len(read) - at >= FRAME.size:
            length, number = FRAME.unpack_from(read, at)
            end = at + FRAME.size + length
            if end > len(read):
                break
            answers.append((number, bytes(read[at + FRAME.size : end])))
            at = end
        del read[:at]
        return answers

    @property
    def begun(self) -> int:
        """The number of the last job that has begun."""
        return self._claims.begun

    def is_recalled(self) -> bool:
        """Whether jobs that have not begun were recalled."""
        return self._claims.is_recalled(self.sent)

    def recall(self) -> int | None:
        """Recall jobs that have not begun; return the number of the last that has.

        None if there is no process, or it cannot be asked now.
        """
        return None if self._process is None else self._claims.recall(self.sent)

    def signal(self, job: int, number: int) -> bool:
        """Send the process a signal, if the job has begun; else recall the job.

        After a signal the process is worn, because the signal may arrive when the job
        is over.

        Returns:
            Whether the job has begun.
        """
        before = self.terminated, self.is_worn
        # Set first, because the slot of the job may see the process end at once.
        self.terminated = self.is_worn = True
        process, claims = self._process, self._claims
        has_begun = claims.signal(job, self.sent, process.pid, number)
        if not has_begun:
            self.terminated, self.is_worn = before
        elif number == signal.SIGTERM:
            insist = threading.Timer(GRACE, _insist, (process, claims))
            insist.daemon = True
            insist.start()
        return has_begun

    def replace(self) -> None:
        """Start a new process; the old one ends after its task."""
        self._leave()
        self.served, self.terminated, self.is_worn = 0, False, False
        # Now, so that it has imported its modules when the next task comes.
        self.start()

    def _leave(self) -> Any:
        process, self._process = self._process, None
        if process is not None:
            self._jobs.close()
            self._answers.close()
        self._read.clear()
        self._is_ready = self._comes_large = False
        self.sent = 0
        return process

    def stop(self, *, wait: bool = True) -> None:
        """Let the process end by itself, for good; `wait` waits for it."""
        self._is_ended = True
        process = self._leave()
        if process is not None and wait:
            process.join()

    def kill(self) -> None:
        """Kill the process, for good; a thread in `receive` gets a ChildDied."""
        self._is_ended = True
        self.end()

    def end(self) -> None:
        """Kill the process; `replace` may start another."""
        process = self._process
        if process is not None:
            process.kill()
            process.join(_GONE)


def _insist(process: Any, claims: Claims) -> None:
    """Kill a process whose task keeps it from noticing that its end is meant."""
    if not claims.meant_end.is_noticed and process.is_alive():
        process.kill()
