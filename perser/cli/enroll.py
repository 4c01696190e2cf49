"""perser enroll --model DIR --examples FILE.csv --out FILE: adapt a model to a person and save a profile."""

from __future__ import annotations

import shlex
from pathlib import Path


def enroll(
    model: str,
    examples: Path,
    out: Path,
    open_labels: bool = False,
    keep_audio: bool = False,
    device: str | None = None,
) -> None:
    """Learn one person from a few labeled clips, and save the result as a profile.

    Args:
        model: a trained model of either route, such as runs/quickstart/models/speech-lm, or an exported one's
            name on the Hugging Face Hub.
        examples: a table (CSV or JSON) with the columns path (relative to it) and emotions (separated by ;).
        out: the profile to write: one file, without audio.
        open_labels: whether the emotions are words of your own, such as sarcastic or very tired, which the
            answers then choose among; otherwise they are emotions that the model was trained on.
        keep_audio: whether the profile also contains the clips themselves.
        device: where to compute, such as cuda or cpu; none: the GPU if there is one.
    """
    from perser.inference.clips import check_open_labels, read_examples
    from perser.inference.recognizer import Recognizer
    from perser.io.files import check_name

    check_name(out)
    pairs = read_examples(examples, as_spelled=open_labels)
    if open_labels:
        check_open_labels(pairs)  # before the model is loaded
    labels = "open" if open_labels else "known"
    personal = Recognizer.from_pretrained(model, device).enroll(pairs, labels=labels)
    personal.save(out, keep_audio=keep_audio)
    command = shlex.join(["perser", "predict", "--profile", str(out)])
    own = f" under {len(personal.emotions)} labels" if open_labels else ""
    print(f"{out}: {len(personal.enrolled)} enrolled{own}; now `{command} CLIP`")
