from __future__ import annotations

import json

import pytest

from benchmarks.speed.harness import harness
from perser.errors import UserError

from ..test_experiment import manifest, run_small  # noqa: F401 (a fixture)


def test_the_share_leaves_out_the_time_of_the_methods(manifest, tmp_path, capsys):  # noqa: F811
    methods = ["--bench.methods", "[random, most-frequent]"]
    out = tmp_path / "toy"
    run_small(manifest, out, *methods)
    harness(out, tmp_path / "figures.json")
    figures = json.loads((tmp_path / "figures.json").read_text())
    seconds, share = figures["seconds"], figures["ratios"]["harness_vs_run"]
    own = seconds["around the answers"] + seconds["results and report"]
    assert share == pytest.approx(own / seconds["whole run"])
    assert 0 < share < 1
    assert f"harness_vs_run: {share:.4f}" in capsys.readouterr().out


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="no finished run"):
        harness(tmp_path)
