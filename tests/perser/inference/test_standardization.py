"""By which clips features are standardized after an enrollment: a model that reads them as they are.

The routes' own tests compare the answers with those of the methods (`tests/meta_perser/test_inference.py`).
"""

from __future__ import annotations

import pytest

from perser.cli.main import main
from perser.errors import UserError
from perser.inference.recognizer import Recognizer


def test_a_model_without_a_standardization_enrolls_as_before(fake_model, write_clip, tmp_path):
    recognizer = Recognizer.from_pretrained(tmp_path / "model")
    examples = [(write_clip("a.wav", 0), "angry"), (write_clip("b.wav", 1), "sad")]
    clip = write_clip("c.wav", 1)
    usual = recognizer.enroll(examples).predict([clip])
    assert recognizer.enroll(examples, standardize="model").predict([clip]) == usual
    with pytest.raises(UserError, match="standardize: this model reads features as they are"):
        recognizer.enroll(examples, standardize="enrolled")
    with pytest.raises(UserError, match="standardize: corpus, give enrolled or model"):
        recognizer.enroll(examples, standardize="corpus")


def test_a_profile_that_goes_on_learning_decides(tmp_path, capsys):
    (tmp_path / "a.profile").write_bytes(b"")
    (tmp_path / "a.csv").write_text("path,emotions\n")
    arguments = ["--profile", str(tmp_path / "a.profile"), "--examples", str(tmp_path / "a.csv")]
    with pytest.raises(SystemExit):
        main(["enroll", *arguments, "--standardize", "model"])
    assert "standardize: the profile decides" in capsys.readouterr().err
