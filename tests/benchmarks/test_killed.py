"""A comparison that is killed, at any point, and started again ends as one that was left alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

from benchmarks.experiment import experiment
from perser.cli.main import parse_command

from .test_experiment import manifest, small  # noqa: F401 (a fixture)

METHODS = ["--bench.methods", "[random, entire-zero, head-few, meta-perser]"]


def stripped(run):
    content = json.loads((run / "results.json").read_text())
    for row in content["rows"]:
        del row["seconds_personalize"], row["seconds_predict"]
    return content


def progress(out):
    """What a run has got to: the stages that ended and the cells that are there."""
    return len(list((out / "stages").glob("*.json"))) + len(list(out.glob("predictions/*/*.parquet")))


def in_training(out):
    """Whether SSL-E is being trained and has a checkpoint."""
    return any(out.glob("models/ssl-e-running/checkpoints/0*"))


def test_a_run_killed_on_its_way_ends_as_an_undisturbed_one(manifest, tmp_path):  # noqa: F811
    """Killed (SIGKILL) within a training, and once so many stages and cells are there; each time it goes on
    and does nothing twice."""
    out = tmp_path / "toy"
    command = [sys.executable, "-m", "benchmarks.experiment", *small(manifest, out, *METHODS)]
    often = ["--pretrain.run.checkpoint_seconds", "0"]
    moments = ((often, lambda: in_training(out)), ([], lambda: progress(out) >= 7))
    for options, reached in moments:
        run = subprocess.Popen(
            [*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        while not reached() and run.poll() is None:
            time.sleep(0.005)
        os.kill(run.pid, signal.SIGKILL)
        said = run.communicate()[1]
        assert run.returncode == -signal.SIGKILL, said[-2000:]
        assert ("going on after step" in said) == (not options)
        kept = {path: path.stat().st_mtime_ns for path in out.glob("predictions/*/*.parquet")}
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr.count("finished before, skipped") >= 4
    assert kept
    assert all(path.stat().st_mtime_ns == changed for path, changed in kept.items())
    experiment(**parse_command(experiment, small(manifest, tmp_path / "undisturbed", *METHODS)))
    assert stripped(out) == stripped(tmp_path / "undisturbed")
    assert list(out.glob("**/.writing-*")) == []
