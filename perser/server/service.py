"""What the server does with the files of a request, in a few threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath, PureWindowsPath
from typing import TypeVar

from fastapi import HTTPException, UploadFile
from torch import Tensor

from perser.errors import UserError, one_line
from perser.inference.recognizer import PersonalRecognizer, Recognizer
from perser.server.answers import Heard, KeptProfile
from perser.server.profiles import KeptProfiles
from perser.web.limits import ServerLimits

Result = TypeVar("Result")


class Service:
    """A model that answers about uploaded clips. Nothing of one request is left for the next.

    Args:
        recognizer: The model; all threads share it, and it is never changed.
        limits: How much is accepted.
        kept: The profiles; None where none are kept.
    """

    def __init__(self, recognizer: Recognizer, limits: ServerLimits, kept: KeptProfiles | None) -> None:
        self.recognizer = recognizer
        self.limits = limits
        self._kept = kept
        self._threads = ThreadPoolExecutor(limits.at_once, thread_name_prefix="perser-serve")

    @property
    def kept(self) -> KeptProfiles:
        """The profiles. Raises HTTPException where none are kept."""
        if self._kept is None:
            raise HTTPException(404, "this server keeps no profiles: start it with --profiles FOLDER")
        return self._kept

    @property
    def keeps_profiles(self) -> bool:
        return self._kept is not None

    async def run(self, job: Callable[[], Result]) -> Result:
        """Run a job in one of the threads, as soon as one is free."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, job)

    def close(self) -> None:
        """Wait for the jobs that are running, and end the threads."""
        self._threads.shutdown(cancel_futures=True)

    def answer(
        self,
        clip: UploadFile,
        profile: str | None,
        examples: Sequence[UploadFile],
        emotions: Sequence[str],
    ) -> Heard:
        """Return what the person of a profile, or who labeled the examples, would hear in a clip."""
        if profile and examples:
            raise UserError("give a profile or examples, not both")
        self._check_pairs(examples, emotions)
        name = name_of_upload(clip)
        waveform = self._read(clip)
        personal = None
        if profile:
            personal = self.kept.personal(profile)
        elif examples:
            personal = self._enroll(examples, emotions)
        (prediction,) = (personal or self.recognizer).predict([waveform])
        return Heard.of(prediction, name, 0 if personal is None else len(personal.enrolled))

    def enroll(self, name: str, examples: Sequence[UploadFile], emotions: Sequence[str]) -> KeptProfile:
        """Learn one person from labeled clips, and keep the profile under a name."""
        self.kept.check(name)
        self._check_pairs(examples, emotions)
        personal = self._enroll(examples, emotions)
        self.kept.keep(name, personal)
        return KeptProfile.of(name, personal.enrolled)

    def _enroll(self, examples: Sequence[UploadFile], emotions: Sequence[str]) -> PersonalRecognizer:
        pairs = [(self._read(example), words) for example, words in zip(examples, emotions, strict=True)]
        return self.recognizer.enroll(pairs, [f"example {number}" for number in range(1, len(pairs) + 1)])

    def _check_pairs(self, examples: Sequence[UploadFile], emotions: Sequence[str]) -> None:
        """Raise UserError unless every example has its emotions, and they are not too many."""
        if len(examples) != len(emotions):
            raise UserError(
                f"{len(examples)} examples, {len(emotions)} emotions: give as many of both, in the same order"
            )
        if len(examples) > self.limits.examples:
            raise UserError(f"{len(examples)} examples: give at most {self.limits.examples}")

    def _read(self, upload: UploadFile) -> Tensor:
        """Return the samples (num_samples,) at 16 kHz. Raises UserError, which names the file."""
        name = name_of_upload(upload)
        self.limits.check_size(upload.size or 0, name)
        return self.limits.read(upload.file.read(), name)


def name_of_upload(upload: UploadFile) -> str:
    """Return the name of an uploaded file, without the folders that a client may have sent with it."""
    name = PureWindowsPath(PurePosixPath(upload.filename or "").name).name
    return one_line(name)[:100] or "clip"
