"""What the site remembers of an upload."""

from __future__ import annotations

from django.db import models


class Upload(models.Model):
    """An image, and the variants that its tasks made."""

    original = models.ImageField(upload_to="originals/%Y/%m/")
    created = models.DateTimeField(auto_now_add=True)
    #: Finds the group's results from any process, while there are any.
    handle = models.CharField(max_length=200, blank=True)
    #: How each variant ended, in the order of `gallery.work.VARIANTS`; empty until all
    #: have.
    outcomes = models.JSONField(default=list, blank=True)

    def __str__(self) -> str:
        return self.original.name
