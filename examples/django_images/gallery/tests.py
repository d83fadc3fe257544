"""Real image files through the pages and the worker."""

from __future__ import annotations

import io
import tempfile
import time
from contextlib import ExitStack
from html.parser import HTMLParser
from unittest import mock, skipUnless

from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import TransactionTestCase, override_settings
from django.urls import reverse
from PIL import Image, ImageChops

from gallery import work
from gallery.models import Upload
from imagesite.celerant import app, is_alone

TIMEOUT = 20
SIZE = (640, 480)


def image_file(kind: str, mode: str = "RGB") -> SimpleUploadedFile:
    """Return a file with a gradient in colours, half of it see-through if it can be."""
    image = Image.merge(
        "RGB",
        [
            Image.linear_gradient("L").resize(SIZE),
            Image.linear_gradient("L").rotate(90).resize(SIZE),
            Image.radial_gradient("L").resize(SIZE),
        ],
    )
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(SIZE))
    packed = io.BytesIO()
    image.save(packed, kind)
    suffix = "jpg" if kind == "JPEG" else kind.lower()
    return SimpleUploadedFile(f"gradient.{suffix}", packed.getvalue())


class StorageTest(TransactionTestCase):
    def setUp(self):
        self.entered = ExitStack()
        self.addCleanup(self.entered.close)
        media = self.entered.enter_context(tempfile.TemporaryDirectory())
        self.entered.enter_context(override_settings(MEDIA_ROOT=media))
        # Each test starts its own worker, or none.
        self.entered.enter_context(mock.patch("gallery.work.ensure_worker"))


class TransactionTest(StorageTest):
    def test_an_upload_that_is_not_stored_is_not_worked_on(self):
        begin = work.begin

        def fail(upload):
            begin(upload)
            raise OSError

        with mock.patch("gallery.work.begin", fail), self.assertRaises(OSError):
            self.client.post(reverse("index"), {"original": image_file("PNG")})

        self.assertEqual(Upload.objects.count(), 0)
        with app.connection_for_read() as broker:
            queue = broker.SimpleQueue(app.conf.task_default_queue)
            self.addCleanup(queue.close)
            with self.assertRaises(queue.Empty):
                queue.get(block=False)


class PageTest(StorageTest):
    def setUp(self):
        super().setUp()
        self.entered.enter_context(app.worker(concurrency=3))

    def upload(self, file):
        """Upload a file and return the stored image."""
        response = self.client.post(reverse("index"), {"original": file})
        upload = Upload.objects.get()
        self.assertRedirects(
            response, reverse("detail", args=[upload.pk]), fetch_redirect_response=False
        )
        return upload

    def follow(self, upload):
        """Ask for the progress as the page does, until all is done; return that."""
        url = reverse("celerant:progress", args=[work.token(upload)])
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            told = self.client.get(url).json()
            self.assertEqual(told["total"], 3)
            if told["ready"]:
                return work.progress(upload)
        return self.fail(f"not done after {TIMEOUT} s: {told}")

    def opened(self, variant):
        name = variant["url"].removeprefix(default_storage.base_url)
        with default_storage.open(name) as file:
            image = Image.open(file)
            image.load()
            return image


