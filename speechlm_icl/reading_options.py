"""How an enrolment is used once it is there: options of the route `speech-lm`, which train nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from perser.errors import UserError

FORMS = "orders=N, calibrated, chosen"


@dataclass(frozen=True)
class ReadingOptions:
    """What a speech LM does with an enrolment besides reading it.

    Args:
        orders: In how many orders the enrolment is read; probabilities are averaged over them.
        calibrated: Whether probabilities are divided by those of a clip without content.
        chosen: Whether the pairs are the most representative ones of the support, not its first.
    """

    orders: int = 1
    calibrated: bool = False
    chosen: bool = False

    def __post_init__(self) -> None:
        if self.orders < 1:
            raise ValueError("orders must be at least 1")


def parse_options(texts: Iterable[str]) -> ReadingOptions:
    """The options in a method's name, `speech-lm-8+calibrated+orders=4`, without the pluses.

    Raises UserError for any other text, or one that is given twice.
    """
    given: dict[str, int | bool] = {}
    for text in texts:
        parts = re.fullmatch(r"(?:(orders)=(\d+)|(calibrated|chosen))", text)
        name = parts and (parts[1] or parts[3])
        if not name or name in given:
            raise UserError(f"speech-lm has no option '+{text}', or has it twice: there are {FORMS}")
        given[name] = int(parts[2]) if parts[2] else True
    try:
        return ReadingOptions(**given)
    except ValueError as error:
        raise UserError(f"speech-lm: {error}") from error
