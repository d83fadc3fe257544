"""The worker that an app embeds in its process."""

from __future__ import annotations

import logging
import os
import socket
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from kombu.serialization import prepare_accept_content

from celerant.common.limits import Limits
from celerant.common.mailbox import make_mailbox
from celerant.common.receivers import tell
from celerant.config.default_backend import keeps_results_here
from celerant.context.workers import add_worker
from celerant.errors import SettingError
from celerant.worker.batches import Batches
from celerant.worker.broker_source import BrokerSource
from celerant.worker.delays import offer_delays
from celerant.worker.events import Events
from celerant.worker.flow import Flow
from celerant.worker.mailbox import MailboxNode
from celerant.worker.memory_source import MemorySource
from celerant.worker.message import Reader
from celerant.worker.mingling import Mingling
from celerant.worker.names import own_tasks, queue_names
from celerant.worker.panel import Panel
from celerant.worker.pool import Engine, Pool, Threads
from celerant.worker.processes import Processes
from celerant.worker.runner import Runner
from celerant.worker.unsupported import tell_unsupported
from celerant.worker.worker_state import WorkerState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from typing_extensions import Self

    from celerant.context.host import App
    from celerant.worker.message import Delivery

__all__ = ["Worker"]

logger = logging.getLogger("celerant.worker")

#: Seconds that `start` waits until the worker consumes. The broker may be lost again
#: meanwhile, so the wait has a limit.
_BEGIN_TIMEOUT = 2.0


