"""Settings under Celery's lower-case names."""

from celerant.config.names import canonical, nearest, suggestion, unknown_setting
from celerant.config.settings import Settings
from celerant.config.table import CELERY, SETTINGS

__all__ = [
    "CELERY",
    "SETTINGS",
    "Settings",
    "canonical",
    "nearest",
    "suggestion",
    "unknown_setting",
]
