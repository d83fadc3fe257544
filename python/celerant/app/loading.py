"""Loading an app by the name in a command line or a setting."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from celerant.errors import CelerantError

if TYPE_CHECKING:
    from celerant.app.app import Celerant

__all__ = ["as_app", "load_app", "named"]


def load_app(path: str, option: str = "-A ") -> Celerant:
    """Return the app that ``module:attribute`` names; the attribute may be dotted.

    Args:
        path: Its name.
        option: The option's name, for errors.

    Raises:
        CelerantError: There is no such module or attribute, or it is no app.
    """
    found, attribute = named(path, option, "app")
    return as_app(found, attribute, f"{option}{path}")


def as_app(found: Any, attribute: str, given: str) -> Celerant:
    """Return an object that must be an app.

    Args:
        found: The object.
        attribute: Its name.
        given: What the user has written, for errors.

    Raises:
        CelerantError: It is no app.
    """
    from celerant.app.app import Celerant  # noqa: PLC0415 - heavy

    if isinstance(found, Celerant):
        return found
    cls = f"{type(found).__module__}.{type(found).__qualname__}"
    hint = "; start it with celery -A" if cls.startswith("celery.") else ""
    msg = f"{given}: {attribute!r} is no Celerant app but a {cls}{hint}"
    raise CelerantError(msg)


def named(path: str, option: str, default: str) -> tuple[Any, str]:
    """Return the object that ``module:attribute`` names, and the attribute.

    Args:
        path: The name.
        option: The option's name, for errors.
        default: The attribute if the name has none.

    Raises:
        CelerantError: There is no such module or attribute.
    """
    module_name, _, attribute = path.partition(":")
    attribute = attribute or default
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as exc:
        msg = (
            f"{option}{path}: cannot import module {module_name!r} "
            f"({type(exc).__name__}: {exc}); give module:attribute as seen from here"
        )
        raise CelerantError(msg) from exc
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as exc:
            msg = (
                f"{option}{path}: module {module_name!r} has no {attribute!r}; name "
                f"the variable that holds the {default}, like {module_name}:{default}"
            )
            raise CelerantError(msg) from exc
    return found, attribute
