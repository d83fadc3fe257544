"""The same app for stock workers: ``celery -A mysite.cluster worker``."""

from mysite.celerant import app as mysite

app = mysite.to_celery()
