"""Named variants of Meta-PerSER: what each changes of an experiment's `meta_train`.

Each is measured as the method `meta-perser:NAME` wherever `bench.methods` lists it, beside `meta-perser`
itself, which is trained as the experiment says. Each says how it finds a person's weights, so that it is the
same method whatever the solver of `meta-perser` itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from meta_perser.options import InnerOptions

Changes = dict[str, Any]
"""What differs from `meta_train`, as an ablation in an experiment's file would write it."""


@dataclass(frozen=True)
class Variant:
    """A variant by name.

    Args:
        about: what it is, in a line.
        changes: Function of the experiment's inner loop that returns what differs.
    """

    about: str
    changes: Callable[[InnerOptions], Changes]


PAPER: Changes = {
    "init": "ssl-e",
    "csmt": True,
    "derivative_annealing": {"by": "inner_steps", "share": 0.3},
    "lslr": {"granularity": "tensor", "sign": "free", "beyond": "initial"},
    "multi_step_loss": {"enabled": False},
    "inner": {
        "solver": "steps",
        "steps": 5,
        "query": None,
        "rate": None,
        "adaptation_steps": 50,
        "moves": "scope",
    },
    "outer": {"update": "maml", "f1_weight": 0.0},
}

REPTILE: Changes = {
    "csmt": True,
    "derivative_annealing": {"by": "inner_steps", "share": 1.0},
    "lslr": {"granularity": "off", "sign": "free", "beyond": "initial", "relative": True},
    "multi_step_loss": {"enabled": False},
    "inner": {"solver": "steps", "query": None},
    "outer": {"update": "reptile", "f1_weight": 0.0},
}

PROXIMAL: Changes = {
    "scope": "head",
    "csmt": False,
    "derivative_annealing": {"by": "inner_steps"},
    "multi_step_loss": {"enabled": False},
    "inner": {"solver": "proximal", "moves": "scope"},
    "outer": {"update": "maml", "steps": 240, "batch_size": 8, "learning_rate": 1e-3, "validate_every": 20},
}
"""It needs more steps than gradients do, and each takes a fiftieth of the time. The outer options are those
that were best on the validation persons of the quickstart and of CREMA-D."""

STEPS: Changes = {"inner": {"solver": "steps"}}


def _schedule(inner: InnerOptions) -> Changes:
    """Return the changes of `schedule`, which trains as many steps as adaptation takes."""
    return {
        "lslr": {"granularity": "schedule"},
        "inner": {"solver": "steps", "steps": inner.adaptation_steps},
    }


VARIANTS = {
    "paper": Variant(
        "the paper to the letter: INI, CSMT, DA by inner steps, LSLR, S = 5, 50 steps at test",
        lambda inner: PAPER,
    ),
    "steps": Variant(
        "gradient steps with learned rates, as `meta_train` describes them", lambda inner: STEPS
    ),
    "schedule": Variant(
        "rates that follow a + c log(1 + s), trained for as many steps as at test", _schedule
    ),
    "proximal": Variant(
        "no steps: the best head that stays close to the meta-learned one (iMAML, Rajeswaran et al. 2019)",
        lambda inner: PROXIMAL,
    ),
    "fomaml": Variant(
        "first order throughout (Finn et al. 2017)",
        lambda inner: {**STEPS, "derivative_annealing": {"by": "inner_steps", "share": 1.0}},
    ),
    "reptile": Variant(
        "theta follows the inner loop (Nichol et al. 2018); no query, no learned rates", lambda inner: REPTILE
    ),
    "anil": Variant(
        "the inner loop moves the last linear layer alone (Raghu et al. 2020)",
        lambda inner: {"inner": {"solver": "steps", "moves": "classifier"}},
    ),
}
"""The variants by name, `meta-perser:NAME`."""
