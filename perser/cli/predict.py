"""perser predict --profile FILE CLIP ...: what a person would hear in new clips.

Or at once: perser predict --model DIR --enroll a.wav=angry b.wav=happy,excited -- CLIP ...
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from perser.errors import UserError

if TYPE_CHECKING:
    from perser.inference.recognizer import PersonalRecognizer, Recognizer


def predict(
    clips: tuple[str, ...] = (),
    profile: Path | None = None,
    model: str | None = None,
    enroll: tuple[str, ...] = (),
    device: str | None = None,
    json: bool = False,
    csv: bool = False,
) -> None:
    """Say which emotions a person would hear in clips, with and without what they enrolled.

    Exits with 1 where a clip could not be used; the others have their answers.

    Args:
        clips: recordings, folders of them, or .txt lists of them; their names may stand without --clips.
        profile: what `perser enroll` wrote.
        model: a trained model of either route, a folder or a Hugging Face name; with a profile, where its
            model is now.
        enroll: instead of a profile: clip=emotion or clip=emotion,emotion for each labeled clip; -- ends it.
        device: where to compute, such as cuda or cpu; none: the GPU if there is one.
        json: whether to print JSON instead of a table.
        csv: whether to print CSV instead of a table.
    """
    if not clips:
        raise UserError("clips: none given: name recordings, folders or lists, behind -- if --enroll is used")
    if profile is None and model is None:
        raise UserError("give --profile FILE (of `perser enroll`), or --model DIR, with --enroll or without")
    if profile is not None and enroll:
        raise UserError("give --profile or --enroll, not both: a profile is made anew with `perser enroll`")
    if json and csv:
        raise UserError("give --json or --csv, not both")
    from perser.inference.clips import clip_paths, parse_example

    paths, examples = clip_paths(clips), [parse_example(one) for one in enroll]
    recognizer = _recognizer(profile, model, examples, device)
    _answer(recognizer, paths, "json" if json else "csv" if csv else "table")


predict.bare = "clips"


def _recognizer(
    profile: Path | None,
    model: str | None,
    examples: list[tuple[Path, tuple[str, ...]]],
    device: str | None,
) -> Recognizer | PersonalRecognizer:
    from perser.inference.recognizer import PersonalRecognizer, Recognizer

    if profile is not None:
        return PersonalRecognizer.load(profile, model, device)
    recognizer = Recognizer.from_pretrained(model, device)
    return recognizer.enroll(examples) if examples else recognizer


def _answer(recognizer: Recognizer | PersonalRecognizer, paths: list[Path], form: str) -> None:
    """Print the predictions, with progress where they take a while, then name the clips without one."""
    from tqdm import tqdm

    from perser.cli.prediction_output import PRINTERS
    from perser.inference.clips import CLIPS_AT_ONCE, Failure

    quiet = True if len(paths) <= CLIPS_AT_ONCE else None  # None: quiet where nobody watches
    answers = list(tqdm(recognizer.stream(paths), total=len(paths), unit="clip", disable=quiet))
    failures = [one for one in answers if isinstance(one, Failure)]
    PRINTERS[form](recognizer.emotions.names, [one for one in answers if not isinstance(one, Failure)])
    for one in failures:
        print(f"perser: {one.path}: {one.reason}", file=sys.stderr)
    if failures:
        raise SystemExit(1)
