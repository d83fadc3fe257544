"""A group's progress by a signed token; on memory://, or the broker of the settings."""

from __future__ import annotations

import json
from contextlib import ExitStack
from unittest import mock, skipUnless

from django.contrib.staticfiles.finders import find
from django.core.signing import TimestampSigner
from django.test import SimpleTestCase, override_settings
from django.urls import reverse

from celerant import CelerantError, HandleError, group
from celerant.django.progress import _SALT, read, sign
from mysite.celerant import app
from shop.tasks import collect

TIMEOUT = 20
STREAM = {"Accept": "text/event-stream"}
IS_SHARED = app.conf.broker_url != "memory://"


def url_of(token):
    return reverse("celerant:progress", args=[token])


def events(text):
    """Return the events of a stream: (name, data)."""
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        found.append((fields["event"], json.loads(fields["data"])))
    return found


class ProgressTest(SimpleTestCase):
    def setUp(self):
        self.entered = ExitStack()
        self.addCleanup(self.entered.close)
        # Each test looks for itself.
        self.entered.enter_context(
            mock.patch("celerant.django.progress._known._age", 0)
        )

    def done(self, *values):
        """Return a group that has run; a value that is no list of names fails."""
        with app.worker(concurrency=1):
            result = group(collect.s(value) for value in values).apply_async()
            result.get(timeout=TIMEOUT, propagate=False)
        return result

    def waiting(self, n=2):
        """Return a group that nobody runs."""
        result = group(collect.s([]) for _ in range(n)).apply_async()
        self.addCleanup(result.cancel)
        return result

    def test_json_tells_how_far_it_is(self):
        answer = self.client.get(url_of(sign(self.done(["a"], ["b"]))))
        told = answer.json()
        self.assertEqual((told["total"], told["done"], told["failed"]), (2, 2, 0))
        self.assertTrue(told["ready"])
        self.assertEqual(answer.headers["Cache-Control"], "no-store")

    def test_a_group_that_waits_is_not_ready(self):
        told = self.client.get(url_of(sign(self.waiting()))).json()
        self.assertEqual((told["total"], told["done"]), (2, 0))
        self.assertFalse(told["ready"])

    def test_a_stream_under_wsgi_is_one_event_and_when_to_ask_again(self):
        answer = self.client.get(url_of(sign(self.waiting())), headers=STREAM)
        self.assertEqual(answer.headers["Content-Type"], "text/event-stream")
        self.assertFalse(answer.streaming)
        text = answer.content.decode()
        self.assertTrue(text.startswith("retry: 1000\n"))
        ((name, told),) = events(text)
        self.assertEqual((name, told["done"]), ("progress", 0))

    def test_a_stream_under_wsgi_ends_with_the_group(self):
        answer = self.client.get(url_of(sign(self.done(["a"]))), headers=STREAM)
        ((name, told),) = events(answer.content.decode())
        self.assertEqual((name, told["done"]), ("end", 1))

    async def test_a_stream_under_asgi_goes_on_until_the_end(self):
        result = self.waiting()
        url = url_of(sign(result))
        answer = await self.async_client.get(url, headers=STREAM)
        self.assertTrue(answer.streaming)
        parts = aiter(answer)
        text = (await anext(parts)).decode()
        with app.worker(concurrency=1):
            async for part in parts:
                text += part.decode()
        (first, began), *_, (last, ended) = events(text)
        self.assertEqual((first, began["done"]), ("progress", 0))
        self.assertEqual((last, ended["done"]), ("end", 2))

    async def test_json_under_asgi(self):
        url = url_of(sign(self.waiting()))
        answer = await self.async_client.get(url)
        self.assertEqual(answer.json()["done"], 0)

    def test_a_token_holds_no_handle_and_is_the_same_group_each_time(self):
        result = self.done(["a"])
        tokens = [sign(result), sign(result)]
        names = {TimestampSigner(salt=_SALT).unsign(token) for token in tokens}
        self.assertEqual(len(names), 1)
        self.assertNotIn(result.id, tokens[0])
        self.assertEqual(read(tokens[0]).id, result.id)

    def test_a_wrong_or_old_token_is_not_found(self):
        token = sign(self.done(["a"]))
        with override_settings(SECRET_KEY="another"):
            self.assertEqual(self.client.get(url_of(token)).status_code, 404)
        self.assertEqual(self.client.get(url_of(f"x{token}")).status_code, 404)
        with self.assertRaisesRegex(HandleError, "older than"):
            read(token, max_age=-1)

    def test_results_that_are_gone_are_not_found(self):
        token = sign(self.done(["a"]))
        with mock.patch.object(type(app.backend), "take_aside", return_value=None):
            self.assertEqual(self.client.get(url_of(token)).status_code, 404)

    def test_a_store_that_is_away_is_told(self):
        token = sign(self.done(["a"]))
        away = CelerantError("the store is away")
        with mock.patch.object(type(app.backend), "take_aside", side_effect=away):
            answer = self.client.get(url_of(token))
        self.assertContains(answer, "the store is away", status_code=503)

    @skipUnless(IS_SHARED, "a store in memory is never away")
    def test_a_store_that_goes_away_after_the_token_was_read_is_told(self):
        token = sign(self.waiting())
        away = app.backend.connection_errors[0]("the store is away")
        with mock.patch.object(type(app.backend), "fetch", side_effect=away):
            answer = self.client.get(url_of(token))
        self.assertContains(answer, "the store is away", status_code=503)

    @skipUnless(IS_SHARED, "what is in memory is kept there anyway")
    async def test_a_stream_that_was_left_keeps_no_values(self):
        token = sign(self.waiting())
        with mock.patch("celerant.django.progress._known._age", 30):
            answer = await self.async_client.get(url_of(token), headers=STREAM)
            parts = aiter(answer)
            await anext(parts)
            self.assertFalse(read(token).members.is_watched)
            answer.close()

    def test_nothing_but_get_is_answered(self):
        token = sign(self.done(["a"]))
        self.assertEqual(self.client.post(url_of(token)).status_code, 405)

    def test_the_component_is_among_the_static_files(self):
        self.assertIsNotNone(find("celerant/celerant-progress.js"))

    @skipUnless(IS_SHARED, "what comes to this process alone is known exactly")
    def test_a_large_group_is_over_when_all_of_it_is(self):
        token = sign(self.done(*([["a"]] * 1_500)))
        with mock.patch("celerant.django.progress._known._age", 30):
            answer = self.client.get(url_of(token), headers=STREAM)
            kept = read(token)
        ((name, told),) = events(answer.content.decode())
        self.assertEqual((name, told["done"], told["total"]), ("end", 1_500, 1_500))
        self.assertEqual(len(kept.members.values), 0)
