"""URLs for a Django project: ``path("celerant/", include("celerant.django.urls"))``."""

from __future__ import annotations

from django.urls import path

from celerant.django.progress import progress

__all__ = ["app_name", "urlpatterns"]

app_name = "celerant"
urlpatterns = [path("progress/<str:token>/", progress, name="progress")]
