"""The table in ``docs/settings.md``, made from the one in the code.

Run: ``python tests/harness/settings_page.py``; it rewrites the table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from celerant.config import SETTINGS
from celerant.config.setting_values import ANY
from celerant.config.table import CELERY

PAGE = Path(__file__).resolve().parents[2] / "docs" / "settings.md"
#: Defaults that depend on another setting.
_DEPENDING = {
    "broker_read_url": "`broker_url`",
    "broker_url": "`memory://`",
    "broker_write_url": "`broker_url`",
    "result_backend": "what the broker is",
    "task_default_exchange": "`task_default_queue`",
    "task_default_queue": "`celery`; on `memory://` the app's name",
    "task_default_routing_key": "`task_default_queue`",
}
_LONGEST = 40
#: The text above it is written by hand.
_MARK = "## All settings\n\n"


def page() -> str:
    """Return the page as it is to be."""
    above = PAGE.read_text().partition(_MARK)[0]
    lines = [
        f"{above}{_MARK}| setting | value | default | read by |",
        "|---|---|---|---|",
    ]
    for name, setting in sorted(SETTINGS.items()):
        own = " (Celerant's own)" if setting.is_own else ""
        said = setting.values.words
        if setting.values is ANY:
            said = ""
        elif setting.values.takes_none and setting.default is not None:
            said = f"{said}, or None"
        default = _DEPENDING.get(name) or _shown(setting.default)
        reader = "Celery" if setting.reader == CELERY else setting.reader
        lines.append(f"| `{name}`{own} | {said} | {default} | {reader} |")
    return "\n".join(lines) + "\n"


def _shown(default: Any) -> str:
    text = repr(default)
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST - 3]}..."
    return f"`{text}`"


if __name__ == "__main__":
    PAGE.write_text(page())
