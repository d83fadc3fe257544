"""Settings under Celery's lower-case names."""

from celerant.config.names import canonical, nearest, suggestion, unknown_setting
from celerant.config.settings import Settings
from celerant.config.table import SETTINGS

__all__ = [
    "SETTINGS",
    "Settings",
    "canonical",
    "nearest",
    "suggestion",
    "unknown_setting",
]
