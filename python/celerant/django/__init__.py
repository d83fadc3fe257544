"""Celerant inside Django: ``INSTALLED_APPS = ["celerant.django", ...]``.

Tasks that workers run find fresh database connections and leave none open. Discovery
(``app.autodiscover_tasks()``) and sending at commit (``task.delay_on_commit``,
``group.apply_async_on_commit``) need Django, but not this entry.
"""
