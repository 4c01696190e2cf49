"""perser enroll --model DIR --examples FILE.csv --out FILE: adapt a model to a person and save a profile.

perser enroll --profile FILE --examples MORE.csv: let a profile learn further clips.

perser enroll --probabilities SCORES.csv --examples FILE.csv --out FILE: the same for what any tool says,
without a model.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from perser.errors import UserError


def enroll(
    examples: Path,
    model: str | None = None,
    out: Path | None = None,
    profile: Path | None = None,
    open_labels: bool = False,
    other: bool = False,
    keep_audio: bool | None = None,
    device: str | None = None,
    probabilities: Path | None = None,
    recalibration: Literal["prior-shift", "bias-scale"] | None = None,
    endpoint: str | None = None,
    standardize: Literal["enrolled", "model"] | None = None,
) -> None:
    """Learn one person from a few labeled clips, and save the result as a profile.

    Args:
        examples: a table (CSV or JSON) with the columns path (relative to it) and emotions (separated by ;
            or ,), or a folder with a folder of recordings for each emotion, such as angry and sad.
        model: starter, starter-icl (they come with perser), or a trained model of either route, such as
            runs/quickstart/models/speech-lm, or an exported one's name on the Hugging Face Hub; with
            `profile`, none: the model that the profile names.
        out: the profile to write, one file without audio; none: the file that `profile` names is replaced.
        profile: a profile that goes on learning: it learns these examples beside those that it has learned;
            the result is that of enrolling all of them at once.
        open_labels: whether the emotions are words of your own, such as sarcastic or very tired, which the
            answers then choose among; otherwise they are emotions that the model was trained on. With
            `profile`, the profile decides.
        other: with open_labels, whether an answer may also be that a clip has none of these words; only for a
            speech LM that was trained with other_answers.
        keep_audio: whether the profile also contains the clips themselves; none: as in the profile that goes
            on learning; a new profile has none.
        device: where to compute, such as cuda or cpu; none: the GPU if there is one.
        probabilities: instead of a model: a table (CSV, JSON or Parquet) of what any tool says of clips, with
            the column path and a column of probabilities for each emotion. No model is loaded.
        recalibration: what is fitted to probabilities: prior-shift (a bias of each emotion) or bias-scale
            (also how sharply emotions are told apart); none: as in the profile that goes on learning, or
            prior-shift in a new profile.
        endpoint: where the model is, if it is an audio LLM that a server answers for: the address of an
            OpenAI-compatible server, or a JSON file with its limits and prices. `model` is then its name
            there. The profile names both, and holds the clips that the server is to hear.
        standardize: by which clips features are standardized: enrolled, these examples and those of the
            model's training, which count as much as 8; or model, the latter alone; none: as in the profile
            that goes on learning, or as the model answers best.

    Examples:
        perser enroll --model starter-icl --examples alice.csv --out alice.profile
    """
    if probabilities is not None:
        others = {"model": model, "open_labels": open_labels, "other": other, "keep_audio": keep_audio}
        others |= {"device": device, "endpoint": endpoint, "standardize": standardize}
        _enroll_probabilities(probabilities, examples, out, profile, recalibration, others)
        return
    if recalibration is not None:
        raise UserError("recalibration: it is for --probabilities: give these, or leave it out")
    if profile is not None:
        refuse_profile_of_probabilities(profile)
    model = model_at(endpoint, model, profile, device)
    _enroll_clips(examples, model, out, profile, open_labels, other, keep_audio, device, standardize)


def _enroll_clips(
    examples: Path,
    model: str | None,
    out: Path | None,
    profile: Path | None,
    open_labels: bool,
    other: bool,
    keep_audio: bool | None,
    device: str | None,
    standardize: Literal["enrolled", "model"] | None,
) -> None:
    """Learn one person from labeled clips with a model, and save the profile; the options are those of
    `enroll`."""
    from perser.inference.clips import read_examples
    from perser.inference.labeled_clips import check_known_labels, check_open_labels
    from perser.inference.profile_place import check_place
    from perser.inference.recognizer import PersonalRecognizer, Recognizer
    from perser.installed_routes import check_enrollment

    if other and (profile is not None or not open_labels):
        raise UserError("other: it is for a new profile with --open_labels true: give these, or leave it out")
    if standardize is not None and profile is not None:
        raise UserError("standardize: the profile decides: leave it out, or enroll all examples anew")
    if profile is None and model is None:
        raise UserError("give --model, what to personalize, or --profile, which is to learn more")
    written = profile if out is None else out
    if written is None:
        raise UserError("give --out, the profile to write")
    check_place(written, "profile" if out is None else "out")
    labeled = read_examples(examples, as_spelled=True)
    pairs = [example.pair for example in labeled]
    if profile is None:
        if open_labels:
            check_open_labels(labeled)  # before the model is loaded
        check_enrollment(model or "")
        recognizer = Recognizer.from_pretrained(model or "", device)
        if not open_labels:
            check_known_labels(labeled, recognizer.emotions)
        labels: Literal["open", "known"] = "open" if open_labels else "known"
        personal = recognizer.enroll(pairs, labels=labels, other=other, standardize=standardize)
    else:
        before = PersonalRecognizer.load(profile, model, device)
        if open_labels and not before.recognizer.open_labels:
            raise UserError(f"open_labels: {profile} has the emotions of its model: leave it out")
        keep_audio = before.keeps_audio if keep_audio is None else keep_audio
        if keep_audio and not before.keeps_audio:
            raise UserError(f"keep_audio: {profile} holds no audio of its clips: leave it out")
        if not before.recognizer.open_labels:
            check_known_labels(labeled, before.emotions)
        personal = before.enroll(pairs)
    personal.save(written, keep_audio=bool(keep_audio))
    command = shlex.join(["perser", "predict", "--profile", str(written)])
    own = f" under {len(personal.emotions)} labels" if personal.recognizer.open_labels else ""
    print(f"{written}: {len(personal.enrolled)} enrolled{own}; now `{command} CLIP`")


def _enroll_probabilities(
    probabilities: Path,
    examples: Path,
    out: Path | None,
    profile: Path | None,
    recalibration: Literal["prior-shift", "bias-scale"] | None,
    others: Mapping[str, object],
) -> None:
    """Learn one person from what a tool says of the clips that they labeled, and save the profile.

    `others`: the options that need a model, by name.
    """
    from perser.inference.probability_profile import ProbabilityProfile, enroll_probabilities, read_labels
    from perser.inference.probability_table import ProbabilityTable
    from perser.inference.profile_place import check_place

    refuse_with_probabilities(others)
    written = out or profile
    if written is None:
        raise UserError("give --out, the profile to write")
    check_place(written, "out" if out is not None else "profile")
    labeled = read_labels(examples)
    words = {word for clip in labeled for word in clip.emotions}
    if profile is None:
        table = ProbabilityTable.read(probabilities, words)
        personal = enroll_probabilities(table, labeled, recalibration or "prior-shift")
    else:
        before = ProbabilityProfile.load(profile)
        if recalibration not in (None, before.recalibration):
            raise UserError(f"recalibration: {profile} has {before.recalibration}: leave it out")
        personal = before.enroll(ProbabilityTable.read(probabilities, before.emotions.names), labeled)
    personal.save(written)
    command = shlex.join(["perser", "predict", "--profile", str(written), "--probabilities"])
    print(f"{written}: {len(personal.enrolled)} enrolled; now `{command} TABLE`")


def model_at(endpoint: str | None, model: str | None, profile: Path | None, device: str | None) -> str | None:
    """Return the address of a model behind an endpoint, or the model where there is no endpoint.

    Raises UserError for a profile, which names its own, and for a device.
    """
    if endpoint is None:
        return model
    if profile is not None:
        raise UserError("endpoint: the profile names its own: leave it out, or enroll anew for another one")
    if device is not None:
        raise UserError("device: with --endpoint, the server computes: leave it out")
    from perser.route import address_of

    return address_of(endpoint, model)


def refuse_with_probabilities(options: Mapping[str, object]) -> None:
    """Raise UserError for an option that needs a model, where probabilities are given instead of one."""
    if given := [name for name, value in options.items() if value]:
        raise UserError(f"{given[0]}: no model is loaded with --probabilities: leave it out")


def refuse_profile_of_probabilities(profile: Path) -> None:
    """Raise UserError for a profile that was made from probabilities, where none are given."""
    from perser.inference.profile_place import is_of_probabilities

    if is_of_probabilities(profile):
        raise UserError(
            f"profile: {profile} was made from probabilities: give --probabilities, the table with those of "
            "the clips"
        )
