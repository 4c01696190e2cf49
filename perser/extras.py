"""Packages that only some options need, and that an extra of perser installs."""

from __future__ import annotations

from importlib.util import find_spec

from perser.errors import UserError


def require(package: str, extra: str | None, what: str) -> None:
    """Raises UserError where `what` needs a package that is not installed; it names the extra that has it, or
    the package where none has."""
    if find_spec(package) is None:
        wanted = package if extra is None else f"'perser[{extra}]'"
        raise UserError(f"{what} needs the package {package}: pip install {wanted}")
