"""The profiles that the server keeps: one file a person, in one folder."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections import OrderedDict
from pathlib import Path
from threading import Lock

from fastapi import HTTPException

from perser.errors import UserError
from perser.inference.recognizer import PersonalRecognizer, Recognizer
from perser.io.files import explain_write_errors

SUFFIX = ".profile"

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
"""Names of profiles. They are safe as names of files everywhere, also where capitals make no difference."""

RESERVED = re.compile(r"con|prn|aux|nul|(com|lpt)\d")
"""What no file on Windows can be called."""

NAME_RULE = "give up to 64 of a-z, 0-9, - and _, a letter or digit first"

MOST_IN_MEMORY = 64
"""How many profiles are ready to answer. The others are read from their files when they are needed."""

ABANDONED_SECONDS = 3600
"""Age at which an unfinished file is one of a server that was killed."""

State = tuple[int, int, int]
"""What changes whenever a file is replaced."""


class KeptProfiles:
    """The profiles of one model, by name. Threads may share it, and so may several servers their folder.

    Args:
        folder: Where they are; it is made if it is missing.
        recognizer: The model that they belong to.
        most: How many are kept.

    Raises UserError for a folder that cannot be written to.
    """

    def __init__(self, folder: Path, recognizer: Recognizer, most: int) -> None:
        self._folder = folder
        self._recognizer = recognizer
        self._most = most
        self._ready: OrderedDict[str, tuple[State, PersonalRecognizer]] = OrderedDict()
        self._lock = Lock()
        with explain_write_errors(folder, "give a folder for profiles that this program can write to"):
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        for unfinished in folder.glob(f".*{SUFFIX}-*"):  # of `Profile.save` in a server that was killed
            if time.time() - unfinished.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(unfinished, ignore_errors=True)

    def names(self) -> list[str]:
        """Return the names of all profiles, sorted."""
        return sorted(path.stem for path in self._folder.glob(f"*{SUFFIX}") if NAME.fullmatch(path.stem))

    def personal(self, name: str) -> PersonalRecognizer:
        """Return the recognizer of the person with this profile. Raises HTTPException if there is
        none, or one that is damaged or of another model."""
        path = self._path(name)
        try:
            state = _state(path)
        except FileNotFoundError:
            raise HTTPException(404, f"no profile '{name}': enroll it with PUT /profiles/{name}") from None
        with self._lock:
            found = self._ready.get(name)
            if found is not None and found[0] == state:
                self._ready.move_to_end(name)
                return found[1]
        try:
            personal = self._recognizer.personal(path)
        except UserError as error:
            raise HTTPException(409, str(error).replace(str(path), name)) from error
        with self._lock:
            self._ready[name] = state, personal
            self._ready.move_to_end(name)
            while len(self._ready) > MOST_IN_MEMORY:
                self._ready.popitem(last=False)
        return personal

    def keep(self, name: str, personal: PersonalRecognizer) -> None:
        """Write a profile; one of that name is replaced. Raises HTTPException where that is not possible."""
        path = self._path(name)
        if not path.exists() and len(self.names()) >= self._most:
            raise HTTPException(507, f"{self._most} profiles are kept here, which is the limit: delete one")
        try:
            personal.save(path)
        except UserError as error:
            raise HTTPException(507, str(error).replace(str(path), name)) from error

    def check(self, name: str) -> None:
        """Raise HTTPException for a name that a profile cannot have."""
        self._path(name)

    def delete(self, name: str) -> None:
        """Delete a profile. Raises HTTPException if there is none."""
        try:
            self._path(name).unlink()
        except FileNotFoundError:
            raise HTTPException(404, f"no profile '{name}'") from None
        with self._lock:
            self._ready.pop(name, None)

    def _path(self, name: str) -> Path:
        if not NAME.fullmatch(name) or RESERVED.fullmatch(name):
            raise HTTPException(422, f"'{name}' is no name for a profile: {NAME_RULE}")
        return self._folder / f"{name}{SUFFIX}"


def _state(path: Path) -> State:
    facts = path.stat()
    return facts.st_ino, facts.st_mtime_ns, facts.st_size
