"""Standardize features by a person's enrolled clips: their mean and deviation are part of the profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from torch import Tensor

from perser.adjustments.standardization import PRIOR_CLIPS
from perser.episodes.episode import Support
from perser.errors import UserError
from perser.labels import Emotions
from perser.route import EncodedClips, RouteModel, RoutePredictor, StandardizingRouteModel

Standardize = Literal["enrolled", "model"]
"""By which clips features are standardized: the enrolled ones, together with those of the model's training,
or the latter alone."""

MEAN, DEVIATION = "standardization-mean", "standardization-deviation"
"""Names of a profile's tensors with the mean and the standard deviation of each feature."""


def learn(
    model: RouteModel, encoded: EncodedClips, support: Support, standardize: Standardize | None
) -> dict[str, Tensor]:
    """Return what a profile keeps of one person's pairs: what the model learned (`RouteModel.enroll`), and by
    what its features are standardized, where that is not its own.

    `standardize`: None: as the model answers best. Raises UserError where it standardizes nothing and is to.
    """
    if isinstance(model, StandardizingRouteModel):
        by_enrolled = (standardize or model.standardization) == "enrolled"
        found = model.moments(encoded, support.utterances, PRIOR_CLIPS) if by_enrolled else None
        if found is not None:
            moments = dict(zip((MEAN, DEVIATION), found, strict=True))
            return model.standardized(*found).enroll(encoded, support) | moments
    if standardize == "enrolled":
        raise UserError("standardize: this model reads features as they are: leave it out")
    return model.enroll(encoded, support)


def check_standardize(standardize: str | None) -> None:
    """Raise UserError for a choice that there is not."""
    if standardize is not None and standardize not in get_args(Standardize):
        raise UserError(f"standardize: {standardize}, give {' or '.join(get_args(Standardize))}")


def personal_predictor(
    model: RouteModel, tensors: Mapping[str, Tensor], labels: Sequence[Emotions]
) -> RoutePredictor:
    """Return the predictor of the person whose profile has these tensors and labels."""
    learned = {name: tensor for name, tensor in tensors.items() if name not in (MEAN, DEVIATION)}
    if (MEAN in tensors) != (DEVIATION in tensors):
        raise UserError("its standardization lacks a mean or a deviation")
    if standardization_of(tensors) == "enrolled" and isinstance(model, StandardizingRouteModel):
        if not (tensors[DEVIATION] > 0).all():
            raise UserError("its standardization has a deviation that is not above 0")
        return model.standardized(tensors[MEAN], tensors[DEVIATION]).predictor(learned, labels)
    return model.predictor(learned, labels)


def standardization_of(tensors: Mapping[str, Tensor]) -> Standardize:
    """Return by which clips the features are standardized for the person whose profile has these tensors."""
    return "enrolled" if MEAN in tensors and DEVIATION in tensors else "model"
