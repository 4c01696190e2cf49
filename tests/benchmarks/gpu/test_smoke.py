"""The trainings, the resumed one, the measuring and the answers run on a tiny corpus of noise."""

from __future__ import annotations

import importlib.util
import json

import pytest

from benchmarks.gpu import findings, smoke
from benchmarks.gpu.findings import run_check
from benchmarks.gpu.smoke import Workplace, checks
from perser.training.run_log import ENVIRONMENT, METRICS


def test_every_check_passes(on_cpu):
    made = [run_check("smoke", name, check) for name, check in checks(on_cpu)]
    assert {finding.check: finding.text for finding in made if finding.status == "failed"} == {}
    skipped = {finding.check for finding in made if finding.status == "skipped"}
    assert skipped <= {"icl-train, LoRA, 4-bit"}  # where bitsandbytes is missing


@pytest.fixture
def trained(tmp_path):
    """A function that writes the log of a training with these losses on this device."""

    def write(losses, device="some CPU"):
        lines = [{"step": 0, "maf1": 0.5}]
        lines += [{"step": step, "loss": loss, "seconds": 0.1} for step, loss in enumerate(losses, start=1)]
        (tmp_path / METRICS).write_text("".join(json.dumps(line) + "\n" for line in lines))
        (tmp_path / ENVIRONMENT).write_text(json.dumps({"device": device}) + "\n")
        return tmp_path

    return write


def test_a_loss_that_is_not_finite_does_not_pass(trained, tmp_path):
    place = Workplace(tmp_path, "cpu")
    assert place._trained(trained([1.0, 0.5])).passed
    assert not place._trained(trained([1.0, None])).passed


def test_a_training_beside_the_gpu_does_not_pass(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(smoke.torch.cuda, "get_device_name", lambda: "NVIDIA H100")
    place = Workplace(tmp_path, "cuda")
    assert place._trained(trained([1.0], "NVIDIA H100")).passed
    assert not place._trained(trained([1.0])).passed


@pytest.mark.parametrize(("package", "check"), [("jsonargparse", "predict"), ("bitsandbytes", "4bit")])
def test_a_check_without_its_package_is_skipped(package, check, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(findings, "find_spec", lambda name: None if name == package else find(name))
    place = Workplace(tmp_path, "cpu")
    make = place.predict if check == "predict" else lambda: place.icl_train_lora("4bit")
    finding = run_check("smoke", check, make)
    assert (finding.status, finding.text) == ("skipped", f"needs {package}, not installed here")
