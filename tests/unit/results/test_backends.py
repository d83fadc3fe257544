from __future__ import annotations

import itertools
import os
import ssl
import threading
from datetime import timedelta

import pytest

from celerant.config import Settings
from celerant.context.request import Request
from celerant.errors import EncodeError, SettingError
from celerant.results.backends import make_backend, memory_store, open_backend
from celerant.results.backends.redis_feed import RedisFeed
from celerant.results.backends.redis_url import connection_params
from harness.inside import memory_records


def params(url, **more):
    return connection_params(url, use_ssl=None, defaults={}, **more)


def test_two_apps_share_nothing_and_one_app_shares_all():
    one, same = (open_backend("memory://", name="one") for _ in range(2))
    other = open_backend("memory://", name="other")
    one.store_result("a", 1, "SUCCESS")
    assert same.decode(same.read("a"))["result"] == 1
    assert other.read("a") is None


def test_retry_does_not_replace_the_failure_of_a_later_run(memory):
    memory.store_result("task", ValueError("last"), "FAILURE")
    memory.store_result("task", ValueError("before"), "RETRY")
    assert memory.decode(memory.read("task"))["status"] == "FAILURE"
    memory.store_result("task", 1, "SUCCESS")
    assert memory.decode(memory.read("task"))["status"] == "SUCCESS"


def test_a_stored_success_stays(memory):
    memory.store_result("a", 1, "SUCCESS")
    memory.store_result("a", KeyError("late"), "FAILURE")
    memory.store_result("a", 2, "SUCCESS")
    assert memory.decode(memory.read("a"))["result"] == 1
    memory.store_result("b", KeyError("first"), "FAILURE")
    memory.store_result("b", 2, "SUCCESS")
    assert memory.decode(memory.read("b"))["status"] == "SUCCESS"


