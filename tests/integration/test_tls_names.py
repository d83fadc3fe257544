"""A broker or store with another host's certificate is refused."""

from __future__ import annotations

import shutil
import socket
import ssl
import threading

import pytest

from celerant import Celerant
from celerant.errors import CelerantError, PublishError
from harness.certificates import self_signed

ONE_TRY = {"max_retries": 0}


class Listener:
    """Takes TLS connections with one certificate, and notes whose client went on."""

    def __init__(self, certificate):
        self.accepted = []
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate.certificate, certificate.key)
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                taken, _ = self._socket.accept()
            except OSError:
                return
            try:
                taken.settimeout(5)
                with self._context.wrap_socket(taken, server_side=True) as secured:
                    # TLS 1.3 tells a refusal only with the next message.
                    self.accepted.append(secured.recv(1) != b"")
            except OSError:
                self.accepted.append(False)

    def close(self):
        # `close` alone does not end an `accept` of another thread.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(20)
        self._socket.close()
        assert not self._thread.is_alive()


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory, absent):
    if shutil.which("openssl") is None:
        absent("openssl on PATH")
    folder = tmp_path_factory.mktemp("elsewhere")
    return self_signed(folder, names="DNS:elsewhere.example")


@pytest.fixture
def listener(elsewhere):
    made = Listener(elsewhere)
    yield made
    made.close()


CASES = {
    "redis by url": ("rediss://127.0.0.1:{port}/0?ssl_ca_certs={ca}", None),
    "redis by setting": ("rediss://127.0.0.1:{port}/0", {"ssl_ca_certs": "{ca}"}),
    "rabbitmq": ("amqps://127.0.0.1:{port}//", {"ca_certs": "{ca}"}),
    "rabbitmq with more": (
        "amqps://127.0.0.1:{port}//",
        {"ca_certs": "{ca}", "cert_reqs": ssl.CERT_REQUIRED},
    ),
    "rabbitmq, nobody vouches": ("amqps://127.0.0.1:{port}//", None),
}


def app_for(listener, certificate, url, options):
    filled = {"port": listener.port, "ca": certificate.certificate}
    given = {
        name: value.format(**filled) if isinstance(value, str) else value
        for name, value in (options or {}).items()
    }
    return Celerant(
        "tls-names",
        broker=url.format(**filled),
        broker_use_ssl=given or False,
        task_publish_retry_policy=ONE_TRY,
        result_backend_transport_options={"retry_policy": ONE_TRY},
    )


@pytest.mark.parametrize("case", CASES)
def test_no_message_is_sent_to_another_host(listener, elsewhere, case):
    with app_for(listener, elsewhere, *CASES[case]) as app:
        with pytest.raises(PublishError, match=r"(?i)certificate"):
            app.signature("any").apply_async(ignore_result=True)
        with (
            pytest.raises(ConnectionError, match=r"(?i)certificate"),
            app.worker(concurrency=1),
        ):
            pass
    assert True not in listener.accepted


@pytest.mark.parametrize("case", ["redis by url", "redis by setting"])
def test_no_result_is_read_from_another_host(listener, elsewhere, case):
    with (
        app_for(listener, elsewhere, *CASES[case]) as app,
        pytest.raises(CelerantError, match=r"(?i)certificate"),
    ):
        app.backend.read("any")
    assert True not in listener.accepted


def test_the_certificate_s_own_name_may_be_given(listener, elsewhere):
    options = {"ca_certs": "{ca}", "server_hostname": "elsewhere.example"}
    url = "amqps://127.0.0.1:{port}//"
    with (
        app_for(listener, elsewhere, url, options) as app,
        pytest.raises(PublishError) as caught,
    ):
        app.signature("any").apply_async(ignore_result=True)
    # It is trusted; that it is no broker is another matter.
    assert "certificate" not in str(caught.value).lower()
    assert listener.accepted[0]
