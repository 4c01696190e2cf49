"""Every file in configs/ is one that its command takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from benchmarks.experiment import experiment
from benchmarks.experiments.ablations import with_ablations
from benchmarks.experiments.plan import check_trained_alike
from benchmarks.run import _planned as planned
from benchmarks.run import bench
from meta_perser.options import AnnealingOptions, LslrOptions
from perser.cli.main import parse_command

FOLDER = Path(__file__).parents[1] / "configs"
BENCHES = sorted(FOLDER.glob("bench_*.yaml"))
CONFIGS = sorted({*FOLDER.glob("*.yaml")} - {*BENCHES})
BASES = sorted((FOLDER / "base").glob("*.yaml"))
SWITCHES = ("ini", "csmt", "da", "lslr")
ABLATED = [
    ("ini",),
    ("ini", "csmt"),
    ("ini", "csmt", "da"),
    ("ini", "csmt", "lslr"),
    ("ini", "da"),
    ("ini", "lslr"),
]


def test_there_are_some():
    assert CONFIGS
    assert BENCHES


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_is_taken_whole(path):
    values = parse_command(experiment, ["--config", str(path)])
    assert values["out"] == Path("runs") / path.stem
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert values["title"] == content["title"]
    text = path.read_text(encoding="utf-8")
    assert f"--config configs/{path.name}" in text or path.stem == "quickstart"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_can_be_planned(path, only_whats_here):
    plan = planned(path, None, None)
    assert plan.measured
    assert {case.methods for case, _ in plan.measured} == {tuple(plan.recipe.methods)}


@pytest.mark.parametrize("path", BENCHES, ids=lambda path: path.stem)
def test_a_bench_config_is_taken_whole_and_each_experiment_can_be_planned(path, only_whats_here, monkeypatch):
    monkeypatch.chdir(FOLDER.parent)  # where a reader stands: its paths are relative
    values = parse_command(bench, ["--config", str(path)])
    assert values["out"] == Path("runs") / path.stem
    text = path.read_text(encoding="utf-8")
    assert values["title"] == yaml.safe_load(text)["title"]
    assert f"perser bench --config configs/{path.name}" in text
    plans = [planned(one, values["methods"], values["limit"]) for one in values["experiments"]]
    check_trained_alike(plans)
    assert len({plan.out for plan in plans}) == len(plans)


def test_the_bench_of_iemocap_has_every_table_of_the_paper():
    values = parse_command(bench, ["--config", str(FOLDER / "bench_iemocap.yaml")])
    assert sorted(one.stem for one in values["experiments"]) == sorted(PAPER)


@pytest.fixture
def only_whats_here(monkeypatch):
    """No corpus and no model but the small built-in ones is on disk: whether they are there is not asked."""
    from perser.encoders.loading import check_encoder
    from speechlm_icl.model.language_model import check_language_model

    monkeypatch.setattr("perser.cli.prepare._check_places", lambda *_: None)
    monkeypatch.setattr(
        "perser.encoders.loading.check_encoder", lambda name: name.startswith("tiny-") and check_encoder(name)
    )
    monkeypatch.setattr(
        "speechlm_icl.model.language_model.check_language_model",
        lambda name, lora: name.startswith("tiny-") and check_language_model(name, lora),
    )


@pytest.mark.parametrize("path", BASES, ids=lambda path: path.stem)
def test_a_base_is_taken_whole_and_used(path):
    parse_command(experiment, ["--config", str(path)])
    assert any(f"\nbase: base/{path.name}" in one.read_text(encoding="utf-8") for one in CONFIGS)


def paper(name: str) -> dict:
    return parse_command(experiment, ["--config", str(FOLDER / f"{name}.yaml")])


ENCODERS = {
    "wavlm": "microsoft/wavlm-base",
    "wav2vec2": "facebook/wav2vec2-base",
    "hubert": "facebook/hubert-base-ls960",
}
TABLE_1 = {
    f"iemocap_{scenario}_{family}": (scenario, encoder)
    for scenario in ("seen", "unseen")
    for family, encoder in ENCODERS.items()
}
OTHERS = {family: ENCODERS[family] for family in ("wav2vec2", "hubert")}
TABLE_2 = {"ablation_unseen": ("unseen", ENCODERS["wavlm"])} | {
    f"ablation_unseen_{family}": ("unseen", encoder) for family, encoder in OTHERS.items()
}
FIGURE_2 = {"sweep_k": ("seen", ENCODERS["wavlm"])} | {
    f"sweep_k_{family}": ("seen", encoder) for family, encoder in OTHERS.items()
}
PAPER = TABLE_1 | TABLE_2 | FIGURE_2


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_protocol(name):
    """Meta-PerSER (arXiv 2505.16220), sections 2.3, 3.1 and 3.2."""
    values = paper(name)
    scenario, encoder = PAPER[name]
    assert values["encoder"] == encoder
    draw, split = values["draw"], values["draw"]["split"]
    assert (draw["k"], draw["q"], draw["seeds"]) == (32, 128, 10)
    assert (values["turns"], split.folds, split.validation_persons) == ("all", 5, 1)
    assert split.eligible == ["E1", "E2", "E3", "E4", "E5"]
    held_out = ("session", ["5"]) if scenario == "unseen" else (split.held_out_by, None)
    assert (split.scenario, split.held_out_by, split.held_out) == (scenario, *held_out)
    trained = values["meta_train"]
    assert (trained["scope"], trained["init"], trained["csmt"]) == ("all", "ssl-e", True)
    assert trained["derivative_annealing"] == AnnealingOptions("inner_steps", 0.3)
    assert trained["lslr"] == LslrOptions("tensor")
    assert (trained["inner"].steps, trained["inner"].support) == (5, 32)
    assert trained["inner"].adaptation_steps == values["pretrain"]["adaptation_steps"] == 50
    assert values["pretrain"]["class_balanced"]


@pytest.mark.parametrize("name", TABLE_2)
def test_the_ablation_has_every_row_of_table_2(name):
    """By what is on: start point, combined set, annealing, learned rates."""
    values = paper(name)
    _, options = with_ablations(values["bench"]["methods"], values["meta_train"], values["ablations"])
    on = {}
    for model, one in options.items():
        annealed, learned = one["derivative_annealing"].by != "off", one["lslr"].granularity != "off"
        row = (one["init"] == "ssl-e", one["csmt"], annealed, learned)
        name = model.removeprefix("meta-perser")
        on[name] = {switch for switch, is_on in zip(SWITCHES, row, strict=True) if is_on}
    assert on.pop("") == set(SWITCHES)
    assert on.pop("-none") == set()
    assert on == {f"-{'-'.join(names)}": set(names) for names in ABLATED}


@pytest.mark.parametrize("name", FIGURE_2)
def test_the_sweep_has_every_k_of_figure_2(name):
    assert paper(name)["sweep_k"] == [2, 4, 8, 16, 32, 64]


def test_the_quickstart_file_is_the_embedded_default():
    path = next(path for path in CONFIGS if path.stem == "quickstart")
    assert parse_command(experiment, ["--config", str(path)]) == parse_command(experiment, [])
