"""The notebooks run, one after the other, on a toy corpus and in small."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"
ORDER = ("train", "compare", "personalize")
"""The first trains what the others use."""
SMALLER = {
    "--epochs 1": "--epochs 1 --head_size 8 --adaptation_steps 2",
    "--outer.steps 20 --inner.steps 5": "--outer.steps 2 --inner.steps 2 --inner.support 8 "
    "--inner.adaptation_steps 2",
    "--steps 20 --batch_size 4 --validation_sequences 4": "--steps 2 --pairs 8 --batch_size 2 "
    "--validation_sequences 2",
}


def test_the_test_knows_every_notebook():
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(ORDER)


@pytest.mark.parametrize("name", ORDER)
def test_a_notebook_is_saved_without_output(name):
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


def test_the_notebooks_run(toy_corpus, toy_episodes_path, tmp_path, monkeypatch):
    # The program `perser` of the environment in which the tests run.
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    mine = tmp_path / "runs" / "mine"
    shutil.copytree(toy_corpus.folder, mine / "corpus")
    shutil.copy(toy_episodes_path, mine / "episodes.json")
    replaced = set()
    for name in ORDER:
        notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
        for cell in notebook.cells:
            for text, smaller in SMALLER.items():
                if text in cell.source:
                    cell.source = cell.source.replace(text, smaller)
                    replaced.add(text)
        run = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
        run.execute()
    assert replaced == set(SMALLER)
    assert (mine / "results" / "report.html").is_file()
    assert (tmp_path / "alice.profile").is_file()
