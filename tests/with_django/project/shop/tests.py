"""Run by Django's own test runner, in a process with Django set up."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from unittest import mock

from django.apps import apps
from django.conf import settings
from django.db import connection, transaction
from django.test import SimpleTestCase, TestCase, TransactionTestCase
from django.utils import timezone

import celerant
from celerant import EncodeError, NotSent, SettingError, chain, chord, group
from celerant.django.tasks import CelerantBackend, enqueue_many
from mysite.celerant import app
from shop.models import Order
from shop.tasks import (
    broken,
    careful,
    collect,
    connection_before,
    far,
    here,
    later,
    name_of,
    pack,
    told,
    where,
)

try:
    from django.tasks.exceptions import TaskResultDoesNotExist
    from django.tasks.signals import task_enqueued, task_finished, task_started
except ImportError:
    from django_tasks.exceptions import TaskResultDoesNotExist
    from django_tasks.signals import task_enqueued, task_finished, task_started

TIMEOUT = 20


class SettingsTest(SimpleTestCase):
    def test_the_namespaces_settings_are_read(self):
        self.assertEqual(
            app.conf.task_default_queue, settings.CELERY_TASK_DEFAULT_QUEUE
        )
        self.assertEqual(app.conf.result_expires, 600)
        self.assertEqual(app.conf.worker_concurrency, 2)

    def test_a_wrong_name_is_told_with_its_prefix(self):
        with (
            self.settings(CELERY_TASK_SERIALISER="json"),
            self.assertRaisesRegex(
                SettingError, "'CELERY_TASK_SERIALISER'.*'CELERY_TASK_SERIALIZER'"
            ),
        ):
            app.config_from_object("django.conf:settings", namespace="CELERY")

    def test_another_namespace_is_another_namespace(self):
        with self.settings(CELERANT_RESULT_EXPIRES=7, CELERY_RESULT_EXPIRES=8):
            other = celerant.Celerant("other")
            celerant.context.apps.set_current_app(app)
            other.config_from_object("django.conf:settings", namespace="CELERANT")
            self.assertEqual(other.conf.result_expires, 7)

    def test_the_entry_is_an_app_of_django(self):
        self.assertEqual(apps.get_app_config("celerant").name, "celerant.django")


class DiscoveryTest(SimpleTestCase):
    def test_tasks_are_found_when_a_worker_needs_them_and_not_before(self):
        program = (
            "import django, sys; django.setup()\n"
            "from mysite.celerant import app\n"
            "assert 'shop.tasks' not in sys.modules\n"
            "app.worker()\n"
            "assert 'shop.tasks.pack' in app.tasks, sorted(app.tasks)\n"
        )
        done = subprocess.run([sys.executable, "-c", program], check=False)
        self.assertEqual(done.returncode, 0)

    def test_a_worker_sets_django_up_by_itself(self):
        program = (
            "from mysite.celerant import app\n"
            "app.worker()\n"
            "assert 'shop.tasks.pack' in app.tasks, sorted(app.tasks)\n"
        )
        done = subprocess.run([sys.executable, "-c", program], check=False)
        self.assertEqual(done.returncode, 0)


class FrameworkTest(TransactionTestCase):
    """Django's own tasks."""

    def ended(self, result):
        app.AsyncResult(result.id).get(TIMEOUT, propagate=False)
        result.refresh()
        return result

    def test_a_task_runs_and_its_result_is_read(self):
        order = Order.objects.create(name="tea")
        result = name_of.enqueue(order.pk)
        self.assertEqual((result.status, result.args), ("READY", [order.pk]))
        self.assertIsNotNone(result.enqueued_at)
        with app.worker(concurrency=1) as worker:
            self.ended(result)
        self.assertEqual((result.status, result.return_value), ("SUCCESSFUL", "tea"))
        self.assertEqual(result.worker_ids, [worker.hostname])
        self.assertLessEqual(result.enqueued_at, result.started_at)
        self.assertLessEqual(result.started_at, result.finished_at)
        again = name_of.get_result(result.id)
        self.assertEqual(again.return_value, "tea")
        self.assertEqual(again.task, name_of)

    def test_many_leave_in_one_volley(self):
        sent = []
        with mock.patch.object(
            group, "apply_async", autospec=True, side_effect=group.apply_async
        ) as apply:
            results = enqueue_many(told, [("a",), {"word": "b", "times": 2}])
            sent.extend(apply.call_args_list)
        self.assertEqual(len(sent), 1)
        with app.worker(concurrency=1):
            found = [self.ended(result).return_value for result in results]
        self.assertEqual(found, [[results[0].id, 1, "a"], [results[1].id, 1, "bb"]])

    def test_a_failure_is_told(self):
        with app.worker(concurrency=1):
            result = self.ended(broken.enqueue())
        self.assertEqual(result.status, "FAILED")
        (error,) = result.errors
        self.assertIs(error.exception_class, LookupError)
        self.assertIn("nothing is there", error.traceback)

    def test_a_coroutine_runs_and_may_be_deferred(self):
        with app.worker(concurrency=1):
            result = self.ended(later.using(run_after=timezone.now()).enqueue("x"))
        self.assertEqual(result.return_value, "X")

    def test_a_queue_is_the_tasks_own(self):
        result = far.enqueue()
        with app.worker(concurrency=1, queues=["far"]):
            self.assertEqual(self.ended(result).return_value, "far")
        self.assertEqual(far.get_result(result.id).task.queue_name, "far")

    def test_a_task_leaves_at_the_commit(self):
        with app.worker(concurrency=1):
            with transaction.atomic():
                result = careful.enqueue("x")
                self.assertFalse(app.AsyncResult(result.id).ready())
            self.assertEqual(self.ended(result).return_value, "x")

    def test_a_task_does_not_leave_after_a_rollback(self):
        with self.assertRaises(ZeroDivisionError), transaction.atomic():
            result = careful.enqueue("x")
            1 / 0  # noqa: B018
        with app.worker(concurrency=1):
            self.ended(name_of.enqueue(0))
        result.refresh()
        self.assertEqual(result.status, "READY")

    def test_signals_are_sent(self):
        heard = []

        def hear(task_result, signal, **_):
            heard.append((task_result.id, task_result.status))

        for signal in (task_enqueued, task_started, task_finished):
            signal.connect(hear, sender=CelerantBackend)
            self.addCleanup(signal.disconnect, hear, sender=CelerantBackend)
        with app.worker(concurrency=1):
            result = self.ended(later.enqueue("x"))
        states = ["READY", "RUNNING", "SUCCESSFUL"]
        self.assertEqual(heard, [(result.id, state) for state in states])

    def test_an_unknown_result_is_told(self):
        with self.assertRaises(TaskResultDoesNotExist):
            later.get_result("of nobody")

    def test_wrong_arguments_and_options_are_refused(self):
        with self.assertRaises(TypeError):
            later.enqueue(object())
        with self.assertRaisesRegex(SettingError, "has no 'ap'"):
            CelerantBackend("other", {"OPTIONS": {"ap": "x"}})
        with self.assertRaisesRegex(SettingError, "is no CelerantBackend"):
            enqueue_many(here, [()])

    def test_workers_know_the_tasks_by_their_names(self):
        self.assertIn("shop.tasks.name_of", app.tasks)


