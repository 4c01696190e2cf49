"""A published audio classifier as a recognizer: enrolled, saved, exported, measured, and trained on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

import meta_perser.auto  # noqa: F401 (registers the exported model)
from benchmarks.measuring.cells import Case
from benchmarks.measuring.measure import write_scores
from meta_perser.inference import CLIPS
from meta_perser.options import InnerOptions, OuterOptions
from meta_perser.pretrain import pretrain
from meta_perser.recognizer.model import EmotionRecognizer, saved_settings
from meta_perser.train import meta_train
from perser.adjustments.recalibration import Priors, fit
from perser.cli.main import main
from perser.encoders.families import FAMILIES
from perser.encoders.loading import quiet_transformers
from perser.errors import UserError
from perser.export.folder import export_folder
from perser.inference.profile import Profile
from perser.inference.recognizer import PersonalRecognizer, Recognizer
from perser.installed_routes import build_method, check_models
from perser.labels import EmotionSet
from tests.perser.published_classifiers import save_classifier

LABELED = ("happy", "angry", "happy", "sad", "neutral", "happy")


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory) -> dict[str, Path]:
    """A classifier of each family; Whisper's reads 1 s, so that a step does not take seconds."""
    folder = tmp_path_factory.mktemp("published")
    small = {"whisper": {"max_source_positions": 50}}
    return {kind: save_classifier(kind, folder / kind, **small.get(kind, {})) for kind in FAMILIES}


@pytest.fixture(scope="module")
def clips(toy_corpus) -> list[np.ndarray]:
    names = toy_corpus.recordings.utterance_ids[:12]
    return [toy_corpus.recordings.waveform(name).numpy() for name in names]


def published_logits(folder: Path, clips: list[np.ndarray]) -> np.ndarray:
    with quiet_transformers():
        extractor = AutoFeatureExtractor.from_pretrained(folder)
        model = AutoModelForAudioClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        inputs = [extractor(clip, sampling_rate=16_000, return_tensors="pt") for clip in clips]
        return torch.cat([model(**each).logits for each in inputs]).double().numpy()


def probabilities(predictions) -> np.ndarray:
    return np.array([list(each.probabilities.values()) for each in predictions])


def unadapted(predictions) -> np.ndarray:
    return np.array([list(each.unadapted.probabilities.values()) for each in predictions])


@pytest.mark.parametrize("kind", FAMILIES)
def test_it_is_enrolled_saved_loaded_and_exported(classifiers, clips, kind, tmp_path):
    folder = classifiers[kind]
    expected = published_logits(folder, clips)
    recognizer = Recognizer.from_pretrained(folder)
    assert recognizer.emotions.names == ("neutral", "happy", "angry", "sad")
    plain = probabilities(recognizer.predict(clips))
    np.testing.assert_allclose(plain, np.exp(expected) / np.exp(expected).sum(1, keepdims=True), atol=1e-6)

    personal = recognizer.enroll(list(zip(clips, LABELED, strict=False)))
    targets = recognizer.emotions.distribution([(word,) for word in LABELED])
    bias = fit(expected[: len(LABELED)], targets, Priors()).bias
    answers = personal.predict(clips)
    shift = np.log(probabilities(answers)) - np.log(plain) - bias  # the bias alone, up to the normalization
    np.testing.assert_allclose(shift - shift.mean(1, keepdims=True), 0, atol=1e-4)
    np.testing.assert_allclose(unadapted(answers), plain, atol=1e-6)

    personal.save(tmp_path / "p")
    assert probabilities(PersonalRecognizer.load(tmp_path / "p").predict(clips)).tolist() == (
        probabilities(answers).tolist()
    )
    export_folder(folder, tmp_path / "exported", None)
    exported = Recognizer.from_pretrained(tmp_path / "exported")
    np.testing.assert_allclose(probabilities(exported.predict(clips)), plain, atol=1e-6)
    again = exported.enroll(list(zip(clips, LABELED, strict=False)))
    np.testing.assert_allclose(probabilities(again.predict(clips)), probabilities(answers), atol=1e-6)
    np.testing.assert_allclose(published_logits(tmp_path / "exported", clips), expected, atol=1e-4)