def test_records_live_as_long_as_configured(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(memory_store, "monotonic", lambda: now[0])
    backend = open_backend(
        "memory://", name="life", expires=timedelta(seconds=10), failure_expires=3
    )
    backend.store_result("value", 1, "SUCCESS")
    backend.store_result("failure", KeyError("k"), "FAILURE")
    now[0] += 4
    assert backend.read("failure") is None
    assert backend.read("value") is not None
    now[0] += 7
    assert backend.read("value") is None
    for index in range(memory_store._PURGE_EVERY):
        backend.store_result(str(index), 1, "SUCCESS")
    assert "value" not in memory_records(backend)
    forever = open_backend("memory://", name="ever", expires=None)
    forever.store_result("a", 1, "SUCCESS")
    now[0] += 1e9
    assert forever.read("a") is not None


def test_a_result_that_no_serializer_takes_is_an_encode_error(memory):
    with pytest.raises(EncodeError, match="return plain data") as caught:
        memory.store_result(
            "a", object(), "SUCCESS", request=Request(id="a", task="shop.add")
        )
    assert caught.value.task == "shop.add"
    assert memory.read("a") is None


def test_settings_reach_the_backend():
    conf = Settings()
    conf.update(
        result_expires=60,
        result_serializer="pickle",
        result_accept_content=["pickle"],
        result_extended=True,
        result_backend_transport_options={"global_keyprefix": "shop"},
        redis_socket_timeout=7.0,
    )
    backend = make_backend("redis://:pw@127.0.0.1:1/3", "shop", conf)
    assert backend.expires == backend.failure_expires == 60
    assert backend.codec.serializer == "pickle"
    assert backend.key_prefix == "shop_celery-task-meta-"
    kwargs = backend._pool.connection_kwargs
    assert (kwargs["port"], kwargs["db"], kwargs["password"]) == (1, 3, "pw")
    assert kwargs["socket_timeout"] == 7.0
    assert "pw" not in repr(backend)
    assert "pw" not in backend.as_uri()


@pytest.mark.parametrize("prefix", ["shop:", "shop_", "shop-", "shop."])
def test_a_key_prefix_that_ends_in_a_separator_stays(prefix):
    backend = open_backend(
        "redis://h", name="x", transport_options={"global_keyprefix": prefix}
    )
    assert backend.key_prefix == f"{prefix}celery-task-meta-"


def test_another_scheme_is_refused_with_its_password_masked():
    with pytest.raises(SettingError) as caught:
        open_backend("mongodb://u:secret@host", name="x")
    assert "secret" not in str(caught.value)
    assert "mongodb://" in str(caught.value)


def test_urls_have_the_meaning_that_celery_gives_them():
    plain = params("redis://user:p%40ss@host:7000/5?socket_timeout=3.5")
    assert (plain["host"], plain["port"], plain["db"]) == ("host", 7000, 5)
    assert (plain["username"], plain["password"]) == ("user", "p@ss")
    assert plain["socket_timeout"] == 3.5
    assert params("redis://")["host"] == "localhost"
    for scheme in ("socket", "redis+socket"):
        unix = params(f"{scheme}:///run/redis.sock?virtual_host=4")
        assert (unix["path"], unix["db"]) == ("/run/redis.sock", 4)
        assert "host" not in unix


def test_tls_checks_certificates_and_names_unless_told_not_to():
    for url in ("rediss://:secret@h", "rediss://h?ssl_cert_reqs=required"):
        tls = params(url)
        assert tls["ssl_cert_reqs"] == ssl.CERT_REQUIRED
        assert tls["ssl_check_hostname"] is True
    tls = params("rediss://h?ssl_cert_reqs=CERT_NONE&ssl_ca_certs=%2Fca.pem")
    assert tls["ssl_cert_reqs"] == ssl.CERT_NONE
    assert tls["ssl_check_hostname"] is False
    assert tls["ssl_ca_certs"] == "/ca.pem"
    tls = params("rediss://h?ssl_check_hostname=false")
    assert tls["ssl_cert_reqs"] == ssl.CERT_REQUIRED
    assert tls["ssl_check_hostname"] is False
    with pytest.raises(SettingError, match="ssl_cert_reqs is CERT_REQUIRED"):
        params("rediss://:secret@h?ssl_cert_reqs=perhaps")
    with pytest.raises(SettingError, match="the scheme is rediss"):
        params("redis://h?ssl_cert_reqs=none")
    given = {"ssl_ca_certs": "/ca.pem"}
    by_setting = connection_params("redis://h", use_ssl=given, defaults={})
    assert by_setting["connection_class"].__name__ == "SSLConnection"
    assert by_setting["ssl_cert_reqs"] == ssl.CERT_REQUIRED
    assert by_setting["ssl_check_hostname"] is True


def test_a_database_is_a_number():
    with pytest.raises(SettingError, match="a Redis database is a number") as caught:
        params("redis://:secret@h/results")
    assert "secret" not in str(caught.value)


def test_a_closed_feed_leaves_new_owners_of_its_descriptors_alone():
    feed = RedisFeed(lambda: None, "p")
    feed.close()
    out, into = os.pipe()
    os.set_blocking(out, False)
    feed.wake()
    feed.close()
    with pytest.raises(BlockingIOError):
        os.read(out, 1)
    os.close(out)
    os.close(into)


def test_threads_store_and_purge_at_the_same_time(monkeypatch, short_switches):
    clock = itertools.count()
    monkeypatch.setattr(memory_store, "monotonic", lambda: next(clock))
    store, failed = memory_store.MemoryStore(), []

    def fill(prefix):
        try:
            for i in range(4 * memory_store._PURGE_EVERY):
                store.put(f"{prefix}{i}", b"x", 1)
        except Exception as exc:  # noqa: BLE001 - whatever it is
            failed.append(exc)

    threads = [threading.Thread(target=fill, args=(p,)) for p in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(store._records) < 4 * memory_store._PURGE_EVERY


class Busy(dict):
    """Records that other code changes at the worst of moments."""

    def __init__(self, meanwhile, *args):
        super().__init__(*args)
        self.meanwhile = meanwhile
        self.changes = 1

    def items(self):
        if self.changes:
            self.changes -= 1
            raise RuntimeError("dictionary changed size during iteration")
        return super().items()

    def pop(self, key, *default):
        self.meanwhile(self, key)
        return super().pop(key, *default)


def test_a_record_stored_anew_during_a_purge_stays():
    def anew(records, key):
        if key == "again":
            records[key] = (b"new", 100.0)

    store = memory_store.MemoryStore()
    store._records = Busy(anew, {"old": (b"x", 1.0), "again": (b"x", 1.0)})
    store._purge(2.0)
    assert dict(store._records) == {"again": (b"new", 100.0)}
