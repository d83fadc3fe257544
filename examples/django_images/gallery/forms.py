"""What may be uploaded."""

from __future__ import annotations

from django import forms
from django.core.exceptions import ValidationError

from gallery.models import Upload

MOST_BYTES = 10 * 1024 * 1024


class UploadForm(forms.ModelForm):
    """One image file."""

    class Meta:
        model = Upload
        fields = ["original"]
        labels = {"original": "Image"}
        help_texts = {"original": "JPEG, PNG or WebP, at most 10 MB."}
        widgets = {
            "original": forms.FileInput(
                attrs={"accept": "image/jpeg,image/png,image/webp"}
            )
        }

    def clean_original(self):
        original = self.cleaned_data["original"]
        if original.size > MOST_BYTES:
            raise ValidationError("The file is larger than 10 MB.")
        # By content: Django has opened it to see that it is an image.
        if original.image.format not in {"JPEG", "PNG", "WEBP"}:
            raise ValidationError("The file is no JPEG, PNG or WebP image.")
        return original
