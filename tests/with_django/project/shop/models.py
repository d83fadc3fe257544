from __future__ import annotations

from django.db import models


class Order(models.Model):
    name = models.CharField(max_length=40)
    is_packed = models.BooleanField(default=False)

    class Meta:
        # Without migrations: tables are made from the models.
        app_label = "shop"

    def __str__(self):
        return self.name
