"""The tables in ``docs/options.md``, made from those in the code.

Run: ``python tests/harness/options_page.py``; it rewrites the tables.
"""

from __future__ import annotations

from pathlib import Path

from celerant.canvas.send_options import OPTIONS as SEND_OPTIONS
from celerant.tasks.options import DECORATOR, HOOKS, OPTIONS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "options.md"
#: The text above it is written by hand.
_MARK = "## Of the decorator itself\n\n"


def page() -> str:
    """Return the page as it is to be."""
    lines = [PAGE.read_text().partition(_MARK)[0] + _MARK]
    lines += ["| argument | what it does |\n|---|---|"]
    lines += [f"| `{name}` | {text} |" for name, text in sorted(DECORATOR.items())]
    lines += ["\n## Of tasks\n"]
    lines += ["| option | here | value | default | remark |\n|---|---|---|---|---|"]
    for name, option in sorted(OPTIONS.items()):
        default = f"`{option.default!r}`"
        if option.setting is not None:
            default = f"the setting `{option.setting}`"
        lines.append(
            f"| `{name}` | {option.treatment} | {option.values.words} | {default} | "
            f"{option.remark} |"
        )
    lines += ["\n## Hooks of tasks\n", "| method | what it does |\n|---|---|"]
    lines += [f"| `{name}` | {text} |" for name, text in sorted(HOOKS.items())]
    lines += ["\n## Of a call\n"]
    lines += ["| option | here | value | remark |\n|---|---|---|---|"]
    for name, sent in sorted(SEND_OPTIONS.items(), key=lambda item: item[0].lower()):
        words = sent.values.words.partition("; ")[0]
        lines.append(f"| `{name}` | {sent.treatment} | {words} | {sent.remark} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
