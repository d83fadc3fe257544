"""Where the gallery's pages are."""

from __future__ import annotations

from django.urls import path

from gallery import views

urlpatterns = [
    path("", views.index, name="index"),
    path("<int:pk>/", views.detail, name="detail"),
]
