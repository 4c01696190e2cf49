"""Small instances in Dynamic-SUPERB's own format, of simulated speech."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import datasets
import pytest
import torch
from datasets import Audio, Dataset, DatasetDict
from transformers import LlamaConfig, LlamaForCausalLM

from perser.corpora.readers.simulated import EMOTIONS, SENTENCES, make_simulated
from speechlm_icl.model.language_model import LoraOptions
from speechlm_icl.model.speech_lm import new_model
from speechlm_icl.projectors.base import ProjectorOptions
from speechlm_icl.prompt.prompt import PromptOptions, word_tokenizer

LISTED = f"{', '.join(EMOTIONS.names[:-1])}, or {EMOTIONS.names[-1]}"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf-cache")


@pytest.fixture(scope="session")
def speech(tmp_path_factory) -> list[SimpleNamespace]:
    """24 clips: two speakers say two sentences, each in six emotions."""
    folder = tmp_path_factory.mktemp("speech")
    listing = make_simulated(folder, speakers=2, sentences=2, listeners=1, clips_per_listener=1)
    return [
        SimpleNamespace(
            path=folder / utterance.audio,
            file=utterance.utterance_id,
            speaker=utterance.speaker,
            emotion=utterance.utterance_id.rpartition("_")[2],
            text=utterance.text,
        )
        for utterance in listing.utterances
    ]


def write_about(folder: Path, name: str, metrics: list[str]) -> Path:
    about = {"name": name, "description": "d", "keywords": ["emotion"], "metrics": metrics}
    about |= {"path": f"DynamicSuperb/{name}", "version": "0123abc"}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "instance.json").write_text(json.dumps(about))
    return folder


@pytest.fixture(scope="session")
def emotion(speech, tmp_path_factory) -> Path:
    """Emotion classification, one recording: a folder with metadata.csv, as instances are submitted."""
    folder = write_about(tmp_path_factory.mktemp("emotion"), "EmotionRecognition_Simulated", ["accuracy"])
    (folder / "data" / "test").mkdir(parents=True)
    with (folder / "metadata.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file_name", "file", "instruction", "label"])
        for clip in speech:
            name = f"data/test/{clip.file}.wav"
            (folder / name).write_bytes(clip.path.read_bytes())
            instruction = f"Determine the emotion in the speech. The answer could be {LISTED}."
            writer.writerow([name, clip.file, instruction, clip.emotion])
    return folder


@pytest.fixture(scope="session")
def same_speaker(speech, tmp_path_factory) -> Path:
    """Speaker verification, two recordings: parquet with the files' bytes, as the Hub keeps instances."""
    folder = write_about(tmp_path_factory.mktemp("same"), "SpeakerVerification_Simulated", ["Accuracy"])
    pairs = [(speech[number], speech[-1 - number // 2]) for number in range(len(speech))]
    rows = {
        "audio": [{"bytes": clip.path.read_bytes(), "path": clip.path.name} for clip, _ in pairs],
        "audio2": [{"bytes": other.path.read_bytes(), "path": other.path.name} for _, other in pairs],
        "file": [f"{clip.file}-{other.file}" for clip, other in pairs],
        "instruction": ["Is it the same speaker? The answer could be yes or no."] * len(pairs),
        "label": ["yes" if clip.speaker == other.speaker else "no" for clip, other in pairs],
    }
    data = Dataset.from_dict(rows)
    for column in ("audio", "audio2"):
        data = data.cast_column(column, Audio(decode=False))
    (folder / "data").mkdir()
    data.to_parquet(folder / "data" / "test-00000-of-00001.parquet")
    return folder


@pytest.fixture(scope="session")
def spoken(speech, tmp_path_factory) -> Path:
    """Speech recognition: a folder that `datasets` saved, with the files' paths."""
    folder = write_about(tmp_path_factory.mktemp("spoken"), "SpeechRecognition_Simulated", ["WER"])
    assert {clip.text for clip in speech} == set(SENTENCES[:2])
    rows = {
        "audio": [str(clip.path) for clip in speech],
        "file": [clip.file for clip in speech],
        "instruction": ["Write down what is said."] * len(speech),
        "label": [clip.text for clip in speech],
    }
    DatasetDict({"test": Dataset.from_dict(rows)}).save_to_disk(folder / "data")
    return folder


def save_model(folder: Path, language_model: str = "tiny-llama", **projector) -> Path:
    """An untrained tiny model of the simulated corpus's emotions."""
    torch.manual_seed(0)
    new_model(
        EMOTIONS,
        encoder="tiny-whisper",
        feature_shape=(4, 64),
        language_model=language_model,
        lora=LoraOptions(r=4),
        prompt=PromptOptions(instruction="Which emotion ? yes no"),
        projector=ProjectorOptions(**({"width": 16} | projector)),
    ).save_pretrained(folder)
    return folder


CHAT = (
    "{% for message in messages %}{{ '<turn>' + message['role'] + '\n' + message['content'] + '<end>\n' }}"
    "{% endfor %}"
)


@pytest.fixture(scope="session")
def chat_model_folder(tmp_path_factory) -> Path:
    """One whose language model has a chat template."""
    base = tmp_path_factory.mktemp("chat") / "llama"
    tokenizer = word_tokenizer(
        [" ".join(EMOTIONS.names), "Is it yes or no ? Which emotion system user assistant \n"]
    )
    tokenizer.add_special_tokens({"bos_token": "<s>", "eos_token": "<end>"})
    tokenizer.add_special_tokens({"additional_special_tokens": ["<turn>"]})
    tokenizer.chat_template = CHAT
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(base)
    tokenizer.save_pretrained(base)
    return save_model(base.parent / "model", str(base), kind="stack", windows_per_token=2)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"))
