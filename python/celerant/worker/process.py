"""One child process of the pool, and its successors."""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import select
import socket
import threading
from typing import TYPE_CHECKING, Any

from celerant._core import monotonic
from celerant.common.receivers import tell
from celerant.worker.claims import Claims
from celerant.worker.serving import FRAME, LARGE, RING, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["ChildDied", "ChildProcess"]

#: Bytes read at once.
_READ = 1 << 18
#: Seconds between looks whether it lives: a process that it has forked may keep its
#: ends of the sockets open.
_LOOK = 1.0
#: Seconds that a killed process takes to be gone.
_GONE = 1.0

#: Starting is not for several threads at once.
_starting = threading.Lock()


class ChildDied(Exception):  # noqa: N818 - an event, not a fault of the caller
    """The process is gone, and all its answers were read."""


class ChildProcess:
    """A spawned process that runs jobs one after the other; `replace` makes a new one.

    All but `signal` and `recall` are for one thread at a time.
    """

    def __init__(
        self, modules: Sequence[str], set_up: Callable[[], None] | None = None
    ) -> None:
        """Start nothing yet.

        Args:
            modules: What a child imports before its first task.
            set_up: What it calls before that.
        """
        self._set_up = set_up
        self._modules = tuple(modules)
        self._process: Any = None
        self._jobs: socket.socket
        self._answers: socket.socket
        self._claims: Claims
        self._read = bytearray()
        #: Whether an answer comes that is larger than what the socket holds.
        self._comes_large = False
        self._is_ready = self._is_ended = False
        #: The number of the last job that it was sent.
        self.sent = 0
        #: How many tasks it has run.
        self.served = 0
        #: Whether somebody has sent it a signal to end its task.
        self.terminated = False
        #: Whether it is to be replaced before another task.
        self.is_worn = False

    @property
    def pid(self) -> int | None:
        """Its process, once that is started."""
        process = self._process
        return None if process is None else process.pid

    def start(self) -> None:
        """Start the process, if it is not."""
        if self._process is not None or self._is_ended:
            return
        tell("worker_before_create_process", self)
        # Spawned, for a fork would share sockets and locks.
        context = multiprocessing.get_context("spawn")
        self._jobs, jobs = socket.socketpair()
        self._answers, answers = socket.socketpair()
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
            # From here on its end is the end of what comes by them.
            jobs.close()
            answers.close()
        self._process = process
        if self._is_ended:
            # Meanwhile, by another thread.
            process.kill()

    def make_ready(self) -> None:
        """Wait until it can run a task.

        Raises:
            ChildDied: It has died before.
        """
        if not self._is_ready:
            self.start()
            if self._process is None:
                raise ChildDied
            while not self.receive(None):
                pass
            self._is_ready = True

    def send(self, jobs: list[bytes]) -> int:
        """Send a child that is ready, and runs nothing, jobs for `child.run`.

        Returns:
            The number of the first.

        Raises:
            ChildDied: It is gone.
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
        """Call a function there and return what it returns.

        Raises:
            ChildDied: It is gone.
        """
        self.make_ready()
        self.send([pickle.dumps((function, args))])
        while not (answers := self.receive(None)):
            pass
        return pickle.loads(answers[0][1])  # noqa: S301 - made by our own child

    def receive(self, timeout: float | None) -> list[tuple[int, bytes]]:
        """Return answers with their numbers; none after `timeout` seconds without.

        Raises:
            ChildDied: It is gone, and there are no more.
        """
        until = None if timeout is None else monotonic() + timeout
        while True:
            left = _LOOK if until is None else min(_LOOK, max(0.0, until - monotonic()))
            is_gone = not self._wait(left)
            answers = self._take()
            if not answers and (is_gone or not self._process.is_alive()):
                # It may have written since.
                answers, is_gone = self._take(), True
            if answers:
                return answers
            if is_gone:
                raise ChildDied
            if until is not None and monotonic() >= until:
                return []

    def _wait(self, seconds: float) -> bool:
        """Wait until it has said that there is something; False if it is gone."""
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
            assert self._comes_large or told[-1:] == RING  # noqa: S101 - it says nothing else
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
        """The number of the last job that it has begun."""
        return self._claims.begun

    def is_recalled(self) -> bool:
        """Whether jobs that it has not begun were called back."""
        return self._claims.is_recalled(self.sent)

    def recall(self) -> int | None:
        """Call back what it has not begun; return the last job that it has begun.

        None if it cannot be asked now.
        """
        return None if self._process is None else self._claims.recall(self.sent)

    def signal(self, job: int, number: int) -> bool:
        """Send it a signal if a job has begun; else call that back, and return False.

        It is terminated from now on, and worn: the signal may still be on its way when
        the job is over.
        """
        before = self.terminated, self.is_worn
        # First: who runs the job sees its end at once.
        self.terminated = self.is_worn = True
        has_begun = self._claims.signal(job, self.sent, self._process.pid, number)
        if not has_begun:
            self.terminated, self.is_worn = before
        return has_begun

    def replace(self) -> None:
        """Begin again with a new process; the old one ends after its task."""
        self._leave()
        self.served, self.terminated, self.is_worn = 0, False, False
        # So that it imports its modules before the next task wants them.
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
        """Let it end by itself."""
        self._is_ended = True
        process = self._leave()
        if process is not None and wait:
            process.join()

    def kill(self) -> None:
        """End it at once, for good; whoever waits for it is told."""
        self._is_ended = True
        self.end()

    def end(self) -> None:
        """End this process at once."""
        process = self._process
        if process is not None:
            process.kill()
            process.join(_GONE)
