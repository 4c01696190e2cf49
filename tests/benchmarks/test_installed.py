"""`perser bench --list`."""

from __future__ import annotations

from importlib.metadata import EntryPoint

from benchmarks import installed
from benchmarks.reporting.columns import METRICS
from perser.cli.main import main


def test_methods_corpora_and_metrics_are_listed(capsys):
    main(["bench", "--list"])
    printed = capsys.readouterr().out
    for name in ("meta-perser", "speech-lm", "entire-few", "cremad", "iemocap", *METRICS):
        assert name in printed
    assert "Meta-PerSER: 50 gradient steps" in " ".join(printed.split())


def test_a_package_that_does_not_load_hides_no_other(monkeypatch):
    broken = EntryPoint("broken", "no_such_package:corpus", "perser.corpora")
    whole = EntryPoint("emodb", "perser.corpora.readers.acted:EMODB", "perser.corpora")
    monkeypatch.setattr(installed, "entry_points", lambda group: [whole, broken])
    found = dict(installed.installed("perser.corpora"))
    assert found["broken"].startswith("does not load: No module named")
    assert found["emodb"]
