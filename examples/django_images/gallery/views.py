"""The pages: the upload, and its progress."""

from __future__ import annotations

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from gallery import work
from gallery.forms import UploadForm
from gallery.models import Upload

_SHOWN = 12


@require_http_methods(["GET", "POST"])
def index(request: HttpRequest) -> HttpResponse:
    """Show the form and the latest uploads; take an upload and go to its page."""
    form = UploadForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        # No worker sees an upload that is not stored, and none is stored unsent.
        with transaction.atomic():
            upload = form.save()
            work.begin(upload)
        return redirect("detail", upload.pk)
    uploads = Upload.objects.order_by("-pk")[:_SHOWN]
    status = 422 if form.errors else 200
    context = {"form": form, "uploads": uploads}
    return render(request, "gallery/index.html", context, status=status)


@require_GET
@never_cache
def detail(request: HttpRequest, pk: int) -> HttpResponse:
    """Show an upload and its variants; the page keeps itself up to date."""
    upload = get_object_or_404(Upload, pk=pk)
    progress = work.progress(upload)
    token = "" if progress["ready"] else work.token(upload)
    context = {"upload": upload, "progress": progress, "token": token}
    return render(request, "gallery/detail.html", context)