class ConnectionTest(TransactionTestCase):
    def test_a_task_finds_no_connection_of_the_one_before(self):
        with app.worker(concurrency=1):
            found = [connection_before.delay().get(TIMEOUT) for _ in range(2)]
        self.assertEqual(found, [False, False])

    def test_a_task_in_place_runs_on_its_callers_connection(self):
        with transaction.atomic():
            Order.objects.create(name="uncommitted")
            self.assertEqual(connection_before.apply().get(), True)
            self.assertEqual(Order.objects.count(), 1)
        self.assertEqual(Order.objects.count(), 1)

    def test_children_of_the_process_pool_have_django(self):
        Order.objects.create(name="one")
        # Children open the database that the settings name: let it be the tests' own.
        database = {"MYSITE_DATABASE": str(connection.settings_dict["NAME"])}
        with (
            mock.patch.dict(os.environ, database),
            app.worker(concurrency=1, pool="processes"),
        ):
            pid, name, count = where.delay().get(TIMEOUT)
        self.assertNotEqual(pid, os.getpid())
        self.assertEqual((name, count), ("shop.tasks.where", 1))


class CommitTest(TransactionTestCase):
    def test_a_task_is_sent_at_commit_and_sees_the_committed_row(self):
        with app.worker():
            with transaction.atomic():
                order = Order.objects.create(name="tea")
                result = pack.delay_on_commit(order.pk)
                self.assertFalse(result.ready())
            self.assertEqual(result.get(TIMEOUT), "tea")
        order.refresh_from_db()
        self.assertTrue(order.is_packed)

    def test_a_group_has_its_ids_at_once_and_is_sent_at_commit(self):
        with app.worker():
            with transaction.atomic():
                orders = [Order.objects.create(name=str(i)) for i in range(5)]
                members = group(pack.s(order.pk) for order in orders)
                result = members.apply_async_on_commit()
                ids = [member.id for member in result]
                self.assertEqual(result.completed_count(), 0)
                self.assertFalse(result.ready())
            self.assertEqual(result.get(TIMEOUT), ["0", "1", "2", "3", "4"])
        self.assertEqual([member.id for member in result], ids)
        self.assertEqual(Order.objects.filter(is_packed=True).count(), 5)

    def test_a_chain_and_a_chord_have_their_results_at_once(self):
        with app.worker():
            with transaction.atomic():
                orders = [Order.objects.create(name=str(i)) for i in range(3)]
                tasks = [pack.si(order.pk) for order in orders]
                line = chain(tasks).apply_async_on_commit()
                whole = chord(tasks[:2], collect.s()).apply_async_on_commit()
                ids = [line.id, line.parent.id, whole.id]
                self.assertFalse(line.ready() or line.parent.ready() or whole.ready())
                with self.assertRaisesRegex(RuntimeError, "inside the transaction"):
                    line.parent.get(TIMEOUT)
                with self.assertRaisesRegex(RuntimeError, "inside the transaction"):
                    whole.get(TIMEOUT)
            self.assertEqual(line.get(TIMEOUT), "2")
            self.assertEqual(line.parent.get(TIMEOUT), "1")
            self.assertEqual(whole.get(TIMEOUT), ["0", "1"])
            self.assertEqual(whole.parent.get(TIMEOUT), ["0", "1"])
        self.assertEqual([line.id, line.parent.id, whole.id], ids)

    def test_a_chain_and_a_chord_of_a_rollback_say_so(self):
        with self.assertRaises(ZeroDivisionError), transaction.atomic():
            line = chain(pack.si(1), pack.si(2)).apply_async_on_commit()
            whole = chord([pack.si(1)], collect.s()).apply_async_on_commit()
            raise ZeroDivisionError
        for result in (line, line.parent, whole, whole.parent):
            with self.assertRaisesRegex(NotSent, "rolled back"):
                result.get(TIMEOUT)

    def test_the_same_group_sent_twice_has_other_ids(self):
        with app.worker():
            with transaction.atomic():
                order = Order.objects.create(name="tea")
                members = group([pack.s(order.pk)])
                first = members.apply_async_on_commit()
                second = members.apply_async_on_commit()
            self.assertEqual(first.get(TIMEOUT) + second.get(TIMEOUT), ["tea", "tea"])
        self.assertNotEqual(first[0].id, second[0].id)
        self.assertNotEqual(first.id, second.id)

    def test_after_a_rollback_nothing_was_sent_and_the_result_says_so(self):
        with app.worker():
            with self.assertRaises(ZeroDivisionError), transaction.atomic():
                order = Order.objects.create(name="tea")
                one = pack.delay_on_commit(order.pk)
                many = group([pack.s(order.pk)] * 3).apply_async_on_commit()
                raise ZeroDivisionError
            for result in (one, many, many[1]):
                self.assertTrue(result.ready())
                self.assertTrue(result.failed())
                with self.assertRaisesRegex(NotSent, "rolled back"):
                    result.get(TIMEOUT)
            self.assertEqual(many.counts()["NOT_SENT"], 3)
        with app.connection_for_read() as broker:
            queue = broker.SimpleQueue(app.conf.task_default_queue)
            self.assertEqual(queue.qsize(), 0)
            queue.close()

    def test_a_savepoint_that_is_rolled_back_sends_nothing_and_the_rest_is_sent(self):
        with app.worker():
            with transaction.atomic():
                order = Order.objects.create(name="tea")
                outer = pack.delay_on_commit(order.pk)
                with self.assertRaises(ZeroDivisionError), transaction.atomic():
                    inner = pack.delay_on_commit(order.pk)
                    raise ZeroDivisionError
            self.assertEqual(outer.get(TIMEOUT), "tea")
            with self.assertRaises(NotSent):
                inner.get(TIMEOUT)

    def test_a_task_outside_of_a_transaction_is_sent_at_once(self):
        order = Order.objects.create(name="tea")
        with app.worker():
            self.assertEqual(pack.delay_on_commit(order.pk).get(TIMEOUT), "tea")
            result = group([pack.s(order.pk)]).apply_async_on_commit()
            self.assertEqual(result.get(TIMEOUT), ["tea"])

    def test_waiting_inside_the_transaction_is_refused(self):
        with app.worker():
            with transaction.atomic():
                order = Order.objects.create(name="tea")
                result = group([pack.s(order.pk)]).apply_async_on_commit()
                with self.assertRaisesRegex(RuntimeError, "inside the transaction"):
                    result.get(TIMEOUT)
                with self.assertRaisesRegex(RuntimeError, "inside the transaction"):
                    result[0].get(TIMEOUT)
            self.assertEqual(result.get(TIMEOUT), ["tea"])

    def test_another_thread_may_wait_meanwhile(self):
        found = []
        with app.worker():
            with transaction.atomic():
                order = Order.objects.create(name="tea")
                result = group([pack.s(order.pk)] * 20).apply_async_on_commit()
                waiter = threading.Thread(
                    target=lambda: found.append(result.get()), daemon=True
                )
                waiter.start()
                while not result.members.waiters:
                    pass
            waiter.join(TIMEOUT)
        self.assertEqual(found, [["tea"] * 20])

    def test_another_thread_that_waits_is_told_of_a_rollback(self):
        found = []

        def wait():
            # Without a timeout, at whose end it would look once more.
            try:
                result.get()
            except NotSent as exc:
                found.append(exc)

        with self.assertRaises(ZeroDivisionError), transaction.atomic():
            result = pack.delay_on_commit(1)
            waiter = threading.Thread(target=wait, daemon=True)
            waiter.start()
            while not result.members.waiters:
                pass
            raise ZeroDivisionError
        waiter.join(TIMEOUT)
        self.assertEqual(len(found), 1)

    def test_wrong_options_and_arguments_are_refused_before_the_commit(self):
        with transaction.atomic():
            with self.assertRaises(TypeError):
                group([pack.s(1), pack.s(1, 2, 3)]).apply_async_on_commit()
            with self.assertRaises(SettingError):
                pack.apply_async_on_commit((1,), countdwn=3)
            with self.assertRaises(TypeError):
                pack.delay_on_commit()
            self.assertEqual(connection.run_on_commit, [])

    def test_a_failure_at_the_commit_is_raised_there_and_by_the_result(self):
        with self.assertRaises(EncodeError), transaction.atomic():
            result = group([pack.s(1), pack.s(object())]).apply_async_on_commit()
        with self.assertRaisesRegex(NotSent, "EncodeError"):
            result.get(TIMEOUT)

    def test_eager_tasks_run_at_the_commit(self):
        app.conf.task_always_eager = True
        self.addCleanup(app.conf.update, task_always_eager=False)
        with transaction.atomic():
            order = Order.objects.create(name="tea")
            result = group([pack.s(order.pk)] * 2).apply_async_on_commit()
            one = pack.delay_on_commit(order.pk)
            self.assertFalse(result.ready())
            order.refresh_from_db()
            self.assertFalse(order.is_packed)
        self.assertEqual(result.get(), ["tea", "tea"])
        self.assertEqual(one.get(), "tea")

    def test_a_task_whose_result_is_ignored_waits_for_nobody(self):
        order = Order.objects.create(name="tea")
        with app.worker():
            with transaction.atomic():
                result = pack.apply_async_on_commit((order.pk,), ignore_result=True)
            self.assertIsNone(result.get(TIMEOUT))
            # Behind it in the queue.
            self.assertEqual(pack.delay(order.pk).get(TIMEOUT), "tea")

    def test_results_of_a_connection_that_is_lost_are_told_too(self):
        kept = []

        def leave():
            transaction.set_autocommit(False)
            connection.in_atomic_block = True
            kept.append(pack.delay_on_commit(1))

        thread = threading.Thread(target=leave)
        thread.start()
        thread.join()
        gc.collect()
        with self.assertRaises(NotSent):
            kept[0].get(TIMEOUT)


class TestCaseTest(TestCase):
    """Inside Django's `TestCase`, whose transaction is never committed."""

    def test_captured_callbacks_are_sent(self):
        with app.worker():
            with self.captureOnCommitCallbacks(execute=True) as callbacks:
                result = where.delay_on_commit()
                self.assertEqual(callbacks, [])
            self.assertEqual(len(callbacks), 1)
            self.assertEqual(result.get(TIMEOUT)[1], "shop.tasks.where")
