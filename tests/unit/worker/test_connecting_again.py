"""The pauses between attempts to reach a broker."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from celerant.worker.broker_source import BrokerSource


class Flaky(BrokerSource):
    """Connects and breaks as it is told: ``"no"`` does not connect, ``"ok"`` hears."""

    def __init__(self, script):
        super().__init__(
            connect=None,
            queues=[],
            reader=None,
            refuse=None,
            flow=None,
            arrived=None,
        )
        self.script, self.pauses = list(script), []
        self._cancelled.wait = self._wait

    def open(self):
        if self.script[0] == "no":
            self.script.pop(0)
            raise OSError("away")
        self._connection = SimpleNamespace(
            as_uri=lambda: "it", close=lambda: None, channel_errors=()
        )

    def _consume(self):
        self._hears = self.script.pop(0) == "ok"
        raise (SystemExit if self._hears else OSError)("lost")

    def _wait(self, pause):
        self.pauses.append(pause)
        return not self.script


@pytest.mark.parametrize(
    ("script", "pauses"),
    [
        (["no", "no", "no", "no"], [0.1, 0.2, 0.4, 0.8]),
        (["ok", "no", "no", "ok", "no", "ok"], [0.1, 0.2, 0.4, 0.1, 0.2, 0.1]),
        (["deaf", "deaf", "deaf"], [0.1, 0.2, 0.4]),
    ],
)
def test_pause_grows_until_a_connection_hears(script, pauses):
    source = Flaky(script)
    source.run(lambda _: None)
    assert source.pauses == pauses