class UploadTest(PageTest):
    def test_a_jpeg_becomes_three_files_in_order(self):
        upload = self.upload(image_file("JPEG"))

        told = self.follow(upload)

        self.assertEqual(told["completed"], 3)
        labels = [variant["label"] for variant in told["variants"]]
        self.assertEqual(labels, ["Resized", "Watermarked", "Grayscale"])
        with default_storage.open(upload.original.name) as file:
            original = Image.open(file).convert("RGB")
        resized, marked, gray = map(self.opened, told["variants"])
        self.assertEqual({i.format for i in (resized, marked, gray)}, {"JPEG"})
        self.assertEqual(resized.size, (320, 240))
        self.assertEqual((marked.size, marked.mode), (SIZE, "RGB"))
        self.assertEqual((gray.size, gray.mode), (SIZE, "L"))
        # The mark is in the lower right corner, and nowhere else.
        change = ImageChops.difference(original, marked).convert("L")
        corner = (SIZE[0] // 2, SIZE[1] * 3 // 4, *SIZE)
        self.assertGreater(change.crop(corner).getextrema()[1], 100)
        elsewhere = change.crop((0, 0, SIZE[0], SIZE[1] // 2))
        self.assertLess(elsewhere.getextrema()[1], 40)

    def test_a_png_keeps_what_is_see_through(self):
        upload = self.upload(image_file("PNG", "RGBA"))

        told = self.follow(upload)

        modes = [self.opened(variant).mode for variant in told["variants"]]
        self.assertEqual(modes, ["RGBA", "RGBA", "LA"])

    def test_a_photograph_is_turned_as_its_camera_says(self):
        turned = Image.new("RGB", (40, 20), "red")
        exif = Image.Exif()
        exif[0x0112] = 6  # Orientation: a quarter to the right
        packed = io.BytesIO()
        turned.save(packed, "JPEG", exif=exif)

        told = self.follow(
            self.upload(SimpleUploadedFile("turned.jpg", packed.getvalue()))
        )

        self.assertEqual(self.opened(told["variants"][0]).size, (20, 40))

    def test_the_page_shows_the_variants_once_they_are_done(self):
        upload = self.upload(image_file("PNG"))
        told = self.follow(upload)

        page = self.client.get(reverse("detail", args=[upload.pk]))

        for variant in told["variants"]:
            tag = f'<img src="{variant["url"]}" alt="{variant["label"]}">'
            self.assertContains(page, tag, html=True)
        self.assertNotContains(page, "celerant-progress")

    def test_what_was_done_is_known_after_its_results_are_gone(self):
        upload = self.upload(image_file("PNG"))
        told = self.follow(upload)

        with mock.patch("gallery.work._find", return_value=None):
            again = work.progress(upload)

        self.assertEqual(again, told)

    def test_a_broken_image_fails_and_the_page_says_so(self):
        whole = image_file("JPEG").read()
        upload = self.upload(SimpleUploadedFile("cut.jpg", whole[: len(whole) // 2]))

        told = self.follow(upload)

        self.assertEqual(told["completed"], 0)
        self.assertEqual({v["state"] for v in told["variants"]}, {"FAILURE"})
        page = self.client.get(reverse("detail", args=[upload.pk]))
        self.assertContains(page, '<p class="error">Failed</p>', count=3, html=True)

    def test_what_is_no_image_is_refused(self):
        for file in (
            SimpleUploadedFile("note.png", b"not an image"),
            SimpleUploadedFile("empty.png", b""),
            image_file("GIF"),
        ):
            with self.subTest(file.name):
                page = self.client.post(reverse("index"), {"original": file})
                self.assertContains(page, "errorlist", status_code=422)
        self.assertEqual(Upload.objects.count(), 0)

    def test_a_file_that_is_too_large_is_refused(self):
        with mock.patch("gallery.forms.MOST_BYTES", 100):
            page = self.client.post(reverse("index"), {"original": image_file("PNG")})
        self.assertContains(page, "larger than 10 MB", status_code=422)

    def test_what_is_not_there_is_not_found(self):
        for url in (
            reverse("detail", args=[9]),
            reverse("celerant:progress", args=["none"]),
        ):
            self.assertEqual(self.client.get(url).status_code, 404)

    @skipUnless(is_alone(), "a broker keeps results over a restart")
    def test_after_a_restart_without_a_broker_the_page_says_that_it_does_not_know(self):
        upload = Upload.objects.create(original=image_file("PNG"))

        page = self.client.get(reverse("detail", args=[upload.pk]))

        self.assertContains(page, "restarted", count=3)


class AccessibilityTest(PageTest):
    def test_pages_can_be_used_without_seeing_them(self):
        upload = self.upload(image_file("PNG"))
        self.follow(upload)
        for page in (reverse("index"), reverse("detail", args=[upload.pk])):
            with self.subTest(page):
                found = _Page(self.client.get(page).content.decode())
                self.assertEqual(found.language, "en")
                self.assertEqual(found.headings[0], "h1")
                self.assertEqual(found.headings.count("h1"), 1)
                self.assertEqual(found.unlabelled, set())
                self.assertEqual(found.without_alt, 0)
                self.assertEqual(found.elsewhere, [])

    def test_the_page_of_one_in_work_follows_it(self):
        upload = self.upload(image_file("PNG"))
        told = {
            "completed": 1,
            "total": 3,
            "ready": False,
            "variants": [{"label": "Resized", "state": "PENDING", "url": ""}],
        }
        with mock.patch("gallery.work.progress", return_value=told):
            page = self.client.get(reverse("detail", args=[upload.pk]))
        url = page.content.decode().partition('<celerant-progress src="')[2]
        followed = self.client.get(url.partition('"')[0])
        self.assertEqual(followed.json()["total"], 3)
        self.assertContains(page, "celerant/celerant-progress.js")
        self.assertContains(page, 'aria-labelledby="variants"')
        self.assertContains(page, "<noscript>")


class _Page(HTMLParser):
    """Texts and roles for users who do not see the page."""

    def __init__(self, text):
        super().__init__()
        self.language = None
        self.headings = []
        self.without_alt = 0
        self.elsewhere = []
        self._labels, self._fields = set(), set()
        self.feed(text)

    @property
    def unlabelled(self):
        return self._fields - self._labels

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag == "html":
            self.language = values.get("lang")
        if tag in {"h1", "h2", "h3"}:
            self.headings.append(tag)
        if tag == "img" and not values.get("alt"):
            self.without_alt += 1
        if tag == "label":
            self._labels.add(values.get("for"))
        if tag == "input" and values.get("type") != "hidden":
            self._fields.add(values.get("id"))
        for name in ("src", "href"):
            if values.get(name, "").startswith(("http", "//")):
                self.elsewhere.append(values[name])
