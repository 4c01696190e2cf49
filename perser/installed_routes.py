"""Find what the installed routes provide: methods by name, trained models by folder."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType

from perser.errors import UserError, unknown
from perser.io.folders import did_you_mean, walk
from perser.io.model_facts import ModelFacts
from perser.io.terminal import counted
from perser.labels import EmotionSet
from perser.personalizer import Personalizer, RouteContext, ablation_folder, refuse_pairs
from perser.route import Route, RouteModel, resolve, split_address

GROUP = "perser.routes"
"""The entry-point group whose entries are `Route` objects."""

STANDARDIZE = ("model", "corpus", "enrolled")
"""By which clips the features of a method can be standardized: see `perser.adjustments.standardization`."""

PREFIX = "standardize="
"""What begins that option in any method's name (`meta-perser+standardize=corpus`)."""

RECALIBRATIONS = ("prior-shift", "bias-scale")
"""What may follow a plus in any method's name (`speech-lm-0+prior-shift`):
see `perser.adjustments.recalibration`."""

_RECALIBRATED = {
    "prior-shift": "afterwards, each emotion is made likelier or less likely, as this person's labels "
    "suggest",
    "bias-scale": "afterwards, each emotion is made likelier or less likely, and all answers surer or less "
    "sure, as this person's labels suggest",
}
"""What a recalibration does, in the words of `explain_method`."""

TRIVIAL = "trivial"
"""The name of the route of methods without a model."""


@dataclass(frozen=True)
class MethodName:
    """The parts of a method's name, such as `speech-lm-8:small+calibrated+orders=4`.

    Args:
        route: The route that the method belongs to.
        method: Its name in the route.
        pairs: How many enrollment pairs it reads; None where no number was given.
        ablation: Which ablation of its model it uses; None for the model itself.
        options: The method's own options.
        recalibration: Which of `RECALIBRATIONS` follows; None for none.
        standardize: By which clips its features are standardized (`+standardize=corpus`).
    """

    route: Route
    method: str
    pairs: int | None
    ablation: str | None
    options: tuple[str, ...]
    recalibration: str | None = None
    standardize: str = "model"


def load_routes() -> Mapping[str, Route | Exception]:
    """Return each installed route by its entry's name, sorted, or why it does not load: a broken package
    must not take the others with it."""
    return _load_routes(tuple(sys.path))


@cache
def _load_routes(path: tuple[str, ...]) -> Mapping[str, Route | Exception]:
    """Load the routes of the packages on this path, once: reading what is installed takes longer than
    anything else about a method's name."""
    routes: dict[str, Route | Exception] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            route = entry.load()
            if not isinstance(route, Route):
                raise TypeError("it is not a perser.route.Route: was it written for version 0.1.0?")
            routes[entry.name] = route
        except Exception as error:
            routes[entry.name] = error
    return MappingProxyType(routes)


def installed_routes() -> list[Route]:
    """Return the installed routes that load, sorted by their entry's name."""
    return [route for route in load_routes().values() if isinstance(route, Route)]


def method_routes() -> dict[str, Route]:
    """Return the route of each installed method, sorted by the method's name."""
    routes = {method: route for route in installed_routes() for method in route.methods}
    return dict(sorted(routes.items()))


def describe_methods() -> list[tuple[str, str]]:
    """Return each installed method with the first paragraph of its docstring, sorted by name; in its place,
    why it does not load. A route that does not load stands under its entry's name."""
    described = {}
    for name, route in load_routes().items():
        if isinstance(route, Exception):
            described[name] = f"does not load: {route}"
            continue
        for method in route.methods:
            try:
                described[method] = _first_paragraph(route.factory(method).__doc__)
            except Exception as error:
                described[method] = f"does not load: {error}"
    return sorted(described.items())


def explain_method(name: str) -> str:
    """Say in short sentences what the method of a name does; empty where it is not installed.

    The docstring of its function says it, after the method's title and a colon.
    """
    try:
        parsed = parse_method(name)
        title, _, text = _first_paragraph(parsed.route.factory(parsed.method).__doc__).partition(": ")
    except Exception:  # results may be those of a package that is not installed, or is broken
        return ""
    parts = [(text or title).rstrip(".")]
    if parsed.pairs is not None:
        clips = "no labeled clip" if parsed.pairs == 0 else counted(parsed.pairs, "labeled clip")
        parts.append(f"here, it reads {clips}")
    if parsed.ablation is not None:
        named = parsed.method in parsed.route.names_models
        parts.append(f"its model is {'' if named else 'the variant '}{parsed.ablation}")
    if parsed.options:
        parts.append(f"its options: {', '.join(parsed.options)}")
    if parsed.standardize != "model":
        by = "the corpus that is measured" if parsed.standardize == "corpus" else "the labeled clips"
        parts.append(f"its features are standardized by {by}")
    if parsed.recalibration is not None:
        parts.append(_RECALIBRATED[parsed.recalibration])
    return " ".join(f"{part[:1].upper()}{part[1:]}." for part in parts)


