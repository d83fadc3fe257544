"""Tasks of a reusable app, which does not know its project's Celerant app."""

from __future__ import annotations

import os

from django.db import connection

from celerant import shared_task
from shop.models import Order


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
