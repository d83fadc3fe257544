"""Tasks of a reusable app, which does not know its project's Celerant app."""

from __future__ import annotations

import os

from django.db import connection

from celerant import shared_task
from shop.models import Order

try:
    from django.tasks import task
except ImportError:
    from django_tasks import task


@shared_task
def pack(order_id: int) -> str:
    """Fail if the order cannot be seen, as before its commit."""
    order = Order.objects.get(pk=order_id)
    order.is_packed = True
    order.save()
    return order.name


@shared_task
def collect(names: list[str]) -> list[str]:
    """Return its argument."""
    return names


@shared_task(name="shop.connection_before")
def connection_before() -> bool:
    """Say whether the task before left a connection; leave one."""
    was_open = connection.connection is not None
    connection.ensure_connection()
    return was_open


@shared_task(bind=True)
def where(self) -> list:
    return [os.getpid(), self.name, Order.objects.count()]


@task
def name_of(order_id: int) -> str:
    return Order.objects.get(pk=order_id).name


@task(takes_context=True)
def told(context, word: str, *, times: int = 1) -> list:
    return [context.task_result.id, context.attempt, word * times]


@task
async def later(word: str) -> str:
    return word.upper()


@task
def broken() -> None:
    raise LookupError("nothing is there")


@task(queue_name="far")
def far() -> str:
    return "far"


@task(backend="careful")
def careful(word: str) -> str:
    return word


@task(backend="here")
def here() -> int:
    return 1