def parse_method(name: str) -> MethodName:
    """Split a method's name into its parts. Raise UserError for a method that is not installed, or for two
    recalibrations."""
    routes = method_routes()
    plain, *options = name.split("+")
    method, _, ablation = plain.partition(":")
    number = None
    if method not in routes:
        numbered = re.fullmatch(r"(.+)-(\d+)", method)
        if numbered is None or numbered[1] not in routes:
            raise UserError(f"{unknown('method', name, routes)}{_broken_packages()}")
        method, number = numbered[1], int(numbered[2])
    if number is None and method in routes[method].names_models:
        ablation, number = _model_and_pairs(ablation)
    shifts = [option for option in options if option in RECALIBRATIONS]
    if len(shifts) > 1:
        raise UserError(f"'{name}': give one of {' and '.join(RECALIBRATIONS)}, once")
    standardize = [option.removeprefix(PREFIX) for option in options if option.startswith(PREFIX)] or [
        "model"
    ]
    if len(standardize) > 1 or standardize[0] not in STANDARDIZE:
        raise UserError(f"'{name}': give {PREFIX} once, with one of {', '.join(STANDARDIZE)}")
    own = tuple(
        option for option in options if option not in RECALIBRATIONS and not option.startswith(PREFIX)
    )
    return MethodName(
        routes[method], method, number, ablation or None, own, next(iter(shifts), None), standardize[0]
    )


def build_method(name: str, context: RouteContext) -> Personalizer:
    """Build the personalizer of a method's name.

    A number at the end (`speech-lm-8`) is how many pairs it reads, what follows a colon
    (`meta-perser:no-lslr`) is the ablation of its model, and what follows each plus
    (`speech-lm-8+calibrated+orders=4`) is an option of the method, or recalibrates it
    (`RECALIBRATIONS`). Raise UserError for an unknown name or option.
    """
    parsed = parse_method(name)
    _check_options(parsed)
    build = parsed.route.factory(parsed.method)
    personalizer = build(replace(context, ablation=parsed.ablation, options=parsed.options), parsed.pairs)
    if parsed.ablation is not None and personalizer.route == TRIVIAL:
        raise _no_ablations(name, parsed)
    if parsed.standardize != "model":
        from perser.adjustments.standardization import standardized

        personalizer = standardized(personalizer, parsed.standardize, context)
    if parsed.recalibration is None:
        return personalizer
    from perser.adjustments.recalibration import recalibrated  # slow to import

    validation = context.validation() if context.validation is not None else ()
    with_scale = parsed.recalibration == "bias-scale"
    return recalibrated(personalizer, validation, context.emotions, with_scale)


def learns_labels(name: str) -> bool:
    """Return whether a method can learn labels that nobody trained it on."""
    parsed = parse_method(name)
    return parsed.method in parsed.route.learn_labels and parsed.recalibration is None


def check_method(name: str, k: int, open_labels: bool = False) -> None:
    """Raise UserError for an unknown method or option, or for more pairs than a support of `k` has; with
    `open_labels`, for a method that can answer with the emotions that it was trained on alone."""
    parsed = parse_method(name)
    if open_labels and not learns_labels(name):
        able = [method for method, route in method_routes().items() if method in route.learn_labels]
        raise UserError(f"'{name}' cannot learn the labels of open episodes: measure {', '.join(able)}")
    _check_options(parsed)
    if parsed.standardize != "model" and not _has_models(parsed):
        raise UserError(
            f"'{name}': {parsed.method} has no model, and reads no features: leave '+{PREFIX}' out"
        )
    if parsed.route.numbered is not None and parsed.method not in parsed.route.numbered:
        refuse_pairs(parsed.method, parsed.pairs)
    if parsed.ablation is not None and parsed.route.name == TRIVIAL:
        raise _no_ablations(name, parsed)
    if parsed.pairs is not None and parsed.pairs > k:
        raise UserError(f"'{name}' reads {parsed.pairs} enrollment pairs, but a support has k = {k}: raise k")


def has_models(name: str) -> bool:
    """Return whether a method reads features, with a trained model."""
    return _has_models(parse_method(name))


