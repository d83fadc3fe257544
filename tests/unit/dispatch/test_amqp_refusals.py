"""RabbitMQ's refusals, and its silence, as errors and states of members."""

from __future__ import annotations

import pytest

from celerant.dispatch.wires import amqp_messages, exchange_types
from celerant.dispatch.wires.amqp_messages import Said


@pytest.mark.parametrize("name", ["orders", "expiration", "user_id"])
def test_an_unknown_exchange_is_that_of_the_message_whatever_it_is_called(name):
    refusal = f"Basic.publish: (404) NOT_FOUND - no exchange '{name}' in vhost '/'"
    assert amqp_messages.is_meant(refusal, Said(name, None, None, 9))
    assert not amqp_messages.is_meant(refusal, Said("other", name, name, 9))


class _Lost:
    """A connection that is lost at the first question."""

    def channel(self):
        message = "gone"
        raise ConnectionResetError(message)


def test_an_exchange_whose_type_nobody_could_say_is_asked_about_again():
    types = exchange_types.ExchangeTypes()
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            types.routes_at_once("orders", (), _Lost())
