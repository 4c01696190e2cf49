"""Where a profile can be written: never over a file that is none. Nothing here imports torch."""

from __future__ import annotations

from pathlib import Path

from perser.errors import UserError, saying_where
from perser.io.files import check_outputs

FORMAT = "perser-profile-3"

OF_PROBABILITIES = "perser-profile-probabilities-1"
"""The format of a profile that was made from probabilities, without a model."""

MAX_HEADER = 1 << 20
"""How many bytes at the beginning of a file are searched for a profile's format."""


def check_place(path: Path, option: str) -> None:
    """Raise UserError where no profile can be written to the path that an option names, or where the file
    holds something else."""
    check_outputs(files={option: path})
    with saying_where(option):
        refuse_other(path)


def refuse_other(path: Path) -> None:
    """Raise UserError for a file that holds something else than a profile."""
    if path.is_file() and path.stat().st_size and not _is_profile(path):
        raise UserError(f"{path} exists and is no profile: give another output file, or remove it")


def _is_profile(path: Path) -> bool:
    """Return whether a file is a profile of any version, even a damaged one whose header can be
    recognized."""
    try:
        with path.open("rb") as file:
            return FORMAT.rstrip("0123456789").encode() in file.read(MAX_HEADER)
    except OSError:  # writing the file fails with the reason
        return True


def is_of_probabilities(path: Path) -> bool:
    """Return whether a file is a profile that was made from probabilities, even a damaged one."""
    try:
        with path.open("rb") as file:
            return OF_PROBABILITIES.encode() in file.read(MAX_HEADER)
    except OSError:  # opening it fails with the reason
        return False