def test_its_profile_goes_on_learning(classifiers, clips, tmp_path):
    recognizer = Recognizer.from_pretrained(classifiers["hubert"])
    pairs = list(zip(clips, LABELED, strict=False))
    recognizer.enroll(pairs[:3]).save(tmp_path / "p")
    assert CLIPS in Profile.load(tmp_path / "p").tensors
    in_parts = PersonalRecognizer.load(tmp_path / "p").enroll(pairs[3:])
    at_once = recognizer.enroll(pairs)
    np.testing.assert_allclose(
        probabilities(in_parts.predict(clips)), probabilities(at_once.predict(clips)), atol=1e-6
    )


def test_labels_of_ones_own_are_refused(classifiers, clips):
    recognizer = Recognizer.from_pretrained(classifiers["hubert"])
    with pytest.raises(UserError, match="no learning rate was chosen for this model"):
        recognizer.enroll(list(zip(clips, ("tired", "cross"), strict=False)), labels="open")


def test_the_program_enrolls_and_predicts(classifiers, toy_corpus, tmp_path, capsys):
    audio = sorted((toy_corpus.folder.parent / "audio").glob("*.wav"))[:4]
    table = tmp_path / "alice.csv"
    table.write_text("path,emotions\n" + "".join(f"{path},happy\n" for path in audio[:2]))
    profile = str(tmp_path / "alice.profile")
    model = str(classifiers["wav2vec2"])
    main(["enroll", "--model", model, "--examples", str(table), "--out", profile])
    main(["predict", "--profile", profile, str(audio[3]), "--json"])
    (answer,) = json.loads(capsys.readouterr().out.partition("\n")[2])
    assert answer["probabilities"]["happy"] > answer["unadapted"]["probabilities"]["happy"]


@pytest.fixture(scope="module")
def shared(toy_corpus, toy_episodes_path, tmp_path_factory) -> dict[str, Path]:
    cache = tmp_path_factory.mktemp("cache")
    return {"corpus": toy_corpus.folder, "episodes": toy_episodes_path, "cache": cache}


@pytest.fixture(scope="module", params=FAMILIES)
def adopted(request, classifiers, shared, tmp_path_factory) -> tuple[Path, Path]:
    """A classifier, and a folder of models with it as SSL-E, untouched, and meta-trained from there."""
    models = tmp_path_factory.mktemp("models")
    folder = classifiers[request.param]
    settings = {"adaptation_steps": 2, "epochs": 0, "lora": "lora:2"}
    pretrain(**shared, from_model=str(folder), out=models / "ssl-e", **settings)
    meta_train(
        **shared,
        ssl_e=models / "ssl-e",
        out=models / "meta-perser",
        scope="head",
        inner=InnerOptions(steps=1, support=4, adaptation_steps=1),
        outer=OuterOptions(steps=2, batch_size=1, validate_every=2),
    )
    return folder, models


def test_every_method_runs_on_it(adopted, shared, toy_corpus, tmp_path):
    folder, models = adopted
    methods = (
        *("entire-zero", "prior-shift", "bias-scale", "head-few", "lora-few", "entire-few", "meta-perser"),
        "entire-zero+prior-shift",
    )
    case = Case(shared["corpus"], shared["episodes"], models, shared["cache"], methods, limit=2)
    case.check_models()
    write_scores(case, tmp_path / "scores.json", resume=True)
    context = case.context()
    names = toy_corpus.recordings.utterance_ids[:8]
    episode = case.episode_file.episodes[0]
    answers = build_method("entire-zero", context).personalize(episode.support).predict_proba(names)
    logits = published_logits(folder, [toy_corpus.recordings.waveform(name).numpy() for name in names])
    ordered = logits[:, [2, 1, 0, 3]]  # the corpus has angry, happy, neutral, sad
    expected = np.exp(ordered) / np.exp(ordered).sum(1, keepdims=True)
    np.testing.assert_allclose(answers, expected, atol=1e-6)
    shifted = build_method("prior-shift", context).personalize(episode.support).predict_proba(names)
    shift = np.log(shifted) - np.log(answers)
    relative = shift - shift[:, :1]  # the bias of each emotion, against that of the first
    np.testing.assert_allclose(relative, np.broadcast_to(relative[:1], relative.shape), atol=1e-4)


def test_pretraining_continues_from_it(classifiers, shared, tmp_path):
    pretrain(
        **shared,
        from_model=str(classifiers["wav2vec2"]),
        out=tmp_path / "ssl-e",
        epochs=6,
        batch_size=16,
        learning_rate=3e-3,
        adaptation_steps=2,
    )
    settings = saved_settings(tmp_path / "ssl-e")
    assert settings["best_step"] > 0
    pretrain(
        **shared, from_model=str(classifiers["wav2vec2"]), out=tmp_path / "zero", epochs=0, adaptation_steps=2
    )
    assert settings["validation_log_loss"] < saved_settings(tmp_path / "zero")["validation_log_loss"]


