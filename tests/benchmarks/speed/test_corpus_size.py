from __future__ import annotations

import json

import pytest

from benchmarks.speed import corpus_size as measured
from benchmarks.speed.corpus_size import corpus_size, write_manifest
from perser.corpora.readers.manifest import read_manifest
from perser.errors import UserError

SECONDS = {"seconds_open", "seconds_first_episode"}


def test_a_small_corpus_is_measured_from_the_manifest_to_the_episodes(tmp_path, monkeypatch, capsys):
    """Both corpora are small, and every stage runs in this process and stays within its bound."""

    def here(stage, place):
        measured.run_stage(stage, str(place))
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    monkeypatch.setattr(measured, "SMALL", 600)
    monkeypatch.setattr(measured, "_in_a_process", here)
    corpus_size(1_200, 8_000, folder=tmp_path, json=tmp_path / "figures.json")
    figures = json.loads((tmp_path / "figures.json").read_text())
    large = figures["large"]
    assert all(large[name] <= bound for name, bound in figures["bounds"].items() if name in SECONDS)
    assert 0 < large["gigabytes_prepare"] <= large["peak_gigabytes"]
    ratio = figures["ratios"]["episode_large_vs_small"]
    assert ratio == pytest.approx(large["seconds_episode"] / figures["small"]["seconds_episode"])
    assert ratio < 10
    assert "an episode, 1200 utterances against 600" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]


def test_an_error_names_the_stage_that_failed(tmp_path):
    with pytest.raises(UserError, match=r"draw failed: .*perser prepare"):
        measured._in_a_process("draw", tmp_path)


def test_the_manifest_has_the_rows_that_were_asked_for(tmp_path):
    write_manifest(tmp_path / "in", 500, 3_200)
    listing = read_manifest(tmp_path / "in")
    assert len(listing.utterances) == 500
    assert len(listing.annotations) == 3_200
    assert len({(row.utterance_id, row.listener) for row in listing.annotations}) == 3_200


def test_counts_that_are_too_small_are_refused():
    with pytest.raises(UserError, match="utterances: at least 3000"):
        corpus_size(10, 100)
