"""Every file in configs/ is one that its command accepts, and means what it says."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from benchmarks import experiment, quickstart
from benchmarks.experiments.ablations import with_ablations
from benchmarks.experiments.options import QUICKSTART, read_experiment
from benchmarks.experiments.plan import check_trained_alike, plan_file
from benchmarks.run import bench
from benchmarks.trivial_baselines import METHODS
from meta_perser.options import AnnealingOptions, LslrOptions
from meta_perser.pretrain import pretrain
from meta_perser.train import meta_train
from perser.cli.episodes import episodes
from perser.cli.parser import parse_command
from perser.cli.prepare import prepare
from speechlm_icl.train import icl_train

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


def test_there_are_configs():
    assert CONFIGS
    assert BENCHES


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_is_accepted(path):
    values = read_experiment(path)
    assert values["out"] == Path("runs") / path.stem
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert values["title"] == content["title"]
    text = path.read_text(encoding="utf-8")
    assert f"--config configs/{path.name}" in text


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_can_be_planned(path, no_files_needed):
    plan = plan_file(path)
    assert plan.measured
    first = {case.methods for fold in plan.folds for case in [plan.case(plan.trainings(fold)[0], fold.usual)]}
    assert first == {tuple(plan.recipe.methods)}
    # Further training seeds measure what is trained alone.
    assert all({*case.methods} <= {*plan.recipe.methods} for case, _ in plan.measured)
    if not plan.train_seeds:
        assert {case.methods for case, _ in plan.measured} == first


@pytest.mark.parametrize("path", BENCHES, ids=lambda path: path.stem)
def test_a_bench_config_is_accepted_and_its_experiments_can_be_planned(path, no_files_needed, monkeypatch):
    monkeypatch.chdir(FOLDER.parent)  # its paths are relative to the repository
    values = parse_command(bench, ["--config", str(path)])
    assert values["out"] == Path("runs") / path.stem
    text = path.read_text(encoding="utf-8")
    assert values["title"] == yaml.safe_load(text)["title"]
    assert f"perser bench --config configs/{path.name}" in text
    plans = [plan_file(file, values["methods"], values["limit"]) for file in values["experiments"]]
    check_trained_alike(plans)
    assert len({plan.out for plan in plans}) == len(plans)


def test_the_bench_of_iemocap_has_every_table_of_the_paper():
    values = parse_command(bench, ["--config", str(FOLDER / "bench_iemocap.yaml")])
    assert sorted(file.stem for file in values["experiments"]) == sorted(PAPER)


@pytest.fixture
def no_files_needed(monkeypatch):
    """Plans do not check that the corpora and models, which are not here, exist."""
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
    monkeypatch.setattr("speechlm_icl.audio_llm.start.is_audio_llm_name", lambda name: False)


@pytest.mark.parametrize("path", BASES, ids=lambda path: path.stem)
def test_a_base_is_accepted_and_used(path):
    read_experiment(path)
    assert any(f"\nbase: base/{path.name}" in config.read_text(encoding="utf-8") for config in CONFIGS)


def paper(name: str) -> dict:
    return read_experiment(FOLDER / f"{name}.yaml")


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
    assert (draw["k"], draw["q"], draw["seeds"], draw["validation_seeds"]) == (32, 128, 10, 1)
    assert (values["folds"], split.folds, split.validation_persons) == ("all", 5, 1)
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
    """Each row is told by what is on: initialization, combined set, annealing, learned rates."""
    values = paper(name)
    _, options = with_ablations(values["bench"]["methods"], values["meta_train"], values["ablations"])
    on = {}
    for model, trained in options.items():
        annealed, learned = trained["derivative_annealing"].by != "off", trained["lslr"].granularity != "off"
        row = (trained["init"] == "ssl-e", trained["csmt"], annealed, learned)
        name = model.removeprefix("meta-perser")
        on[name] = {switch for switch, is_on in zip(SWITCHES, row, strict=True) if is_on}
    assert on.pop("") == set(SWITCHES)
    assert on.pop("-none") == set()
    assert on == {f"-{'-'.join(names)}": set(names) for names in ABLATED}


@pytest.mark.parametrize("name", FIGURE_2)
def test_the_sweep_has_every_k_of_figure_2(name):
    assert paper(name)["sweep_k"] == [2, 4, 8, 16, 32, 64]


QUICKSTART_CHANGES = {
    "title": "Quickstart on simulated speech",
    "out": Path("runs/quickstart"),
    "threads": 1,
    "workers": 1,
    "prepare.corpus": "simulated",
    "draw.q": 64,
    "draw.seeds": 2,
    "draw.validation_seeds": 2,
    "draw.split.validation_groups": 5,
    "pretrain.scope": "top_layers:3",
    "pretrain.frame_window": 2,
    "pretrain.epochs": 12,
    "pretrain.batch_size": 16,
    "pretrain.learning_rate": 2e-3,
    "pretrain.class_balanced": False,
    "meta_train.scope": "head",
    "meta_train.csmt": False,
    "meta_train.derivative_annealing.by": "off",
    "meta_train.inner.solver": "proximal",
    "meta_train.inner.steps": 50,
    "meta_train.inner.query": 64,
    "meta_train.inner.rate": 0.005,
    "meta_train.outer.steps": 240,
    "meta_train.outer.batch_size": 8,
    "meta_train.outer.validate_every": 20,
    "meta_train.outer.f1_weight": 1.0,
    "icl_train.steps": 200,
    "icl_train.projector.feature_noise": 0.3,
    "icl_train.projector_mixup": 0.0,
}


@pytest.fixture
def empty(tmp_path):
    """A file that says nothing."""
    (tmp_path / "empty.yaml").write_text("")
    return tmp_path / "empty.yaml"


def written_out(values: dict, prefix: str = "") -> dict:
    """Values with those of stages and dataclasses by their dotted names."""
    written = {}
    for name, value in values.items():
        inside = value if isinstance(value, dict) else getattr(value, "__dict__", None)
        if isinstance(value, Path) or not inside:
            written[prefix + name] = value
        else:
            written |= written_out(inside, f"{prefix}{name}.")
    return written


NEEDED = ["--corpus", "c", "--out", "o"]
STAGES = {
    "prepare": (prepare, NEEDED),
    "draw": (episodes, NEEDED),
    "pretrain": (pretrain, [*NEEDED, "--episodes", "e"]),
    "meta_train": (meta_train, [*NEEDED, "--episodes", "e", "--ssl_e", "s"]),
    "icl_train": (icl_train, [*NEEDED, "--episodes", "e"]),
}


@pytest.mark.parametrize("name", STAGES)
def test_an_empty_file_has_the_defaults_of_each_stage(name, empty):
    stage, needed = STAGES[name]
    options = read_experiment(empty)[name]
    assert options.pop("corpus", None) is None
    defaults = parse_command(stage, needed)
    assert options == {key: defaults[key] for key in options}
    assert defaults.keys() - options.keys() <= {
        *("corpus", "episodes", "out", "cache", "ssl_e", "encoder", "seed", "target", "largest_k", "resume"),
    }


def test_an_empty_file_measures_what_bench_does(empty):
    assert read_experiment(empty)["bench"] == {
        "methods": list(METHODS),
        "limit": None,
        "standardize": "model",
    }


def test_the_quickstart_differs_from_the_defaults_in_these_options(empty):
    defaults, chosen = written_out(read_experiment(empty)), written_out(read_experiment(QUICKSTART))
    assert defaults.keys() == chosen.keys()
    assert {name: value for name, value in chosen.items() if value != defaults[name]} == QUICKSTART_CHANGES


def test_the_quickstart_file_is_installed_with_the_package():
    project = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text(encoding="utf-8"))
    assert Path(experiment.__file__).parent == QUICKSTART.parent
    assert QUICKSTART.name in project["tool"]["setuptools"]["package-data"]["benchmarks"]


def test_the_quickstart_command_runs_the_quickstart_file(monkeypatch):
    runs = []
    monkeypatch.setattr(experiment, "experiment", lambda **options: runs.append(options))
    quickstart.quickstart()
    assert runs == [read_experiment(FOLDER / "quickstart.yaml")]
    quickstart.quickstart(Path("elsewhere"), 7)
    assert runs[1] == runs[0] | {"out": Path("elsewhere"), "seed": 7}


def test_bench_does_not_import_the_experiment_command():
    code = "import benchmarks.run, sys; print('benchmarks.experiment' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
