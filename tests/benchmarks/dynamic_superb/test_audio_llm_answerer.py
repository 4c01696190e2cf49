"""A ready audio LLM is asked in its own chat: what it writes, and the likeliest of the options."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks.dynamic_superb.ask import ItemWithClips
from benchmarks.dynamic_superb.audio_llm_answerer import PLACEHOLDER, AudioLLMAnswerer
from benchmarks.dynamic_superb.bench_instances import dynamic_superb, load_answerer
from benchmarks.dynamic_superb.instance import Item
from perser.errors import UserError
from perser.labels import EmotionSet
from speechlm_icl.audio_llm.loading import load_audio_llm
from speechlm_icl.audio_llm.model import AudioLLM
from speechlm_icl.audio_llm.start import new_learner
from speechlm_icl.audio_llm.trained import save_trained
from speechlm_icl.model.language_model import LoraOptions
from speechlm_icl.prompt.prompt import PromptOptions

from ...speechlm_icl.audio_llm.conftest import clip
from ...speechlm_icl.audio_llm.tiny_families import save_tiny

OPTIONS = ("angry", "happy", "sad")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny("qwen2_audio", tmp_path_factory.mktemp("audio-llm") / "tiny")


@pytest.fixture(scope="module")
def llm(folder) -> AudioLLM:
    return load_audio_llm(folder, PLACEHOLDER)


def item(*clips, options=OPTIONS) -> ItemWithClips:
    return ItemWithClips(
        Item("f", "Which emotion?", "sad", options), [torch.from_numpy(each) for each in clips]
    )


def encoded(llm: AudioLLM, clips: list) -> dict:
    content = [{"type": "text", "text": "Which emotion?"}]
    for number, each in enumerate(clips):
        content += [{"type": "text", "text": "\n"}] if number else []
        content.append({"type": "audio", "audio": each})
    return llm.chat.processor.apply_chat_template(
        [{"role": "user", "content": content}],
        chat_template=llm.chat.template,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        add_generation_prompt=True,
    )


@pytest.mark.parametrize("count", [1, 2])
def test_it_writes_what_transformers_generates(llm, count):
    clips = [clip(seed, 0.5 + seed) for seed in range(count)]
    inputs = encoded(llm, clips)
    written = llm.model.generate(**inputs, max_new_tokens=6, do_sample=False)[
        0, inputs["input_ids"].shape[1] :
    ]
    expected = llm.chat.tokenizer.decode(written, skip_special_tokens=True).strip()
    assert AudioLLMAnswerer(llm, max_new_tokens=6)([item(*clips)]) == [expected]
    assert len(written) == 6


@pytest.mark.parametrize("count", [1, 2])
def test_the_likeliest_option_has_the_likeliest_tokens(llm, count):
    found = set()
    for seed in range(4):
        clips = [clip(seed + 10 * number, 0.4) for number in range(count)]
        inputs, scores = encoded(llm, clips), []
        length = inputs["input_ids"].shape[1]
        for option in OPTIONS:
            tokens = torch.tensor([llm.chat.tokenizer(option, add_special_tokens=False)["input_ids"]])
            ids = torch.cat([inputs["input_ids"], tokens], dim=1)
            whole = dict(inputs, input_ids=ids, attention_mask=torch.ones_like(ids))
            with torch.inference_mode():
                logits = llm.model(**whole).logits[0, length - 1 : -1].log_softmax(dim=-1)
            scores.append(logits.gather(1, tokens[0][:, None]).sum().item())
        best = OPTIONS[scores.index(max(scores))]
        assert AudioLLMAnswerer(llm, mode="score")([item(*clips)]) == [best]
        found.add(best)


def test_options_that_begin_one_another_are_refused_with_the_file(llm):
    with pytest.raises(UserError, match="f: the tokens of label 'sad' begin those of 'saddest'"):
        AudioLLMAnswerer(llm, mode="score")([item(clip(0, 0.4), options=("sad", "saddest"))])


def test_two_recordings_in_a_model_of_one_clip_are_refused(tmp_path):
    one = load_audio_llm(save_tiny("audioflamingo3", tmp_path / "one"), PLACEHOLDER)
    for mode in ("generate", "score"):
        with pytest.raises(UserError, match=r"f: .* takes one clip in a prompt, but 2 are asked about"):
            AudioLLMAnswerer(one, 2, mode)([item(clip(0, 0.4), clip(1, 0.4))])


def test_it_is_measured_in_one_command(folder, emotion, tmp_path):
    dynamic_superb(str(folder), [emotion], tmp_path / "out", answer="score", limit=3)
    (row,) = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    assert (row["items"], row["outside_options"]) == (3, 0)


def test_a_meta_trained_one_is_asked_alike(folder, llm, tmp_path):
    """Its adapter is new, and changes nothing yet; without an enrollment, nothing is bound."""
    model, config = new_learner(str(folder), EmotionSet(OPTIONS), LoraOptions(), PromptOptions(), "cpu")
    save_trained(config, model.language_model, model.binding, tmp_path)
    for answer in ("generate", "score"):
        trained = load_answerer(str(tmp_path), "cpu", 6, answer)
        items = [item(clip(seed, 0.5)) for seed in range(2)]
        assert trained(items) == AudioLLMAnswerer(llm, 6, answer)(items)
