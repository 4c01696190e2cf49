"""`perser icl-train` with a ready audio LLM on a corpus on disk, and the model that it writes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from perser.errors import UserError
from perser.export.folder import export_folder
from perser.inference.recognizer import PersonalRecognizer, Recognizer
from perser.installed_routes import build_method, check_models, read_facts
from perser.personalizer import RouteContext
from perser.training.options import RunOptions
from perser.training.run import Stage
from perser.training.run_folder import running_folder
from speechlm_icl.train import icl_train

QUICK = {
    "steps": 3,
    "pairs": 2,
    "batch_size": 2,
    "validate_every": 3,
    "validation_sequences": 2,
    "permute_labels": 0.5,
    "gradient_accumulation_steps": 2,
    "gradient_checkpointing": True,
}


class Killed(BaseException):
    """Stands for a kill: no program catches it."""


@pytest.fixture(scope="module")
def base(tiny_folder, tmp_path_factory) -> Path:
    """The folder of a run, with the audio LLM that is trained in `base`."""
    folder = tmp_path_factory.mktemp("run")
    shutil.copytree(tiny_folder("granite_speech"), folder / "base")  # it reads short clips fastest
    return folder


@pytest.fixture(scope="module")
def train(base, toy_corpus, toy_episodes_path):
    """A function that trains into the models of the run, under a name."""

    def run(name: str, **more) -> Path:
        out = base / "models" / f"audio-llm-{name}"
        inputs = (toy_corpus.folder, toy_episodes_path, out, base / "cache")
        icl_train(*inputs, language_model=str(base / "base"), **QUICK, **more)
        return out

    return run


@pytest.fixture(scope="module")
def trained(train) -> Path:
    return train("own")


@pytest.fixture
def context(trained, base, toy_corpus, toy_episodes) -> RouteContext:
    return RouteContext(
        toy_corpus.emotions,
        toy_corpus.recordings,
        base / "models",
        base / "cache",
        trained_on=toy_episodes.training_digest,
    )


def test_a_training_that_was_killed_ends_as_an_undisturbed_one(train, trained, monkeypatch, capsys):
    original = Stage.end_step

    def end_step(self, step, **metrics):
        original(self, step, **metrics)
        if step == 2:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Stage, "end_step", end_step)
        with pytest.raises(Killed):
            train("killed", run=RunOptions(checkpoint_seconds=0))
    out = train("killed")
    assert "going on after step 2 of meta-training" in capsys.readouterr().err
    for name in ("adapter/adapter_model.safetensors", "binding.safetensors"):
        assert (out / name).read_bytes() == (trained / name).read_bytes()
    assert not running_folder(out).exists()


def test_the_folder_names_its_base_and_holds_none_of_its_weights(trained, base, toy_episodes):
    content = json.loads((trained / "audio_llm.json").read_text())
    assert content["language_model"] == "../../base"  # so that both can be moved together
    sizes = {file.name: file.stat().st_size for file in trained.rglob("*.safetensors")}
    assert sizes.keys() == {"adapter_model.safetensors", "binding.safetensors"}
    assert sum(sizes.values()) < (base / "base" / "model.safetensors").stat().st_size / 2
    facts = read_facts(trained)
    assert facts.route == "audio-llm"
    assert facts.needs == {str((base / "base").resolve()): None}
    assert facts.trained_on == toy_episodes.training_digest
    record = json.loads((trained / "training.json").read_text())
    assert {"episodes_log_loss", "permuted_loss", "control_renamed_loss"} <= record["history"][-1].keys()


def test_export_says_that_it_does_not_take_it(trained, tmp_path):
    with pytest.raises(
        UserError, match="holds a model of audio-llm, which this command does not take: share"
    ):
        export_folder(trained, tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


def test_it_is_measured_enrolled_and_asked_alike(context, trained, toy_episodes, tmp_path):
    episode = toy_episodes.episodes[0]
    support, queries = episode.support.first(3), episode.query_utterances[:3]
    check_models(["audio-llm:own-3"], context)
    method = build_method("audio-llm:own-3", context)
    expected = method.personalize(support).predict_proba(queries)
    pairs = [
        (context.recordings.path(name), words)
        for name, words in zip(support.utterances, support.emotions, strict=True)
    ]
    recognizer = Recognizer.from_pretrained(trained)
    assert recognizer.emotions == context.emotions
    recognizer.enroll(pairs).save(tmp_path / "alice.profile")
    personal = PersonalRecognizer.load(tmp_path / "alice.profile")
    answers = personal.predict([context.recordings.path(name) for name in queries])
    given = np.array([list(answer.probabilities.values()) for answer in answers])
    np.testing.assert_allclose(given, expected, atol=1e-5)


def test_the_run_can_be_moved_and_profiles_stay_valid(context, trained, base, toy_episodes, tmp_path):
    clip = context.recordings.path(toy_episodes.episodes[0].support.utterances[0])
    Recognizer.from_pretrained(trained).enroll([(clip, "happy")]).save(tmp_path / "alice.profile")
    shutil.copytree(base, tmp_path / "moved")
    moved = tmp_path / "moved" / "models" / "audio-llm-own"
    assert read_facts(moved).needs == {str((tmp_path / "moved" / "base").resolve()): None}
    PersonalRecognizer.load(tmp_path / "alice.profile", moved)


def test_another_split_or_set_of_emotions_is_refused(context):
    with pytest.raises(UserError, match="was trained on another split"):
        build_method("audio-llm:own-2", replace(context, trained_on="another"))
    fewer = type(context.emotions)(("angry", "sad"))
    with pytest.raises(UserError, match="knows the emotions"):
        build_method("audio-llm:own-2", replace(context, emotions=fewer))


@pytest.fixture
def copied(base, trained, tmp_path) -> Path:
    """A copy of the run that a test may damage."""
    shutil.copytree(base, tmp_path / "run")
    return tmp_path / "run"


def test_a_base_that_is_missing_or_has_changed_is_one_line(copied, context):
    context = replace(context, models=copied / "models")
    config = copied / "base" / "config.json"
    config.write_text(config.read_text() + "\n")
    with pytest.raises(UserError, match="is not the one that this model was trained with"):
        check_models(["audio-llm:own-2"], context)
    with pytest.raises(UserError, match="is not the one that this model was trained with"):
        Recognizer.from_pretrained(copied / "models" / "audio-llm-own")
    shutil.rmtree(copied / "base")
    message = r"the audio LLM '.*base' that the model '.*' needs is gone: put it back$"
    with pytest.raises(UserError, match=message):
        check_models(["audio-llm:own-2"], context)
    with pytest.raises(UserError, match=message):
        Recognizer.from_pretrained(copied / "models" / "audio-llm-own")


@pytest.mark.parametrize(
    "name", ["audio_llm.json", "binding.safetensors", "adapter/adapter_model.safetensors"]
)
@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", None])
@pytest.mark.parametrize("checked", [True, False])
def test_a_damaged_folder_is_one_line(copied, name, content, checked):
    folder = copied / "models" / "audio-llm-own"
    if not checked:
        (folder / "checksums.json").unlink()
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(UserError) as refusal:
        Recognizer.from_pretrained(folder)
    assert "\n" not in str(refusal.value)


def test_code_and_pickles_of_an_adapter_are_not_opened(copied):
    folder = copied / "models" / "audio-llm-own"
    (folder / "checksums.json").unlink()
    config = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps(config | {"peft_type": "IA3"}))
    with pytest.raises(UserError, match="holds no plain LoRA adapter"):
        Recognizer.from_pretrained(folder)
    (folder / "adapter" / "adapter_model.safetensors").rename(folder / "adapter" / "adapter_model.bin")
    with pytest.raises(UserError, match=r"holds no adapter_model.safetensors"):
        Recognizer.from_pretrained(folder)


def test_other_options_are_another_training(train, trained, base, monkeypatch):
    """And what is refused is refused before the corpus is read."""
    monkeypatch.setattr("speechlm_icl.train.Corpus", None)
    with pytest.raises(UserError, match=r"^encoder: .* has its own audio tower"):
        train("other", encoder="tiny-wavlm")
    with pytest.raises(UserError, match="was meta-trained already"):
        icl_train(Path("corpus"), Path("episodes"), base / "out", language_model=str(trained))
