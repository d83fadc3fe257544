"""The group of an upload: sent at commit, followed by its handle."""

from __future__ import annotations

from typing import Any

from django.core.files.storage import default_storage

from celerant import AsyncResult, CelerantError, GroupResult, group
from celerant.django.progress import sign
from gallery.models import Upload
from gallery.tasks import apply_watermark, convert_to_grayscale, resize_image
from imagesite.celerant import app, ensure_worker, is_alone

#: What is made of an image, in the order of the group's members.
VARIANTS = ("Resized", "Watermarked", "Grayscale")

#: Without a broker: results by the upload's key, until this process ends.
_results: dict[int, GroupResult[str]] = {}


def begin(upload: Upload) -> None:
    """Have the variants made once the transaction that stores `upload` is committed."""
    ensure_worker()
    name = upload.original.name
    result = group(
        resize_image.s(name),
        apply_watermark.s(name),
        convert_to_grayscale.s(name),
    ).apply_async_on_commit()
    if is_alone():
        _results[upload.pk] = result
    else:
        upload.handle = result.handle
        upload.save(update_fields=["handle"])


def progress(upload: Upload) -> dict[str, Any]:
    """Return how far it is, as the page shows it.

    Shape: `variants` in the order of `VARIANTS`, each with `label`, `state` (Celery's
    names) and `url`, which is empty for what is not there.
    """
    if upload.outcomes:
        return _told(upload.outcomes)
    result = _find(upload)
    if result is None:
        return _told([_variant(label, "LOST") for label in VARIANTS])
    told = _told(
        [
            _variant(label, member.state, member)
            for label, member in zip(VARIANTS, result, strict=True)
        ]
    )
    if told["ready"]:
        # Results expire, so their values are kept here.
        upload.outcomes = told["variants"]
        upload.save(update_fields=["outcomes"])
        _results.pop(upload.pk, None)
    return {**told, "completed": result.completed_count(), "total": len(result)}


def token(upload: Upload) -> str:
    """Return what lets the page follow the group; empty if there is none any more."""
    result = _find(upload)
    return "" if result is None else sign(result)


def _find(upload: Upload) -> GroupResult[str] | None:
    if not upload.handle:
        return _results.get(upload.pk)
    try:
        return app.attach(upload.handle)
    except CelerantError:
        return None


def _variant(
    label: str, state: str, member: AsyncResult[str] | None = None
) -> dict[str, str]:
    is_there = member is not None and state == "SUCCESS"
    url = default_storage.url(member.result) if is_there else ""
    return {"label": label, "state": state, "url": url}


def _told(variants: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "completed": sum(variant["state"] == "SUCCESS" for variant in variants),
        "total": len(variants),
        "ready": not any(v["state"] in {"PENDING", "STARTED"} for v in variants),
        "variants": variants,
    }
