"""The method `audio-llm`: its names, its options, and the answers of its model; and single clips with it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from perser.cli.main import main
from perser.errors import UserError
from perser.inference.recognizer import PersonalRecognizer, Recognizer
from perser.installed_routes import build_method, check_method, check_models, parse_method, read_facts
from perser.labels import EmotionSet
from perser.personalizer import RouteContext
from speechlm_icl.audio_llm.personalizer import content_free_clip, read_waveforms

from .tiny_families import chat_tokenizer


@pytest.fixture
def context(toy_corpus, tiny_folder, tmp_path) -> RouteContext:
    """A tiny Qwen2-Audio among the models, under the name `audio-llm-tiny`."""
    (tmp_path / "models").mkdir()
    shutil.copytree(tiny_folder("qwen2_audio"), tmp_path / "models" / "audio-llm-tiny")
    return RouteContext(toy_corpus.emotions, toy_corpus.recordings, tmp_path / "models", tmp_path / "cache")


@pytest.mark.parametrize(
    ("name", "model", "pairs"),
    [
        ("audio-llm:Qwen/Qwen2-Audio-7B-Instruct", "Qwen/Qwen2-Audio-7B-Instruct", None),
        ("audio-llm:Qwen/Qwen2-Audio-7B-Instruct-8", "Qwen/Qwen2-Audio-7B-Instruct", 8),
        ("audio-llm:mistralai/Voxtral-Mini-3B-2507", "mistralai/Voxtral-Mini-3B-2507", None),
        ("audio-llm:mistralai/Voxtral-Mini-3B-2507-16", "mistralai/Voxtral-Mini-3B-2507", 16),
        ("audio-llm-8:some/model-3", "some/model-3", 8),
        ("audio-llm:tiny-0+orders=2+prior-shift", "tiny", 0),
    ],
)
def test_the_name_of_the_model_and_the_number_of_pairs_are_told_apart(name, model, pairs):
    parsed = parse_method(name)
    assert (parsed.method, parsed.ablation, parsed.pairs) == ("audio-llm", model, pairs)


def test_more_pairs_than_a_support_has_are_refused_where_they_stand_at_the_end():
    with pytest.raises(UserError, match="reads 9 enrollment pairs, but a support has k = 8"):
        check_method("audio-llm:tiny-9", 8)


def test_an_option_that_needs_features_is_refused():
    with pytest.raises(UserError, match=r"no option '\+matched'.* are orders=N, calibrated, chosen$"):
        check_method("audio-llm:tiny-4+matched", 8)


def test_it_answers_as_its_model_does(context, toy_episodes):
    episode = toy_episodes.episodes[0]
    support = episode.support.first(3)
    method = build_method("audio-llm:tiny-3", context)
    given = method.personalize(episode.support).predict_proba(episode.query_utterances)
    clips = read_waveforms(context.recordings.waveform, support.utterances)
    queries = read_waveforms(context.recordings.waveform, episode.query_utterances)
    read = method.llm.read(clips, method.answers(support))
    np.testing.assert_allclose(given, method.llm.score(read, queries).softmax(dim=1), atol=1e-6)
    np.testing.assert_allclose(given.sum(axis=1), 1, atol=1e-5)
    assert method.describe() == {"model": "tiny", "pairs": 3}
    assert context.opened == {"audio-llm-tiny"}


def test_orders_are_averaged_and_a_content_free_clip_calibrates(context, toy_episodes):
    episode = toy_episodes.episodes[0]
    queries = read_waveforms(context.recordings.waveform, episode.query_utterances[:4])
    method = build_method("audio-llm:tiny-3+orders=3+calibrated", context)
    predictor = method.personalize(episode.support)
    expected = []
    for read in predictor.enrollments:
        free = method.llm.score(read, [content_free_clip()])
        expected.append((method.llm.score(read, queries) - free).softmax(dim=1))
    given = predictor.predict_proba(episode.query_utterances[:4])
    assert len(expected) == 3
    np.testing.assert_allclose(given, torch.stack(expected).mean(dim=0), atol=1e-6)
    assert method.describe() == {"model": "tiny", "pairs": 3, "orders": 3, "calibrated": True}


def test_chosen_pairs_and_labels_of_a_persons_own(context, toy_episodes):
    support = toy_episodes.episodes[0].support
    chosen = build_method("audio-llm:tiny-4+chosen", context).enrolled(support)
    assert len(chosen) == 4
    assert set(chosen.utterances) <= set(support.utterances)
    words = EmotionSet(("proud", "weary"))
    own = build_method("audio-llm:tiny-2", context).with_labels(words)
    renamed = replace(support, emotions=tuple((words.names[i % 2],) for i in range(len(support))))
    assert own.personalize(renamed).predict_proba(support.utterances[:2]).shape == (2, 2)


def test_a_support_is_predicted_from_its_other_pairs(context, toy_episodes):
    support = toy_episodes.episodes[0].support.first(4)
    method = build_method("audio-llm:tiny", context)
    places = [0, 1, 3]
    others = method.personalize(support.ordered(places))
    expected = others.predict_proba(support.ordered([2]).utterances)
    np.testing.assert_allclose(method.predict_support(support)[2:3], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("audio-llm", "say which model, as in audio-llm:Qwen/Qwen2-Audio-7B-Instruct, or put one into"),
        ("audio-llm:missing", "no audio LLM 'missing': there is no such folder"),
        ("audio-llm:tiny+order=2", "audio-llm has no option"),
        ("audio-llm:tiny+standardize=corpus", "audio-llm has no model, and reads no features"),
    ],
)
def test_a_wrong_name_is_refused_before_anything_is_loaded(context, name, message, monkeypatch):
    monkeypatch.setattr("speechlm_icl.audio_llm.personalizer.load_audio_llm", None)

    def check() -> None:
        check_method(name, 8)
        check_models([name], context)

    with pytest.raises(UserError, match=message):
        check()


def test_a_model_of_one_clip_is_refused_before_anything_is_loaded(context, tiny_folder, monkeypatch):
    monkeypatch.setattr("speechlm_icl.audio_llm.personalizer.load_audio_llm", None)
    folder = tiny_folder("audioflamingo3")
    with pytest.raises(UserError, match="takes one clip in a prompt, so it can read no enrolled clips"):
        check_models([f"audio-llm:{folder}-8"], context)
    check_models([f"audio-llm:{folder}-0"], context)


def test_an_enrollment_that_cannot_be_read_is_refused_before_anything_is_loaded(
    tiny_folder, downloaded, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr("speechlm_icl.audio_llm.inference.load_audio_llm", None)
    monkeypatch.setattr("perser.inference.recognizer.trained_model_folder", None)
    downloaded("owner/flamingo", tiny_folder("audioflamingo3"))
    soundfile.write(clip := tmp_path / "a.wav", np.sin(np.arange(8000) / 9), 16_000)
    (table := tmp_path / "own.csv").write_text("path,emotions\na.wav,angry\n")
    for name in (str(tiny_folder("audioflamingo3")), "owner/flamingo", "audio-llm:owner/flamingo"):
        enroll = ["enroll", "--model", name, "--examples", str(table), "--out", str(tmp_path / "mine")]
        predict = ["predict", "--model", name, "--enroll", f"{clip}=angry", "--", str(clip)]
        for words in (enroll, predict):
            with pytest.raises(SystemExit):
                main(words)
            assert "takes one clip in a prompt, so it cannot read an enrollment" in capsys.readouterr().err


def test_a_model_on_the_hub_is_refused_before_its_weights_are_downloaded(
    context, tiny_folder, downloaded, monkeypatch
):
    downloaded("owner/flamingo", tiny_folder("audioflamingo3"))
    downloaded("owner/llama-3", tiny_folder("qwen2_audio"))
    config = Path(constants.HF_HUB_CACHE) / "models--owner--llama-3/snapshots/0123abcd/config.json"
    config.write_text(json.dumps({"model_type": "llama"}))
    monkeypatch.setattr("speechlm_icl.audio_llm.loading.trained_model_folder", None)
    check_models(["audio-llm:owner/flamingo-0"], context)
    with pytest.raises(UserError, match="'owner/flamingo': its processor takes one clip in a prompt"):
        check_models(["audio-llm:owner/flamingo-8"], context)
    with pytest.raises(UserError, match="'owner/llama-3' is a model of type 'llama'"):
        check_models(["audio-llm-2:owner/llama-3"], context)
    with pytest.raises(UserError, match="cannot reach the Hugging Face Hub"):
        check_models(["audio-llm-2:owner/other"], context)


def test_a_folder_outside_the_models_is_measured_again_when_it_changes(context, tiny_folder):
    folder = tiny_folder("qwen2_audio")
    build_method(f"audio-llm-2:{folder}", context)
    assert str(folder.resolve()) in context.opened


def test_other_models_and_damaged_ones_are_refused_in_one_line(context):
    folder = context.models / "audio-llm-tiny"
    config = (folder / "config.json").read_text()

    def message() -> str:
        with pytest.raises(UserError) as refusal:
            build_method("audio-llm:tiny", context)
        return str(refusal.value)

    (folder / "config.json").write_text(config.replace('"qwen2_audio"', '"qwen2_vl"'))
    assert "'tiny' is a model of type 'qwen2_vl', which is no audio LLM" in message()
    (folder / "config.json").write_text("{")
    assert "has no config.json that can be read" in message()
    (folder / "config.json").write_text(config)
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if "projector" in name)
    save_file({key: value for key, value in weights.items() if key != name}, folder / "model.safetensors")
    assert "the weights of 'tiny' lack 1 tensors" in message()
    (folder / "model.safetensors").write_bytes(b"damaged")
    assert "cannot load the audio LLM 'tiny'" in message()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "has its weights as pickles alone" in message()


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("", "has no chat template, so it cannot be asked in turns"),
        ("{% for m in messages %}{{ m['role'] }}{% endfor %}", "has no place for clips"),
        ("{{ raise_exception('no') }}", r"has no place for clips \(no\)"),
    ],
)
def test_a_template_without_a_place_for_clips_is_refused(tiny_folder, context, template, message):
    folder = context.models / "audio-llm-tiny"
    shutil.rmtree(folder)
    shutil.copytree(tiny_folder("granite_speech"), folder)
    (folder / "chat_template.jinja").unlink()
    tokenizer = chat_tokenizer(template, {"audio_token": "<|audio|>"}, ("<|im_start|>", "<|im_end|>"))
    tokenizer.chat_template = template or None
    tokenizer.save_pretrained(folder)
    with pytest.raises(UserError, match=message):
        build_method("audio-llm:tiny", context)


def test_a_template_of_texts_alone_gets_the_clips_as_tokens(tiny_folder, context, toy_episodes):
    """As that of Granite Speech 3.3, whose messages are plain texts."""
    folder = context.models / "audio-llm-tiny"
    shutil.rmtree(folder)
    shutil.copytree(tiny_folder("granite_speech"), folder)
    template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] + '\n' + m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    support, queries = toy_episodes.episodes[0].support, toy_episodes.episodes[0].query_utterances[:3]
    with_parts = build_method("audio-llm:tiny-2", context).personalize(support).predict_proba(queries)
    (folder / "chat_template.jinja").write_text(template)
    with_texts = build_method("audio-llm:tiny-2", context).personalize(support).predict_proba(queries)
    np.testing.assert_allclose(with_texts, with_parts, atol=1e-6)


def test_a_prompt_that_is_too_long_says_so(context, toy_episodes):
    method = build_method("audio-llm:tiny", context)
    method.llm.model.config.get_text_config().max_position_embeddings = 300
    with pytest.raises(UserError, match=r"of 8 enrolled clips takes .* but the context of 'tiny' has 300"):
        method.personalize(toy_episodes.episodes[0].support)


def test_labels_of_which_one_begins_another_are_refused(context):
    with pytest.raises(UserError, match="the tokens of label 'sad' begin those of 'saddest'"):
        build_method("audio-llm:tiny", context).with_labels(EmotionSet(("sad", "saddest")))


def test_single_clips_get_the_answers_of_the_method(context, toy_episodes, tmp_path: Path):
    episode, folder = toy_episodes.episodes[0], context.models / "audio-llm-tiny"
    support, queries = episode.support.first(3), episode.query_utterances[:3]
    pairs = [
        (context.recordings.path(name), words)
        for name, words in zip(support.utterances, support.emotions, strict=True)
    ]
    recognizer = Recognizer.from_pretrained(folder)
    assert read_facts(folder).emotions == recognizer.emotions.names
    personal = recognizer.enroll(pairs)
    answers = personal.predict([context.recordings.path(name) for name in queries])
    method = build_method("audio-llm:tiny", replace(context, emotions=recognizer.emotions))
    expected = method.personalize(support).predict_proba(queries)
    given = np.array([list(answer.probabilities.values()) for answer in answers])
    np.testing.assert_allclose(given, expected, atol=1e-5)
    recognizer.enroll(pairs[:2]).save(tmp_path / "alice.profile")
    grown = PersonalRecognizer.load(tmp_path / "alice.profile").enroll(pairs[2:])
    again = grown.predict([context.recordings.path(name) for name in queries])
    np.testing.assert_allclose([list(answer.probabilities.values()) for answer in again], expected, atol=1e-5)
    with pytest.raises(UserError, match="is enrolled already"):
        grown.enroll(pairs[:1])


def test_labels_of_a_persons_own_are_enrolled_from_single_clips(context, toy_episodes, tmp_path: Path):
    names = toy_episodes.episodes[0].support.utterances[:3]
    words = ("proud", "weary", "proud")
    recognizer = Recognizer.from_pretrained(context.models / "audio-llm-tiny")
    pairs = [(context.recordings.path(name), word) for name, word in zip(names, words, strict=True)]
    recognizer.enroll(pairs, labels="open").save(tmp_path / "alice.profile")
    again = PersonalRecognizer.load(tmp_path / "alice.profile")
    assert list(again.predict([pairs[0][0]])[0].probabilities) == ["proud", "weary"]


def test_a_model_of_one_clip_answers_but_cannot_be_enrolled(tiny_folder, toy_corpus, toy_episodes):
    recognizer = Recognizer.from_pretrained(tiny_folder("audioflamingo3"))
    name = toy_episodes.episodes[0].support.utterances[0]
    clip = toy_corpus.recordings.path(name)
    assert sum(recognizer.predict([clip])[0].probabilities.values()) == pytest.approx(1, abs=1e-5)
    with pytest.raises(UserError, match="takes one clip in a prompt, so it cannot read an enrollment"):
        recognizer.enroll([(clip, "happy")])


def test_another_wording_changes_the_prompt_and_the_label_words(context, toy_episodes):
    episode = toy_episodes.episodes[0]
    method = build_method("audio-llm:tiny-2", context)
    names = method.emotions.names
    same = method.worded(None, {name: name for name in names})
    letters = method.worded("Say one.", dict(zip(names, "ABCD", strict=True)))
    queries = episode.query_utterances[:2]
    own = method.personalize(episode.support).predict_proba(queries)
    np.testing.assert_allclose(same.personalize(episode.support).predict_proba(queries), own, atol=1e-6)
    assert np.abs(letters.personalize(episode.support).predict_proba(queries) - own).max() > 1e-3
    assert letters.llm.wording.instruction == "Say one."
    assert letters.llm.wording.answer([0, 1]) == "A and B"


def test_code_that_comes_with_a_model_is_not_run(context):
    folder = context.models / "audio-llm-tiny"
    config = json.loads((folder / "config.json").read_text())
    names = ("AutoConfig", "AutoProcessor", "AutoTokenizer", "AutoModelForMultimodalLM")
    code = {"auto_map": dict.fromkeys(names, "evil.Evil")}
    mark = folder / "was-run"
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w')\nclass Evil: pass\n")
    for name in ("config.json", "processor_config.json", "tokenizer_config.json"):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(content | code))
    assert config["model_type"] == "qwen2_audio"
    build_method("audio-llm:tiny", context)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *(
            (name, damage)
            for name in ("tokenizer.json", "processor_config.json")
            for damage in ("", "{", "[1]")
        ),
        *(("tokenizer_config.json", damage) for damage in ("", "{", "[1]")),
        *((name, None) for name in ("tokenizer.json", "processor_config.json")),
    ],
)
def test_a_damaged_or_missing_processor_ends_in_one_line(context, name, damage):
    file = context.models / "audio-llm-tiny" / name
    if damage is None:
        file.unlink()
    else:
        file.write_text(damage)
    with pytest.raises(UserError, match="'tiny'"):
        build_method("audio-llm:tiny", context)


@pytest.mark.parametrize("tensors", [{}, {"clip-0": torch.zeros(2, 16_000)}, {"clip-1": torch.zeros(16_000)}])
def test_a_profile_without_its_clips_is_refused(context, tensors):
    model = Recognizer.from_pretrained(context.models / "audio-llm-tiny").model
    with pytest.raises(UserError, match="does not hold the enrolled clips"):
        model.predictor(tensors, [("happy",)])


def test_a_changed_model_does_not_answer_with_a_profile_of_the_earlier_one(context, toy_episodes, tmp_path):
    folder = context.models / "audio-llm-tiny"
    clip = context.recordings.path(toy_episodes.episodes[0].support.utterances[0])
    Recognizer.from_pretrained(folder).enroll([(clip, "happy")]).save(tmp_path / "alice.profile")
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if "projector" in name)
    weights[name] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="is of another model"):
        PersonalRecognizer.load(tmp_path / "alice.profile")
