"""The documents' commands, run in their order by somebody who follows them, on a toy corpus and in small."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from perser.cli.main import main

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/protocol.md")
FENCE = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SMALL = {
    "episodes": "--k 8 --q 8 --split.validation_groups 2 --split.validation_persons 2",
    "pretrain": "--epochs 1 --head_size 8 --adaptation_steps 2",
    "meta-train": "--inner.steps 2 --inner.support 8 --inner.adaptation_steps 2 --outer.steps 2",
    "icl-train": "--steps 2 --pairs 8 --batch_size 2 --validation_sequences 2",
    "icl-controls": "--pairs 8 --orders 2",
}
"""What makes a command small; said after its own options, so that it wins."""
ELSEWHERE = {
    "pip install": "`.ci/run`",
    "perser quickstart": "tests/benchmarks/test_experiment.py, in small",
    "perser experiment": "tests/test_configs.py and tests/benchmarks/test_iemocap_configs.py",
    "perser bench --config": "tests/test_configs.py and tests/benchmarks/measuring/test_cells.py",
    "perser prepare": "tests/perser/corpora: their corpora are not here",
    "perser demo": "tests/perser/demo: it would wait for somebody",
    "HuggingFaceTB/": "tests/speechlm_icl: the model comes from the Hub",
    "accelerate launch": "tests/meta_perser/training/test_outer_loop.py, with torchrun: it wants GPUs",
    "torchrun": "tests/test_two_processes.py, tests/meta_perser and tests/benchmarks/measuring/test_cells.py",
    "--run.tracker": "tests/perser/training/test_trackers.py",
}
"""Commands that are not run here, by what is in them, and where what they do is tested."""


def commands() -> Iterator[str]:
    for page in PAGES:
        for block in FENCE.findall((ROOT / page).read_text(encoding="utf-8")):
            yield from filter(None, block.replace("\\\n", " ").splitlines())


def is_elsewhere(command: str) -> bool:
    return any(part in command for part in ELSEWHERE) and "prepare --list" not in command


def test_every_command_of_a_run_of_ones_own_works(toy_corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # `perser prepare simulated`, in a fraction of the time.
    shutil.copytree(toy_corpus.folder, "runs/mine/corpus")
    # The quickstart's models are as good as one's own, and the clips anybody's.
    Path("runs/quickstart").symlink_to("mine")
    recordings = toy_corpus.recordings
    for name, one in zip(("a.wav", "b.wav", "clip.wav"), recordings.utterance_ids, strict=False):
        shutil.copy(recordings.path(one), name)
    Path("recordings").mkdir()
    for one in recordings.utterance_ids[3:9]:
        shutil.copy(recordings.path(one), "recordings")
    Path("alice.csv").write_text("path,emotions\na.wav,angry\nb.wav,happy;neutral\n")
    run = [command for command in commands() if not is_elsewhere(command)]
    for command in run:
        program, name, *options = shlex.split(command)
        assert program == "perser"
        main([name, *options, *SMALL.get(name, "").split()])
    mine = Path("runs/mine")
    made = ("episodes.json", "episodes-missing.json", "models/meta-perser", "models/speech-lm")
    assert all((mine / one).exists() for one in made)
    assert (mine / "results" / "report.html").is_file()
    assert (mine / "controls" / "controls.md").is_file()
    assert "Macro-F1" in Path("runs/exported/speech-lm/README.md").read_text()
    assert "without enrollment" in capsys.readouterr().out


@pytest.mark.parametrize("part", ELSEWHERE)
def test_what_is_said_to_be_elsewhere_is_still_there(part):
    assert any(part in command for command in commands())
