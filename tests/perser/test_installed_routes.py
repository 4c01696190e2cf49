from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from perser import installed_routes
from perser.errors import UserError
from perser.installed_routes import (
    build_method,
    check_method,
    describe_methods,
    explain_method,
    load_route_model,
    parse_method,
)

TRIVIAL = EntryPoint("trivial", "benchmarks.trivial_baselines:ROUTE", "perser.routes")
BROKEN = EntryPoint("broken", "no_such_package:ROUTE", "perser.routes")


@pytest.fixture
def install(monkeypatch):
    """A function that makes these entries, and no others, the installed ones."""

    def install(*entries: EntryPoint) -> None:
        monkeypatch.setattr(installed_routes, "entry_points", lambda group: list(entries))
        installed_routes._load_routes.cache_clear()

    yield install
    installed_routes._load_routes.cache_clear()


@pytest.fixture
def broken_package(install):
    """Two routes are installed, and one of them does not load."""
    install(TRIVIAL, BROKEN)


def test_a_methods_name_is_split_into_its_parts():
    parsed = parse_method("speech-lm-8:small+calibrated+orders=4")
    assert (parsed.route.name, parsed.method, parsed.pairs) == ("speech-lm", "speech-lm", 8)
    assert (parsed.ablation, parsed.options) == ("small", ("calibrated", "orders=4"))
    assert parse_method("most-frequent").pairs is None


def test_a_recalibration_may_follow_any_method():
    for name in ("entire-zero+prior-shift", "random+bias-scale", "speech-lm-8+calibrated+bias-scale"):
        check_method(name, k=8)
    parsed = parse_method("speech-lm-8:small+prior-shift+orders=4")
    assert (parsed.pairs, parsed.ablation) == (8, "small")
    assert (parsed.options, parsed.recalibration) == (("orders=4",), "prior-shift")
    assert parse_method("prior-shift").recalibration is None
    with pytest.raises(UserError, match="give one of prior-shift and bias-scale, once"):
        parse_method("entire-zero+prior-shift+bias-scale")
    with pytest.raises(UserError, match=r"may be followed by \+prior-shift or \+bias-scale"):
        check_method("entire-zero+shifted", k=8)


def test_more_pairs_than_the_support_has_are_refused():
    check_method("speech-lm-8", k=8)
    with pytest.raises(UserError, match="reads 9 enrollment pairs, but a support has k = 8: raise k"):
        check_method("speech-lm-9", k=8)


def test_a_route_that_does_not_load_hides_no_other(broken_package):
    listed = dict(describe_methods())
    assert listed["broken"].startswith("does not load: No module named")
    assert listed["nothing"].startswith("Nothing: uniform probabilities")
    check_method("nothing", k=1)


def test_a_method_is_explained_with_all_parts_of_its_name():
    assert explain_method("entire-zero") == "The trained model SSL-E as it is, the same for everybody."
    text = explain_method("speech-lm-0:small+calibrated+prior-shift")
    assert text.startswith("A language model")
    assert text.endswith(
        " Here, it reads no labeled clip. Its model is the variant small. Its options: calibrated. "
        "Afterwards, each emotion is made likelier or less likely, as this person's labels suggest."
    )
    assert " Here, it reads 8 labeled clips." in explain_method("speech-lm-8")
    assert " Its model is org/some-2507." in explain_method("audio-llm:org/some-2507-8")
    assert "standardized by the labeled clips" in explain_method("entire-zero+standardize=enrolled")


def test_a_method_that_is_not_installed_is_not_explained(broken_package):
    assert explain_method("never-heard-of") == ""
    assert explain_method("broken") == ""


def test_an_unknown_method_is_named_with_the_routes_that_do_not_load(broken_package):
    with pytest.raises(UserError, match=r"unknown method 'none': .*nothing.* do not load: broken .No module"):
        build_method("none", None)


def test_a_folder_without_a_model_is_named_with_those_nearby(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        load_route_model(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no model of an installed route: train one"):
        load_route_model(tmp_path)
    model = tmp_path / "models" / "speech-lm"
    model.mkdir(parents=True)
    for name in ("config.json", "projector.safetensors"):
        (model / name).write_text("{}")
    with pytest.raises(UserError, match=r"there are .*models/speech-lm"):
        load_route_model(tmp_path)


def test_an_entry_that_is_no_route_is_named_and_hides_no_other(install):
    function = EntryPoint("old", "benchmarks.trivial_baselines:nothing", "perser.routes")
    install(TRIVIAL, function)
    listed = dict(describe_methods())
    assert "version 0.1.0" in listed["old"]
    assert "nothing" in listed
