"""The same app for stock workers: ``celery -A imagesite.celery worker``."""

from imagesite.celerant import app as imagesite

app = imagesite.to_celery()
