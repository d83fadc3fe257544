"""The tasks. They know storage names alone, so that any machine can run them.

A worker may run a task twice, so each writes to a name that follows from its
arguments and replaces what is there.
"""

from __future__ import annotations

import io
from pathlib import PurePosixPath

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from PIL import Image, ImageDraw, ImageFont, ImageOps

from celerant import shared_task

_QUALITY = 90


@shared_task
def resize_image(name: str, longest: int = 320) -> str:
    """Store a copy whose longer side has at most `longest` pixels; return its name."""
    image, kind = _load(name)
    image.thumbnail((longest, longest))
    return _store(image, kind, name, f"resized-{longest}")


@shared_task
def apply_watermark(name: str, text: str = "celerant") -> str:
    """Store a copy with `text` in its lower right corner; return its name."""
    image, kind = _load(name)
    marked = image.convert("RGBA")
    layer = Image.new("RGBA", marked.size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    size = max(10, min(marked.size) // 10)
    draw.text(
        (marked.width - size // 2, marked.height - size // 2),
        text,
        font=ImageFont.load_default(size),
        anchor="rs",
        fill=(255, 255, 255, 200),
        stroke_width=max(1, size // 16),
        stroke_fill=(0, 0, 0, 200),
    )
    marked = Image.alpha_composite(marked, layer)
    return _store(marked, kind, name, "watermarked")


@shared_task
def convert_to_grayscale(name: str) -> str:
    """Store a copy without colours; return its name."""
    image, kind = _load(name)
    gray = image.convert("LA" if image.has_transparency_data else "L")
    return _store(gray, kind, name, "grayscale")


def _load(name: str) -> tuple[Image.Image, str]:
    with default_storage.open(name) as file, Image.open(file) as image:
        kind = image.format or "PNG"
        # As a viewer shows it: copies have no EXIF to say how to turn them.
        upright = ImageOps.exif_transpose(image)
        upright.load()
        return upright, kind


def _store(image: Image.Image, kind: str, name: str, variant: str) -> str:
    if kind == "JPEG" and image.mode not in {"L", "RGB"}:
        image = image.convert("RGB")
    packed = io.BytesIO()
    image.save(packed, kind, quality=_QUALITY)
    origin = PurePosixPath(name)
    wanted = f"variants/{origin.parent}/{origin.stem}-{variant}{origin.suffix}"
    default_storage.delete(wanted)
    return default_storage.save(wanted, ContentFile(packed.getvalue()))
