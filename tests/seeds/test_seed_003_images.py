"""Seed 003, "Task grouping with Django": its code, without Django.

`examples/django_images` is the same as a Django project, with images.
"""

from __future__ import annotations

import threading
import time

import pytest

from celerant import group, shared_task
from celerant.context import apps


@pytest.fixture
def slept(monkeypatch):
    """Shorten the pauses of the seed's tasks; return how long they were to be."""
    asked = []
    real_sleep = time.sleep
    lock = threading.Lock()

    def shorter(seconds):
        if seconds >= 1:
            with lock:
                asked.append(seconds)
            seconds /= 100
        real_sleep(seconds)

    monkeypatch.setattr(time, "sleep", shorter)
    return asked


@pytest.fixture
def my_app(myapp, slept, monkeypatch):
    # These tasks are for this test's app alone.
    monkeypatch.setattr(apps, "_shared", {})

    @shared_task
    def resize_image(image_path):
        time.sleep(2)  # Simulating processing time
        return f"Resized {image_path}"

    @shared_task
    def apply_watermark(image_path):
        time.sleep(3)  # Simulating processing time
        return f"Applied watermark to {image_path}"

    @shared_task
    def convert_to_grayscale(image_path):
        time.sleep(1)  # Simulating processing time
        return f"Converted {image_path} to grayscale"

    return resize_image, apply_watermark, convert_to_grayscale


def test_process_image(my_app, slept):
    resize_image, apply_watermark, convert_to_grayscale = my_app

    def process_image(image_path):
        job = group(
            resize_image.s(image_path),
            apply_watermark.s(image_path),
            convert_to_grayscale.s(image_path),
        )

        result = job.apply_async()  # Execute all tasks in parallel
        return result.get()  # Wait for all tasks to complete and return results

    results = process_image("user_uploads/image1.jpg")

    assert results == [
        "Resized user_uploads/image1.jpg",
        "Applied watermark to user_uploads/image1.jpg",
        "Converted user_uploads/image1.jpg to grayscale",
    ]
    assert sorted(slept) == [1, 2, 3]
