"""perser suggest --model DIR --pool DIR --n 8: which clips to ask a person to label next."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from perser.errors import UserError

if TYPE_CHECKING:
    from perser.inference.active_learning import Judge, Suggestion


def suggest(
    model: list[str],
    pool: Path,
    n: int = 8,
    profile: Path | None = None,
    examples: Path | None = None,
    device: str | None = None,
    json: bool = False,
) -> None:
    """Suggest which clips of a pool a person should label next.
    They stand for many others about which the answers are unsure (of two models: disagree), far from what is
    labeled. On simulated listeners that has shown no certain gain over random choice.

    Exits with 1 where a clip could not be used; the others are chosen from.

    Args:
        model: a trained model, a folder or a Hugging Face name; twice, for where two disagree.
        pool: a folder of recordings, or a .txt list of them.
        n: how many to suggest.
        profile: what the person has enrolled, of `perser enroll`; clips of the pool with the name of an
            enrolled one count as labeled.
        examples: instead, what the person has labeled: a CSV file with the columns path and emotions.
        device: where to compute, such as cuda or cpu; none: the GPU if there is one.
        json: whether to print JSON instead of a table.
    """
    if profile is not None and examples is not None:
        raise UserError("give --profile or --examples, not both")
    if profile is not None and len(model) > 1:
        raise UserError("a profile is of one model: give --examples for several")
    from perser.inference.active_learning import suggest as suggested
    from perser.inference.clips import clip_paths, read_examples

    clips = clip_paths([pool])
    pairs = [] if examples is None else read_examples(examples)
    judges, enrolled = _judges(model, profile, pairs, device)
    labeled = [one for one in clips if one.name in enrolled] + [path for path, _ in pairs]
    known = {one.resolve() for one in labeled}
    found, failures = suggested(judges, [one for one in clips if one.resolve() not in known], n, labeled)
    (_print_json if json else _print_table)(found)
    for one in failures:
        print(f"perser: {one.path}: {one.reason}", file=sys.stderr)
    if failures:
        raise SystemExit(1)


def _judges(
    models: list[str],
    profile: Path | None,
    pairs: list[tuple[Path, tuple[str, ...]]],
    device: str | None,
) -> tuple[list[Judge], set[str]]:
    """The models, as the person's where there are examples, and the names of a profile's clips."""
    from perser.inference.recognizer import PersonalRecognizer, Recognizer

    if profile is not None:
        personal = PersonalRecognizer.load(profile, models[0], device)
        return [personal], {one.name for one in personal.enrolled}
    plain = [Recognizer.from_pretrained(one, device) for one in models]
    return [one.enroll(pairs) for one in plain] if pairs else list(plain), set()


def _print_json(found: list[Suggestion]) -> None:
    """A list with one object a clip: the fields of `Suggestion`."""
    from dataclasses import asdict
    from json import dumps

    print(dumps([asdict(one) for one in found], indent=1, ensure_ascii=False))


def _print_table(found: list[Suggestion]) -> None:
    """A line a clip."""
    width = max((len(one.path) for one in found), default=0)
    print(f"{'clip':<{width}}  unsure  distance")
    for one in found:
        distance = "-" if one.distance is None else f"{one.distance:.2f}"
        print(f"{one.path:<{width}}  {one.unsure:>6.2f}  {distance:>8}")
