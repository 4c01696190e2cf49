"""The starter models: where they are, that they are what was recorded, and where their encoder comes from."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from safetensors import safe_open

from benchmarks.starter.cards import CARDS
from benchmarks.starter.pack import CARD, KEPT, RECORD, digests
from perser.cli.main import main
from perser.encoders.encoder import SpeechEncoder
from perser.encoders.loading import check_encoder
from perser.errors import UserError
from perser.installed_routes import read_facts
from perser.io.checksums import verify_checksums
from perser.io.hub import trained_model_folder
from perser.starter import ENCODER, NAMES, VARIABLE, check_weights, place_of_encoder, starter_folder

STARTER = Path(starter_folder("starter")).parent
MOST_BYTES = 8 << 20


@pytest.fixture
def no_hub(monkeypatch):
    """Let the Hub be out of reach, and no variable be set."""

    def unreachable(self, name, timeout):
        raise ConnectionError("no network")

    monkeypatch.setattr(HfApi, "model_info", unreachable)
    monkeypatch.delenv(VARIABLE, raising=False)


def record():
    return json.loads((STARTER / RECORD).read_text(encoding="utf-8"))


def test_every_file_is_the_one_that_the_script_recorded():
    assert digests(STARTER) == record()["sha256"]
    for name in NAMES:
        assert verify_checksums(STARTER / name)


def test_the_cards_say_what_the_script_measured():
    figures = record()["figures"]
    for name, card in CARDS.items():
        assert (STARTER / name / CARD).read_text(encoding="utf-8") == card(figures)
    assert {"crema-d", "cremad"} & set(figures["few_shot"])


def test_they_are_small_in_half_precision_and_hold_no_weight_of_the_encoder():
    files = [file for file in STARTER.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < MOST_BYTES
    for file in STARTER.rglob("*.safetensors"):
        assert "encoder" not in file.as_posix()
        with safe_open(file, "pt") as weights:
            for key in weights.keys():  # noqa: SIM118 (it is no dictionary)
                precise = key.rpartition(".")[2] in KEPT
                assert precise or weights.get_slice(key).get_dtype() == "F16", key


def test_they_name_no_folder_of_the_machine_on_which_they_were_made():
    for file in STARTER.rglob("*.json"):
        text = file.read_text(encoding="utf-8")
        assert not re.search(r'"[^"]*/(root|home|work|tmp|Users)/', text), file


@pytest.mark.parametrize(("name", "route"), [("starter", "meta-perser"), ("starter-icl", "speech-lm")])
def test_a_name_stands_for_a_model_unless_a_folder_has_it(name, route, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = trained_model_folder(name)
    assert folder == starter_folder(name)
    facts = read_facts(folder)
    assert facts.route == route
    assert facts.emotions == ("angry", "disgust", "fear", "happy", "neutral", "sad")
    assert list(facts.needs) == [ENCODER] if route == "meta-perser" else ENCODER in facts.needs
    Path(name).mkdir()
    assert trained_model_folder(name) == Path(name)


def test_without_the_encoder_one_line_says_what_to_download_and_where_to_put_it(
    no_hub, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        with pytest.raises(SystemExit):
            main(["predict", "--model", name, str(tmp_path / "clip.wav")])
        message = capsys.readouterr().err.strip()
        assert "\n" not in message
        for part in (ENCODER, "hf download", VARIABLE):
            assert part in message


def test_the_variable_names_a_folder_with_the_encoder(no_hub, tmp_path, monkeypatch):
    SpeechEncoder.from_name("tiny-whisper").save_pretrained(tmp_path / "whisper")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "whisper"))
    assert place_of_encoder(ENCODER) == str(tmp_path / "whisper")
    assert place_of_encoder("another/encoder") == "another/encoder"
    check_encoder(ENCODER)
    assert SpeechEncoder.from_name(ENCODER).name == ENCODER
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=rf"{VARIABLE}: .*nowhere is no folder with the encoder"):
        check_encoder(ENCODER)


def test_another_encoder_than_in_training_is_refused(no_hub, tmp_path, monkeypatch, capsys):
    SpeechEncoder.from_name("tiny-whisper").save_pretrained(tmp_path / "whisper")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "whisper"))
    with pytest.raises(
        UserError, match=rf"{ENCODER}.*{VARIABLE}.*is not the one that this model was trained"
    ):
        check_weights(ENCODER, "a", "b")
    check_weights(ENCODER, "a", "a")
