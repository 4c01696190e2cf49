"""An experiment that is killed and started again gives the results of one that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

from benchmarks.experiments.options import QUICKSTART

from .test_experiment import manifest, run_small, small  # noqa: F401 (a fixture)

METHODS = ["--bench.methods", "[random, entire-zero, head-few, meta-perser]"]


def results_without_times(run):
    content = json.loads((run / "results.json").read_text())
    for row in content["rows"]:
        del row["seconds_personalize"], row["seconds_predict"]
    return content


def progress(out):
    """Return the number of stages that ended and cells that were measured."""
    return len(list((out / "stages").glob("*.json"))) + len(list(out.glob("predictions/*/*.parquet")))


def in_training(out):
    """Return whether SSL-E is being trained and has a checkpoint."""
    return any(out.glob("models/ssl-e-running/checkpoints/0*"))


def test_a_killed_run_ends_like_an_undisturbed_one(manifest, tmp_path):  # noqa: F811
    """It is killed (SIGKILL) during a training, and again while cells are measured; nothing is done twice."""
    out = tmp_path / "toy"
    command = [sys.executable, "-m", "benchmarks.experiment", "--config", str(QUICKSTART)]
    command += small(manifest, out, *METHODS)
    often = ["--pretrain.run.checkpoint_seconds", "0"]
    moments = ((often, lambda: in_training(out)), ([], lambda: progress(out) >= 7))
    for options, reached in moments:
        run = subprocess.Popen(
            [*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        while not reached() and run.poll() is None:
            time.sleep(0.005)
        os.kill(run.pid, signal.SIGKILL)
        messages = run.communicate()[1]
        assert run.returncode == -signal.SIGKILL, messages[-2000:]
        assert ("going on after step" in messages) == (not options)
        measured = {path: path.stat().st_mtime_ns for path in out.glob("predictions/*/*.parquet")}
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr.count("finished before, skipped") >= 4
    assert measured
    assert all(path.stat().st_mtime_ns == changed for path, changed in measured.items())
    run_small(manifest, tmp_path / "undisturbed", *METHODS)
    assert results_without_times(out) == results_without_times(tmp_path / "undisturbed")
    assert list(out.glob("**/.writing-*")) == []
