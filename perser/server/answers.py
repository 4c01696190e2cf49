"""The JSON of the server's answers."""

from __future__ import annotations

from dataclasses import asdict

from pydantic import BaseModel, Field

from perser.inference.prediction import Prediction
from perser.inference.profile import Enrolled


class PlainAnswer(BaseModel):
    """What the model hears in a clip without personalization."""

    probabilities: dict[str, float] = Field(description="by emotion; they sum to 1")
    labels: list[str] = Field(description="emotions whose probability is above 1/C, for C emotions")
    confidence: float = Field(description="from 0, all emotions equally probable, to 1, one is certain")


class Heard(PlainAnswer):
    """What a person would hear in a clip, or what the model hears where nobody is enrolled."""

    clip: str = Field(description="name of the file")
    enrolled: int = Field(description="how many clips the answer has learned from")
    unadapted: PlainAnswer | None = Field(description="the answer without them; null where there are none")

    @classmethod
    def of(cls, prediction: Prediction, clip: str, enrolled: int) -> Heard:
        """Return a prediction about a clip of this name."""
        return cls.model_validate(asdict(prediction) | {"clip": clip, "enrolled": enrolled})


class EnrolledClip(BaseModel):
    """One clip that a person labeled."""

    name: str
    emotions: list[str]


class KeptProfile(BaseModel):
    """A profile that the server keeps."""

    name: str
    enrolled: list[EnrolledClip]

    @classmethod
    def of(cls, name: str, enrolled: tuple[Enrolled, ...]) -> KeptProfile:
        """Return the profile of this name with what was enrolled."""
        clips = [EnrolledClip(name=clip.name, emotions=list(clip.emotions)) for clip in enrolled]
        return cls(name=name, enrolled=clips)


class ServedModel(BaseModel):
    """The model that answers, and what the server accepts."""

    name: str
    route: str
    emotions: list[str]
    keeps_profiles: bool
    limits: dict[str, float]


class Fault(BaseModel):
    """Why there is no answer."""

    error: str
