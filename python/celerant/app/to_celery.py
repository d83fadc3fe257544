"""Hand an app over to Celery: the same tasks and settings as a `celery.Celery`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kombu.utils.url import url_to_parts

from celerant.app.to_celery_task import AnnotatedThere, register
from celerant.common.tls import checked_options, redis_options
from celerant.common.urls import check, scheme, split, transport
from celerant.config import SETTINGS
from celerant.config.default_backend import backend_reach, backend_url
from celerant.errors import CelerantError
from celerant.tasks.builtins import is_builtin

if TYPE_CHECKING:
    import celery

    from celerant.app import Celerant
    from celerant.config import Settings

__all__ = ["to_celery"]

logger = logging.getLogger("celerant")


def to_celery(app: Celerant) -> celery.Celery:
    """Return a `celery.Celery` with the name, tasks and settings of `app`.

    Bound tasks get Celery's own task as `self`. Messages that tasks send by Celerant
    have the lineage of Celery's current task. Tasks registered later are handed over
    too, until a worker starts; it imports the modules of the app's `import_tasks`.
    Celery's current app stays the same.

    Raises:
        CelerantError: Celery is not installed.
    """
    try:
        from celery import Celery, signals  # noqa: PLC0415 - an extra
    except ImportError as exc:
        msg = (
            "to_celery() needs the package celery; install it with "
            "pip install 'celerant[celery]'"
        )
        raise CelerantError(msg) from exc

    made = Celery(app.name, set_as_current=False)
    handed: set[str] = set()
    settings = _settings(app)
    if settings.get("task_annotations"):
        # Values in annotations of Celerant's tasks are handed over with the tasks.
        annotations = settings["task_annotations"]
        settings["task_annotations"] = AnnotatedThere(annotations, handed)
    # Not by `conf.update`: this way Celery reads no other module of settings, since the
    # app has read it, and Celery's loader learns of `override_backends`.
    made.config_from_object(settings)

    def hand_over(**_signal: Any) -> None:
        for name, task in app.tasks.items():
            if name not in handed and not is_builtin(task):
                handed.add(name)
                register(made, task)

    def import_tasks(**_signal: Any) -> None:
        app.import_tasks()
        hand_over()

    hand_over()
    made.on_after_finalize.connect(hand_over, weak=False)
    signals.import_modules.connect(import_tasks, sender=made, weak=False)
    return made


def _tls(conf: Settings, backend: str | None) -> dict[str, Any]:
    """Return TLS options with the checks that kombu and Celery leave out.

    In a failover list of RabbitMQ servers certificates are checked and names are not:
    Celery's settings have one name for all of them.
    """
    found: dict[str, Any] = {}
    brokers = split(conf.broker_url)
    options = checked_options(scheme(brokers), conf.broker_use_ssl)
    if isinstance(options, Mapping):
        made = dict(options)
        if made.get("server_hostname", "") is None and len(brokers) > 1:
            del made["server_hostname"]
        found["broker_use_ssl"] = made
    if backend is not None and scheme(backend) == "rediss":
        check("result_backend", backend)
        query, name = url_to_parts(backend).query, "ssl_cert_reqs"
        given = {name: query[name]} if name in query else {}
        given.update(conf.redis_backend_use_ssl or {})
        found["redis_backend_use_ssl"] = redis_options(given)
    return found


def _settings(app: Celerant) -> dict[str, Any]:
    changed = app.conf.changed()
    settings = {k: v for k, v in changed.items() if not SETTINGS[k].is_own}
    # Defaults that are Celerant's.
    for name in ("broker_url", "task_default_queue"):
        settings[name] = app.conf[name]
    # Celery has no default backend, Celerant has one.
    backend = backend_url(app.conf)
    if backend is not None and scheme(backend) == "memory":
        # Celery's name for results in the memory of one process.
        backend = "cache+memory://"
    settings["result_backend"] = backend
    settings.update((k, v) for k, v in backend_reach(app.conf).items() if v)
    settings.update(_tls(app.conf, backend))
    if transport(app.conf.broker_url) == "memory":
        logger.warning(
            "app %s has the broker memory://, which no other process reaches: give "
            "it a Redis or RabbitMQ URL before starting a celery worker",
            app.name,
        )
    return settings