def test_a_start_that_no_step_improves_is_kept(classifiers, shared, tmp_path, toy_corpus):
    pretrain(
        **shared,
        from_model=str(classifiers["hubert"]),
        out=tmp_path / "ssl-e",
        epochs=1,
        learning_rate=0.0,
        adaptation_steps=2,
    )
    assert saved_settings(tmp_path / "ssl-e")["best_step"] == 0
    model = EmotionRecognizer.from_pretrained(tmp_path / "ssl-e")
    assert model.emotions == toy_corpus.emotions


def test_a_corpus_with_other_emotions(shared, tmp_path, toy_corpus, clips):
    """Emotions that only the classifier has are left out; those that it lacks need a training."""
    labels = ("neu", "hap", "ang", "sad", "disgust")
    more = save_classifier("hubert", tmp_path / "more", labels=labels)
    pretrain(**shared, from_model=str(more), out=tmp_path / "ssl-e", epochs=0, adaptation_steps=2)
    answers = probabilities(Recognizer.from_pretrained(tmp_path / "ssl-e").predict(clips))
    four = np.exp(published_logits(more, clips))[:, [2, 1, 0, 3]]
    np.testing.assert_allclose(answers, four / four.sum(1, keepdims=True), atol=1e-6)
    fewer = save_classifier("hubert", tmp_path / "fewer", labels=("neu", "hap", "ang"))
    with pytest.raises(UserError, match="and the corpus also has sad: train it on them"):
        pretrain(**shared, from_model=str(fewer), out=tmp_path / "none", epochs=0)
    pretrain(**shared, from_model=str(fewer), out=tmp_path / "trained", epochs=1, adaptation_steps=2)
    trained = Recognizer.from_pretrained(tmp_path / "trained")
    assert trained.emotions == EmotionSet(("angry", "happy", "neutral", "sad"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target": "linear"}, "target: linear begins from a plain encoder: give --encoder, not --from"),
        ({"frame_window": 2, "scope": "top_layers:1"}, "frame_window: it would change the answers"),
        (
            {"from_model": "nowhere"},
            "for the classifier 'nowhere', and it is not in the local cache",
        ),
        ({"from_model": None, "epochs": 0}, "epochs: 0 trains nothing"),
        ({"lora": "lora:2:9"}, "scope: lora:2:9, but this encoder has 3 layers"),
    ],
)
def test_options_that_do_not_fit_are_refused(classifiers, shared, tmp_path, options, said):
    with pytest.raises(UserError) as error:
        pretrain(**shared, out=tmp_path / "out", **{"from_model": str(classifiers["hubert"])} | options)
    assert said in str(error.value)
    assert not (tmp_path / "out").exists()


def test_from_stands_for_from_model(classifiers, shared, tmp_path, capsys):
    words = [f"--{name}={value}" for name, value in shared.items()]
    words += ["--from", str(classifiers["hubert"]), f"--out={tmp_path / 'x'}", "--target=multi"]
    with pytest.raises(SystemExit):
        main(["pretrain", *words])
    assert "begins from a plain encoder" in capsys.readouterr().err


def test_a_classifier_in_the_place_of_ssl_e_is_named(classifiers, trained, tmp_path):
    (tmp_path / "ssl-e").symlink_to(classifiers["wav2vec2"])
    with pytest.raises(UserError, match=r"perser pretrain --from .*ssl-e --epochs 0"):
        build_method("entire-zero", replace(trained, models=tmp_path))
    with pytest.raises(UserError, match=r"perser pretrain --from .*ssl-e --epochs 0"):
        check_models(["entire-zero"], replace(trained, models=tmp_path))


def test_a_model_of_another_task_is_named(tmp_path):
    save_classifier("wav2vec2", tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    text = {"architectures": ["BertForSequenceClassification"], "model_type": "bert"}
    for other in ({"architectures": ["Wav2Vec2ForCTC"]}, text):
        (tmp_path / "m" / "config.json").write_text(json.dumps(config | other))
        with pytest.raises(UserError, match=r"is made for another task|is a model of type 'bert'"):
            Recognizer.from_pretrained(tmp_path / "m")
