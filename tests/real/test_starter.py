"""The starter models on real voices, as a user has them. Skipped unless data and encoder lie in ../shared."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from perser.cli.main import main
from perser.inference.recognizer import Recognizer
from perser.starter import VARIABLE

SHARED = Path(__file__).parents[3] / "shared"

EMODB, WHISPER = SHARED / "data" / "emodb" / "wav", SHARED / "models" / "whisper-base-encoder"

pytestmark = pytest.mark.skipif(
    not (EMODB.is_dir() and (WHISPER / "model.safetensors").is_file()),
    reason="needs ../shared/data/emodb and ../shared/models/whisper-base-encoder",
)

LETTERS = {"W": "angry", "F": "happy", "N": "neutral", "T": "sad", "A": "fear"}
"""The sixth letter of a file's name in EmoDB, and the emotion."""


@pytest.fixture(autouse=True)
def encoder(monkeypatch):
    monkeypatch.setenv(VARIABLE, str(WHISPER))


def clips_of(speaker: str) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for file in sorted(EMODB.glob(f"{speaker}*")):
        if (emotion := LETTERS.get(file.stem[5])) is not None:
            found.setdefault(emotion, []).append(file)
    return found


@pytest.mark.parametrize("name", ["starter", "starter-icl"])
def test_ten_recordings_of_a_person_are_enrolled_and_others_are_answered(name, tmp_path, capsys):
    clips = clips_of("08")
    for emotion, files in clips.items():
        (tmp_path / "examples" / emotion).mkdir(parents=True)
        for file in files[:2]:
            shutil.copy(file, tmp_path / "examples" / emotion)
    asked = [str(files[2]) for files in clips.values()]
    begun = time.monotonic()
    main(["enroll", "--model", name, "--examples", str(tmp_path / "examples"), "--out", str(tmp_path / "p")])
    main(["predict", "--profile", str(tmp_path / "p"), *asked])
    assert time.monotonic() - begun < 60  # 15 seconds on two quiet cores, with the start of the program
    lines = capsys.readouterr().out.splitlines()
    assert sum("without enrollment" in line for line in lines) == len(asked)


@pytest.mark.parametrize("name", ["starter", "starter-icl"])
def test_enrolled_clips_help_with_voices_of_another_language(name):
    """More clips than chance allows are right: 5 emotions, 3 clips each enrolled."""
    right = total = 0
    recognizer = Recognizer.from_pretrained(name)
    for speaker in ("03", "08", "16"):
        clips = clips_of(speaker)
        examples = [(file, emotion) for emotion, files in clips.items() for file in files[:3]]
        asked = [(file, emotion) for emotion, files in clips.items() for file in files[3:6]]
        answers = recognizer.enroll(examples).predict([file for file, _ in asked])
        emotions = recognizer.emotions.names
        for answer, (_, emotion) in zip(answers, asked, strict=True):
            right += max(emotions, key=lambda word, answer=answer: answer.probabilities[word]) == emotion
            total += 1
    assert right / total > 0.4
