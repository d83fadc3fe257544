"""Where the pages are."""

from __future__ import annotations

from django.conf import settings
from django.conf.urls.static import static
from django.urls import include, path

urlpatterns = [
    path("", include("gallery.urls")),
    path("celerant/", include("celerant.django.urls")),
    *static(settings.MEDIA_URL, document_root=settings.MEDIA_ROOT),
]
