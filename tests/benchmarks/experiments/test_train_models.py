"""Which models an experiment trains, and what is refused where routes of other packages are wrong."""

from __future__ import annotations

import pytest

from benchmarks.experiments import options, train_models
from benchmarks.experiments.options import QUICKSTART, read_experiment
from benchmarks.experiments.train_models import Recipe, planned_models
from perser import installed_routes
from perser.errors import UserError
from perser.route import Route, TrainedModel, Training


def install(monkeypatch: pytest.MonkeyPatch, *routes: Route) -> None:
    """Install these routes besides those of this repository."""
    everything = [*installed_routes.installed_routes(), *routes]
    for module in (options, train_models, installed_routes):
        monkeypatch.setattr(module, "installed_routes", lambda: everything)


def new_route(name: str, command: str = "perser.cli.prepare:prepare") -> Route:
    return Route(
        name,
        methods={name: "benchmarks.trivial_baselines:nothing"},
        train=(Training(f"train_{name}", command),),
        models=(TrainedModel(name, f"train_{name}"),),
        needs={name: (name,)},
    )


def test_a_training_that_does_not_load_ends_only_the_experiments_that_need_it(monkeypatch):
    install(monkeypatch, new_route("broken", "no_such_package:train"))
    values = read_experiment(QUICKSTART)
    assert "train_broken" not in values
    with pytest.raises(UserError, match="the training train_broken of 'broken' does not load"):
        planned_models(Recipe(["broken"], "tiny-whisper", {}), ["broken"])


def test_two_routes_may_not_use_one_name(monkeypatch):
    install(monkeypatch, new_route("twice"), new_route("twice"))
    with pytest.raises(UserError, match="two installed routes have a training 'train_twice'"):
        planned_models(Recipe([], "tiny-whisper", {}), [])