class Worker:
    """Runs an app's tasks beside the rest of the program.

    A daemon thread with a connection of its own consumes the queues, and `concurrency`
    slots run the tasks. Several workers may serve one app. A worker sets no signal
    handlers. The end of its ``with`` block waits for running tasks and gives the other
    messages back.
    """

    def __init__(
        self,
        app: App,
        *,
        concurrency: int | None = None,
        pool: Literal["threads", "processes"] = "threads",
        queues: Iterable[str] | str | None = None,
        hostname: str | None = None,
    ) -> None:
        """Prepare a worker; `start` or a ``with`` block starts it.

        Args:
            app: The app whose tasks it runs.
            concurrency: How many tasks run side by side; None takes
                ``worker_concurrency``, else the number of cores.
            pool: ``"threads"`` of this process, or spawned ``"processes"`` for tasks
                that keep a core busy. Processes import the modules of the tasks.
            queues: Names of the queues to consume; None takes ``task_queues``, else
                ``task_default_queue``.
            hostname: The worker's name in logs and requests.

        Raises:
            SettingError: The pool is unknown, or the concurrency is impossible.
        """
        if pool not in ("threads", "processes"):
            msg = f"unknown pool {pool!r}; use 'threads' or 'processes'"
            raise SettingError(msg, name="pool")
        size = concurrency or app.conf.worker_concurrency or os.cpu_count() or 1
        if concurrency == 0 or isinstance(size, bool) or not _is_positive(size):
            msg = f"concurrency must be a positive whole number, not {concurrency!r}"
            raise SettingError(msg, name="concurrency")
        self.app = app
        self.concurrency = int(size)
        self.pool = pool
        self.queues = queue_names(app, queues)
        self.hostname = hostname or f"celerant@{socket.gethostname()}"
        self._source: MemorySource | BrokerSource | None = None
        self._slots: Pool | None = None
        self._runner: Runner | None = None
        self._engine: Engine | None = None
        self._events: Events | None = None
        self._thread: threading.Thread | None = None
        self._pid = 0
        #: Carries out remote control; None until the first start.
        self.panel: Panel | None = None
        #: Called when remote control stops the worker; must not wait for the stop.
        self.on_shutdown: Callable[[], Any] = self._stop_aside
        #: When the other workers are asked what was revoked: "before" the first message
        #: is taken, which costs a second, or "aside", meanwhile; None: never.
        self.mingles: Literal["before", "aside"] | None = "aside"
        self._mingling = Mingling()
        #: Called in each child process before its imports; they travel by pickle.
        self.child_setup: list[Callable[[], Any]] = []
        add_worker(self)

    @property
    def app_name(self) -> str:
        """The app's name."""
        return self.app.name

    @property
    def is_running(self) -> bool:
        """Whether the worker consumes."""
        # A forked child has none of the threads, though they seem alive there.
        thread = self._thread
        return thread is not None and thread.is_alive() and self._pid == os.getpid()

    def start(self) -> None:
        """Start the slots, connect and begin to consume.

        Raises:
            SettingError: Child processes cannot run the app's tasks.
            RuntimeError: The worker runs already.
            ConnectionError: The broker is not reachable, or refuses the queues.
        """
        if self._thread is not None:
            msg = f"worker {self.hostname} runs already; make another with app.worker()"
            raise RuntimeError(msg)
        conf = self.app.conf
        tell("celeryd_init", self.hostname, instance=self, conf=conf, options={})
        tell("celeryd_after_setup", self.hostname, instance=self, conf=conf)
        tell("worker_init", self)
        engine = self._make_engine()
        source, runner = self._join_parts(engine)
        slots = self._make_slots(engine, source, runner)
        if self.panel is not None:
            self.panel.join(source, slots)
        engine.start()
        mingling = self._mingling
        try:
            with mingling.before():
                source.open()
        except BaseException as exc:
            source.close()
            source.run(slots.wake)
            engine.kill()
            slots.abandon()
            if isinstance(exc, Exception):
                raise self._unreachable(exc) from exc
            raise
        self._source, self._runner, self._slots = source, runner, slots
        self._engine, self._pid = engine, os.getpid()
        if conf.worker_send_task_events and self._events is not None:
            self._events.enable()
        self._thread = threading.Thread(
            target=source.run, args=(slots.wake,), name=self.hostname, daemon=True
        )
        self._thread.start()
        if isinstance(source, BrokerSource):
            source.begun.wait(_BEGIN_TIMEOUT)
            if source.refusal is not None:
                self.stop()
                raise self._unreachable(source.refusal) from source.refusal
        tell_unsupported(self.app.tasks, conf)
        logger.info(
            "worker %s consumes %s from %s with %d %s; tasks: %s",
            self.hostname,
            ", ".join(self.queues),
            self.app.connection_for_read().as_uri(),
            self.concurrency,
            self.pool,
            own_tasks(self.app.tasks),
        )
        tell("worker_ready", self)
        # Last, so that it does not make the start longer.
        mingling.aside()

    def _make_engine(self) -> Threads | Processes:
        if self.pool == "threads":
            return Threads()
        conf = self.app.conf
        return Processes(
            self.concurrency,
            self.app.tasks,
            conf.result_serializer,
            conf.worker_max_tasks_per_child,
            (*self.child_setup, self.app.child_setup),
            shares_store=not keeps_results_here(conf),
        )

    def _make_slots(
        self,
        engine: Threads | Processes,
        source: MemorySource | BrokerSource,
        runner: Runner,
    ) -> Pool:
        batches: Batches | None = None
        execute: Callable[[Delivery], None]
        if isinstance(engine, Processes):
            execute = batches = Batches(engine, runner, source)
        else:
            execute = runner.one_by_one(engine.run)

        def part() -> None:
            runner.part()
            engine.stop()

        slots = Pool(
            self.concurrency,
            source.take,
            execute,
            waiting=source.waiting,
            name=self.hostname,
            rest=runner.rest,
            part=part,
        )
        if batches is not None:
            batches.slots = slots
        return slots

    def _join_parts(self, engine: Engine) -> tuple[MemorySource | BrokerSource, Runner]:
        app, conf = self.app, self.app.conf
        accept = prepare_accept_content(conf.accept_content)
        queues = [app.queues[name] for name in self.queues]
        worker_state = WorkerState()
        self._events = events = Events(
            app.connection_for_write,
            conf,
            hostname=self.hostname,
            worker_state=worker_state,
        )
        runner = Runner(
            app, hostname=self.hostname, worker_state=worker_state, events=events
        )
        connection = app.connection_for_read()
        is_memory = connection.transport_cls == "memory"
        reader = Reader(
            app.tasks,
            accept,
            self.hostname,
            memory_pid=os.getpid() if is_memory else 0,
            limits=Limits(
                conf.celerant_message_size_limit, conf.celerant_message_depth_limit
            ),
        )
        source: MemorySource | BrokerSource
        self.panel = panel = Panel(
            app=app,
            hostname=self.hostname,
            worker_state=worker_state,
            events=events,
            engine=engine,
            shutdown=lambda: self.on_shutdown(),  # noqa: PLW0108 - users may set another
        )
        if is_memory:
            source = MemorySource(
                connection, queues, reader, runner.refuse, runner.receive
            )
            runner.settling = source
        else:
            connection.release()
            flow = Flow(
                self.concurrency,
                conf.worker_prefetch_multiplier,
                conf.worker_eta_task_limit,
            )
            mailbox = None
            if conf.worker_enable_remote_control is not False:
                mailbox = MailboxNode(panel, make_mailbox(conf, worker_state.clock))
                self._mingling = Mingling(app, panel, self.mingles)
            source = BrokerSource(
                app.connection_for_read,
                queues,
                reader,
                runner.refuse,
                flow=flow,
                arrived=runner.receive,
                mailbox=mailbox,
                prepare=partial(
                    offer_delays,
                    app.connection_for_write,
                    conf.broker_native_delayed_delivery_queue_type,
                ),
            )
            source.settling.ask_later = runner.ask_later
            runner.settling = source.settling
        return source, runner

    def _unreachable(self, exc: Exception) -> ConnectionError:
        uri = self.app.connection_for_read().as_uri()
        msg = (
            f"worker {self.hostname} cannot consume {', '.join(self.queues)} from "
            f"{uri} ({type(exc).__name__}: {exc}); see that the broker runs and lets "
            f"this user declare the queues"
        )
        return ConnectionError(msg)

    def stop(self) -> None:
        """Stop consuming, wait for running tasks, give the others back, disconnect.

        It takes as long as the running tasks. Their results are stored under the result
        backend's retry policy; a result that the store still refuses is logged and
        lost. Ctrl-C or another interrupt meanwhile ends the worker as `kill` does.
        """
        try:
            self._finish()
        except BaseException as exc:
            if not isinstance(exc, Exception):
                logger.warning("worker %s stops at once", self.hostname)
                self.kill()
            raise

    def _finish(self) -> None:
        thread, source, slots = self._thread, self._source, self._slots
        runner = self._runner
        if thread is None or source is None or slots is None or runner is None:
            return
        if os.getpid() != self._pid:
            # This is a forked child; the threads are its parent's.
            return
        tell("worker_shutting_down", self.hostname, sig=None, how="Warm", exitcode=0)
        slots.close()
        runner.ending.storing.stop()
        source.stop()
        slots.join()
        runner.close()
        source.close()
        thread.join()
        if self._engine is not None:
            self._engine.stop()
        self._mingling.close()
        if self.panel is not None:
            self.panel.close()
        if self._events is not None:
            self._events.close()
        runner.ending.storing.report()
        self._thread = self._source = self._slots = None
        logger.info("worker %s stopped", self.hostname)
        tell("worker_shutdown", self)

    def _stop_aside(self) -> None:
        # A stop waits for the thread that consumes, and that thread calls this.
        threading.Thread(target=self.stop, daemon=True).start()

    def kill(self) -> None:
        """Stop at once: child processes are killed, and threads are not waited for."""
        if self._slots is None or self._runner is None or self._engine is None:
            return
        if os.getpid() != self._pid:
            # This is a forked child, as in `_finish`.
            return
        self._slots.abandon()
        self._runner.ending.storing.abandon()
        self._engine.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None and not issubclass(kind, Exception) and self.is_running:
            logger.warning(
                "worker %s stops after its running tasks; one more interrupt ends it",
                self.hostname,
            )
        self.stop()

    def __repr__(self) -> str:
        state = "running" if self.is_running else "stopped"
        return (
            f"<Worker {self.hostname}: {state}, {self.concurrency} {self.pool}, "
            f"queues {', '.join(self.queues)}>"
        )


def _is_positive(value: Any) -> bool:
    return isinstance(value, int) and value > 0
