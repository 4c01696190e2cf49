"""The page of chosen options, and the pages in the repository, which are made from results files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.few_shot.options_page import options_page
from benchmarks.few_shot.table import table
from perser.errors import UserError

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"

ROWS = {
    "about": "Two trainings",
    "rows": [
        {
            "options": {"noise": 0.3, "steps": 9},
            "accuracy": {"1": 0.5},
            "loss_training": 1,
            "loss_held_out": 2,
        },
        {
            "options": {"noise": 1.0, "steps": 9},
            "accuracy": {"1": 0.25},
            "loss_training": 3,
            "loss_held_out": 4,
        },
    ],
}
FOUND = {"train_loss": 1.239, "permuted_loss": 2.5, "permuted_loss_late": 2.25, "control_none_accuracy": 0.5}
TRAINING = {
    "options": {
        "learning_rate": 3e-4,
        "projector_mixup": 0.0,
        "first_answers": 16,
        "permute_labels_end": None,
        "steps": 50,
    },
    "projector": {"feature_noise": 0.3},
    "history": [{"step": 50} | FOUND],
}


def page_of(folder: Path, **files: object) -> str:
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    options_page(folder, folder / "page.md")
    return (folder / "page.md").read_text()


def test_rows_have_the_options_that_differ_and_what_was_measured(tmp_path):
    page = page_of(tmp_path, two_trainings=ROWS)
    lines = page[page.index("## two trainings") :].splitlines()
    assert lines[2] == "Two trainings. Accuracy by enrolled clips of each emotion."
    assert lines[4:] == [
        "| noise | 1 of each | Loss, training | Loss, held out |",
        "|---|---|---|---|",
        "| 0.3 | 0.500 | 1.00 | 2.00 |",
        "| 1 | 0.250 | 3.00 | 4.00 |",
    ]


def test_a_training_has_a_row_for_each_validation(tmp_path):
    page = page_of(tmp_path, small=TRAINING)
    assert "projector.feature_noise 0.3, learning_rate 0.0003, projector_mixup 0, first_answers 16" in page
    assert page.splitlines()[-1] == "| 50 | 1.24 | 2.50 | 2.25 | 0.50 |"


@pytest.mark.parametrize("content", [[], {}, {"rows": 3}, {"rows": []}, {"history": [{}]}])
def test_another_file_is_refused_in_one_line(tmp_path, content):
    with pytest.raises(UserError, match=r"other\.json: not a results file of options"):
        page_of(tmp_path, other=content)
    assert not (tmp_path / "page.md").exists()


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"^results: .* has no JSON files: name the folder"):
        options_page(tmp_path, tmp_path / "page.md")


def test_the_pages_in_the_repository_are_made_from_the_results_there(tmp_path, monkeypatch):
    """Whoever types a figure into one of them by hand finds it here."""
    monkeypatch.chdir(RESULTS.parents[1])
    options_page(out=tmp_path / "options.md")
    table(out=tmp_path / "few_shot.md")
    assert (tmp_path / "options.md").read_text() == (RESULTS / "icl_options.md").read_text()
    assert (tmp_path / "few_shot.md").read_text() == (RESULTS / "few_shot.md").read_text()
