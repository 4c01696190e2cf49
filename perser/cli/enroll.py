"""perser enroll --model DIR --examples FILE.csv --out FILE: adapt a model to a person and save a profile."""

from __future__ import annotations

import shlex
from pathlib import Path


def enroll(
    model: str, examples: Path, out: Path, keep_audio: bool = False, device: str | None = None
) -> None:
    """Learn one person from a few labeled clips, and save the result as a profile.

    Args:
        model: a trained model of either route, such as runs/quickstart/models/speech-lm, or an exported one's
            name on the Hugging Face Hub.
        examples: a table (CSV or JSON) with the columns path (relative to it) and emotions (separated by ;),
            or a folder with a folder of recordings for each emotion, such as angry and sad.
        out: the profile to write: one file, without audio.
        keep_audio: whether the profile also contains the clips themselves.
        device: where to compute, such as cuda or cpu; none: the GPU if there is one.
    """
    from perser.inference.clips import read_examples
    from perser.inference.recognizer import Recognizer
    from perser.io.files import check_name

    check_name(out)
    pairs = read_examples(examples)
    personal = Recognizer.from_pretrained(model, device).enroll(pairs)
    personal.save(out, keep_audio=keep_audio)
    command = shlex.join(["perser", "predict", "--profile", str(out)])
    print(f"{out}: {len(personal.enrolled)} enrolled; now `{command} CLIP`")
