"""perser enroll --model DIR --examples FILE.csv --out FILE: adapt a model to a person and save a profile.

perser enroll --profile FILE --examples MORE.csv: let a profile learn further clips.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from perser.errors import UserError


def enroll(
    examples: Path,
    model: str | None = None,
    out: Path | None = None,
    profile: Path | None = None,
    open_labels: bool = False,
    keep_audio: bool | None = None,
    device: str | None = None,
) -> None:
    """Learn one person from a few labeled clips, and save the result as a profile.

    Args:
        examples: a table (CSV or JSON) with the columns path (relative to it) and emotions (separated by ;
            or ,), or a folder with a folder of recordings for each emotion, such as angry and sad.
        model: a trained model of either route, such as runs/quickstart/models/speech-lm, or an exported one's
            name on the Hugging Face Hub; with `profile`, none: the model that the profile names.
        out: the profile to write: one file, without audio; none, with `profile`: that file itself.
        profile: a profile that learns the examples beside those it has learned already; the result is that
            of enrolling all of them at once.
        open_labels: whether the emotions are words of your own, such as sarcastic or very tired, which the
            answers then choose among; otherwise they are emotions that the model was trained on. With
            `profile`, they are what they are there.
        keep_audio: whether the profile also contains the clips themselves; none: as `profile` does, and not
            in a new one.
        device: where to compute, such as cuda or cpu; none: the GPU if there is one.

    Examples:
        perser enroll --model runs/quickstart/models/speech-lm --examples alice.csv --out alice.profile
    """
    from perser.inference.clips import read_examples
    from perser.inference.labeled_clips import check_open_labels
    from perser.inference.profile import check_place
    from perser.inference.recognizer import PersonalRecognizer, Recognizer

    if profile is None and model is None:
        raise UserError("give --model, what to personalize, or --profile, which is to learn more")
    written = profile if out is None else out
    if written is None:
        raise UserError("give --out, the profile to write")
    check_place(written, "profile" if out is None else "out")
    pairs = read_examples(examples, as_spelled=True)
    if profile is None:
        if open_labels:
            check_open_labels(pairs)  # before the model is loaded
        labels = "open" if open_labels else "known"
        personal = Recognizer.from_pretrained(model or "", device).enroll(pairs, labels=labels)
    else:
        before = PersonalRecognizer.load(profile, model, device)
        if open_labels and not before.recognizer.open_labels:
            raise UserError(f"open_labels: {profile} has the emotions of its model: leave it out")
        keep_audio = before.keeps_audio if keep_audio is None else keep_audio
        if keep_audio and not before.keeps_audio:
            raise UserError(f"keep_audio: {profile} holds no audio of its clips: leave it out")
        personal = before.enroll(pairs)
    personal.save(written, keep_audio=bool(keep_audio))
    command = shlex.join(["perser", "predict", "--profile", str(written)])
    own = f" under {len(personal.emotions)} labels" if personal.recognizer.open_labels else ""
    print(f"{written}: {len(personal.enrolled)} enrolled{own}; now `{command} CLIP`")