def check_models(methods: Sequence[str], context: RouteContext) -> None:
    """Raise UserError where methods cannot be measured with the trained models, by their small files alone.

    The models may be missing, have other emotions, or be trained on another split.
    """
    lacking: dict[Path, list[str]] = {}
    for method in methods:
        parsed = parse_method(method)
        for name in parsed.route.needs.get(parsed.method, ()):
            folder = context.models / ablation_folder(name, parsed.ablation)
            facts = read_facts(folder)
            if facts is not None and facts.is_published:
                raise UserError(
                    f"{folder} holds a published classifier: choose what its methods need with `perser "
                    f"pretrain --from {shlex.quote(str(folder))} --epochs 0 --out DIR`, and put DIR there"
                )
            if facts is not None:
                trained_on = facts.trained_on or context.trained_on
                context.check_model(folder, EmotionSet(facts.emotions), trained_on)
            elif parsed.route.facts is not None or not folder.is_dir():
                lacking.setdefault(folder, []).append(method)
    if lacking:
        named = "; ".join(f"{folder} (for {', '.join(needing)})" for folder, needing in lacking.items())
        without = [method for method in methods if not any(method in needing for needing in lacking.values())]
        remedy = f"give --methods {' '.join(without)}" if without else "give another --models"
        raise UserError(f"there is no trained model in {named}: train it, or {remedy}")
    for method in methods:
        parsed = parse_method(method)
        if parsed.route.check_models is not None:
            parsed.route.check_models(parsed.method, context.models, parsed.ablation)
        if parsed.route.check_method is not None:
            asked = replace(context, ablation=parsed.ablation, options=parsed.options)
            resolve(parsed.route.check_method)(parsed.method, asked, parsed.pairs)


def read_facts(folder: Path) -> ModelFacts | None:
    """Return what the files of a trained model say, of whichever installed route; None for no model."""
    readers = [route.facts for route in installed_routes() if route.facts is not None]
    return next(filter(None, (read(folder) for read in readers)), None)


def find_models(folder: Path) -> Iterator[tuple[Path, ModelFacts]]:
    """Yield the trained models of installed routes at any depth of a folder, sorted by path."""
    for inside in sorted({file.parent for file in walk(folder, "**/*.safetensors")}):
        if (facts := read_facts(inside)) is not None:
            yield inside, facts


def load_address(name: str) -> RouteModel | None:
    """Return the model behind the address of an endpoint, of whichever installed route; None for a name that
    is no address."""
    if split_address(name) is None:
        return None
    loaders = [route.load_address for route in installed_routes() if route.load_address is not None]
    model = next(filter(None, (load(name) for load in loaders)), None)
    if model is None:
        raise UserError(f"no installed route asks an endpoint, as '{name}' is: give a model's folder")
    return model


def check_enrollment(name: str) -> None:
    """Raise UserError for a model that is known to read no enrolled clips, before it is loaded."""
    for route in installed_routes():
        if route.check_enrollment is not None:
            route.check_enrollment(without_method(name))


def without_method(name: str) -> str:
    """Return the name of a model without that of a method whose models are named (`audio-llm:NAME`)."""
    method, _, model = name.partition(":")
    is_named = model and any(method in route.names_models for route in installed_routes())
    return model if is_named else name


def load_route_model(folder: Path) -> RouteModel:
    """Load the trained model in a folder, of whichever installed route.

    Raise UserError, which names models nearby, where there is none.
    """
    if not folder.is_dir():
        raise UserError(f"no model in {folder}: there is no such folder{did_you_mean(folder)}")
    for route in installed_routes():
        if route.load is not None and (model := route.load(folder)) is not None:
            return model
    nearby = [path for path in (*folder.glob("*"), *folder.glob("models/*")) if _looks_like_a_model(path)]
    hint = (
        f"there are {', '.join(map(str, sorted(nearby)))}" if nearby else "train one, or `perser quickstart`"
    )
    raise UserError(f"{folder} holds no model of an installed route: {hint}")


def _model_and_pairs(name: str) -> tuple[str, int | None]:
    """Split the name of a model and the number of pairs at its end (`NAME-8`).

    A longer number (`Voxtral-Mini-3B-2507`) is part of the name.
    """
    numbered = re.fullmatch(r"(.+)-(\d{1,3})", name)
    return (name, None) if numbered is None else (numbered[1], int(numbered[2]))


def _has_models(parsed: MethodName) -> bool:
    return bool(parsed.route.needs.get(parsed.method))


def _check_options(parsed: MethodName) -> None:
    if not parsed.options:
        return
    if parsed.route.check_options is None:
        raise UserError(
            f"{parsed.method} has no options: leave '+{'+'.join(parsed.options)}' out of the method's name; "
            f"any method may be followed by +{' or +'.join(RECALIBRATIONS)}"
        )
    parsed.route.check_options(parsed.method, parsed.options)


def _no_ablations(name: str, parsed: MethodName) -> UserError:
    return UserError(
        f"'{name}': {parsed.method} has no model, and so no ablations: leave ':{parsed.ablation}' out"
    )


def _broken_packages() -> str:
    broken = [f"{name} ({error})" for name, error in load_routes().items() if isinstance(error, Exception)]
    return f"; these routes do not load: {', '.join(broken)}" if broken else ""


def _first_paragraph(docstring: str | None) -> str:
    return " ".join((docstring or "").strip().partition("\n\n")[0].split())


def _looks_like_a_model(folder: Path) -> bool:
    return folder.is_dir() and any(folder.glob("*.json")) and any(folder.glob("*.safetensors"))
