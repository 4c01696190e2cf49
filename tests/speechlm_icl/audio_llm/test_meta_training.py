"""Ready audio LLMs that are meta-trained: what moves, what is asked, and what is saved."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from perser.episodes.episode import Task
from perser.errors import UserError
from perser.labels import EmotionSet
from speechlm_icl.audio_llm.families import FAMILIES
from speechlm_icl.audio_llm.learner import AudioLearner, encode_conversation
from speechlm_icl.audio_llm.loading import load_audio_llm
from speechlm_icl.audio_llm.start import check_sequences_fit, check_start, is_audio_llm_name, new_learner
from speechlm_icl.audio_llm.trained import TrainedConfig, save_trained
from speechlm_icl.model.language_model import LoraOptions, check_language_model
from speechlm_icl.projectors.base import ProjectorOptions
from speechlm_icl.prompt.prompt import IGNORE, TEXT, PromptOptions, collate
from speechlm_icl.route import ROUTE
from speechlm_icl.scoring.scoring import label_log_probabilities
from speechlm_icl.training.options import IclOptions
from speechlm_icl.training.reading import read
from speechlm_icl.training.sequences import PairSequence

from .conftest import EMOTIONS, clip, plain_scores
from .tiny_families import FAMILIES as TINY

SEVERAL = [family for family in TINY if FAMILIES[family].several_clips]
CLIPS = {name: clip(seed, 0.5 + 0.2 * seed) for seed, name in enumerate("abcde")}
SEQUENCES = [
    PairSequence(("a", "b", "c"), [[0], [1, 2], [2]]),
    PairSequence(("d", "e"), [[1], [0]], words=("glad", "calm"), renamed=True),
]
ENROLLED, ANSWERS, QUERY = [CLIPS["a"], CLIPS["b"]], [[0], [1, 2]], clip(7, 0.9)
TOLERANCE = 1e-4


class Clips(dict):
    """The clips of a test as a store."""

    level = "waveform"

    def __getitem__(self, name: str) -> torch.Tensor:
        return torch.from_numpy(CLIPS[name])


def learner_of(folder: Path, bind: bool = True, audio: bool = False) -> tuple[AudioLearner, TrainedConfig]:
    """Return a model with a new adapter whose weights are not 0."""
    targets = ("qkv_proj",) if "phi4" in folder.name else ("q_proj", "v_proj")
    torch.manual_seed(0)
    lora = LoraOptions(targets=targets, audio=audio)
    model, config = new_learner(str(folder), EMOTIONS, lora, PromptOptions(bind=bind), "cpu")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return model, config


def state_of(model: AudioLearner) -> dict[str, torch.Tensor]:
    """Return copies of all weights and running averages."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def take_steps(model: AudioLearner, steps: int = 2, rate: float = 1e-3) -> None:
    """Take steps on the sequences of these tests."""
    batch, features = read(model, SEQUENCES, Clips())
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate)
    model.train()
    for _ in range(steps):
        model.losses(batch, features).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


def scores_of(llm) -> torch.Tensor:
    return llm.score(llm.read(ENROLLED, ANSWERS), [QUERY])[0]


@pytest.mark.parametrize("bind", [True, False])
@pytest.mark.parametrize("audio", [True, False])
@pytest.mark.parametrize("family", SEVERAL)
def test_a_step_moves_the_adapter_and_what_binds_alone_and_the_saved_model_answers_alike(
    family, audio, bind, tiny_folder, tmp_path
):
    model, config = learner_of(tiny_folder(family), bind, audio)
    before = state_of(model)
    take_steps(model)
    moved = {name for name, value in state_of(model).items() if not torch.equal(value, before[name])}
    adapters = {name for name in before if "lora_" in name}
    assert moved == adapters | ({"binding.clip.weight"} if bind else set())
    parts = set(FAMILIES[family].audio_parts)
    assert any(not parts.isdisjoint(name.split(".")) for name in adapters) == audio
    save_trained(config, model.language_model, model.binding, tmp_path)
    saved = load_audio_llm(tmp_path)
    assert (scores_of(saved) - scores_of(model.llm)).abs().max() < TOLERANCE
    assert saved.emotions == EMOTIONS


@pytest.mark.parametrize("family", SEVERAL)
def test_the_loss_is_that_of_a_plain_forward_pass_of_the_conversation(family, tiny_folder):
    """`plain_scores` renders the conversation by the processor's own template, and knows no binding."""
    model, _ = learner_of(tiny_folder(family), bind=False)
    expected = plain_scores(model.llm, ENROLLED, ANSWERS, QUERY)
    for label in range(len(EMOTIONS)):
        prompt, features = encode_conversation(model.llm, [*ENROLLED, QUERY], [*ANSWERS, [label]], None, 2)
        batch = collate([prompt])
        losses = model.losses(batch, [features])
        assert (losses[batch.targets == IGNORE] == 0).all()
        assert -losses[batch.answers == 2].sum().item() == pytest.approx(
            expected[label].item(), abs=TOLERANCE
        )


@pytest.mark.parametrize("keeps_prefix", [True, False])
@pytest.mark.parametrize("family", SEVERAL)
def test_bound_pairs_are_scored_as_they_are_trained(family, keeps_prefix, tiny_folder):
    """In training, the enrollment and the query are one pass. For an answer, the enrollment may be kept."""
    model, _ = learner_of(tiny_folder(family))
    if keeps_prefix and not model.llm.keeps_prefix:
        pytest.skip(f"{family} reads the enrollment again")
    model.llm.keeps_prefix = keeps_prefix
    given = scores_of(model.llm)
    for label in range(len(EMOTIONS)):
        prompt, features = encode_conversation(model.llm, [*ENROLLED, QUERY], [*ANSWERS, [label]], None, 2)
        batch = collate([prompt])
        loss = model.losses(batch, [features])[batch.answers == 2].sum()
        assert -loss.item() == pytest.approx(given[label].item(), abs=TOLERANCE)
    with torch.no_grad():
        model.binding.clip.weight.zero_()
        model.binding.clip.weight += 0.3
    assert (scores_of(model.llm) - given).abs().max() > 100 * TOLERANCE  # what binds matters


def test_the_answers_of_a_sequence_are_marked_where_they_stand(tiny_folder):
    model, _ = learner_of(tiny_folder("qwen2_audio"))
    batch, features = read(model, SEQUENCES, Clips())

    def decode(tokens: torch.Tensor) -> str:
        return model.llm.chat.tokenizer.decode(tokens).replace(" ", "").replace("Ġ", " ")

    for row, number, word in (
        (0, 0, "angry"),
        (0, 1, "happy and sad"),
        (0, 2, "sad"),
        (1, 3, "calm"),
        (1, 4, "glad"),
    ):
        assert decode(batch.token_ids[row][batch.answers[row] == number]) == word
        assert decode(batch.token_ids[row][batch.ends[row] == number]) == "<|im_end|>"
    targets = decode(batch.targets[0][batch.targets[0] != IGNORE])
    assert targets == "angry<|im_end|>happy and sad<|im_end|>sad<|im_end|>"
    assert decode(batch.targets[1][batch.targets[1] != IGNORE]) == "calmglad"  # renamed: no end is a target
    clips = batch.clips[batch.clips != TEXT].unique().tolist()
    assert clips == [0, 1, 2, 3, 4]
    assert (batch.token_ids[batch.clips != TEXT] == model.llm.chat.audio_token).all()
    assert len(features) == 2


@pytest.mark.parametrize("family", SEVERAL)
def test_an_answer_ends_with_one_token_of_its_template(family, tiny_folder):
    model, _ = learner_of(tiny_folder(family))
    prompt, _ = encode_conversation(model.llm, ENROLLED, ANSWERS, None, 0)
    places = [place for place, number in enumerate(prompt.ends) if number != TEXT]
    assert len({prompt.token_ids[place] for place in places}) == 1
    for place, number in zip(places, (0, 1), strict=True):
        assert prompt.answers[place - 1] == number  # right after the last word
        assert prompt.targets[place] == prompt.token_ids[place]


@pytest.mark.parametrize("bind", [True, False])
def test_the_loss_falls_on_what_it_learns_from(bind, tiny_folder):
    model, _ = learner_of(tiny_folder("granite_speech"), bind)
    batch, features = read(model, SEQUENCES, Clips())
    before = model.losses(batch, features).sum().item()
    take_steps(model, 10, rate=5e-3)
    assert model.losses(batch, features).sum().item() < 0.8 * before


def test_the_gradient_is_that_of_finite_differences(tiny_folder):
    model, _ = learner_of(tiny_folder("qwen2_audio"))
    model.double()
    batch, features = read(model, SEQUENCES, Clips())
    model.losses(batch, features).sum().backward()
    adapter = next(one for name, one in model.named_parameters() if "lora_B" in name)
    for parameter in (adapter, model.binding.clip.weight):
        place, step = (1, 2), 3e-3  # some norms compute in float32 whatever they are given
        found = []
        with torch.no_grad():
            for change in (step, -2 * step):
                parameter[place] += change
                found.append(model.losses(batch, features).sum().item())
            parameter[place] += step
        assert parameter.grad[place].item() == pytest.approx((found[0] - found[1]) / (2 * step), rel=1e-2)


@pytest.mark.parametrize("family", SEVERAL)
def test_recomputed_layers_give_the_same_gradient(family, tiny_folder):
    found = []
    for recompute in (False, True):
        model, _ = learner_of(tiny_folder(family))
        model.language_model.recompute_layers(recompute)
        model.train()
        passes: list[None] = []
        attention = model.llm.model.get_decoder().layers[0].self_attn
        attention.register_forward_hook(lambda *_, passes=passes: passes.append(None))
        model.losses(*read(model, SEQUENCES, Clips())).sum().backward()
        assert len(passes) == len(SEQUENCES) * (1 + recompute)
        found.append([one.grad for one in model.parameters() if one.requires_grad])
    for plain, recomputed in zip(*found, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_other_labels_share_the_weights_and_controls_can_be_scored(tiny_folder):
    model, _ = learner_of(tiny_folder("qwen2_audio"))
    other = model.with_labels(EmotionSet(("glad", "calm")))
    assert other.prompt.emotions.names == ("glad", "calm")
    assert "glad, calm" in other.llm.wording.instruction
    given = label_log_probabilities(other, [torch.from_numpy(CLIPS["a"])], [[1]], [torch.from_numpy(QUERY)])
    assert given.shape == (1, 2)
    assert [id(one) for one in other.parameters()] == [id(one) for one in model.parameters()]
    assert {"happy", "sad"}.isdisjoint(model.label_word_pool)
    assert len(model.label_word_pool) > 100


def test_quantized_weights_train_and_answer_as_they_are_saved(tiny_folder, tmp_path):
    """QLoRA: the layers of the language model are in 4 bits, and the tower and the projector in full."""
    bitsandbytes = pytest.importorskip("bitsandbytes")
    lora = LoraOptions(base_weights="4bit")
    model, config = new_learner(str(tiny_folder("qwen2_audio")), EMOTIONS, lora, PromptOptions(), "cpu")
    quantized = [name for name, one in model.named_modules() if isinstance(one, bitsandbytes.nn.Linear4bit)]
    assert quantized
    assert all(".language_model.layers." in name for name in quantized)
    before = state_of(model)
    take_steps(model)
    moved = {name for name, value in state_of(model).items() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if "lora_" in name} | {"binding.clip.weight"}
    save_trained(config, model.language_model, model.binding, tmp_path)
    assert (scores_of(load_audio_llm(tmp_path)) - scores_of(model.llm)).abs().max() < 1e-3


def check(folder: Path | str, lora: LoraOptions | None = None, **changes) -> None:
    given = {"prompt": PromptOptions(), "encoder": "tiny-whisper", "projector": ProjectorOptions()} | changes
    options = given.pop("options", IclOptions())
    check_start(str(folder), lora or LoraOptions(), options=options, **given)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": "tiny-wavlm"}, "encoder: .* has its own audio tower, projector and chat template"),
        ({"projector": ProjectorOptions(kind="stack")}, "projector: "),
        ({"prompt": PromptOptions(chat=False)}, "prompt.chat: "),
        ({"options": IclOptions(matched=True)}, "matched: "),
        ({"options": IclOptions(opinion_pool=True)}, "opinion_pool: "),
        ({"options": IclOptions(standardize="each")}, "standardize: "),
        ({"options": IclOptions(other_answers=0.3)}, "other_answers: "),
        ({"options": IclOptions(projector_steps=77)}, "projector_steps: "),
        ({"options": IclOptions(projector_learning_rate=0.5)}, "projector_learning_rate: "),
        ({"options": IclOptions(projector_mixup=0.5)}, "projector_mixup: "),
        ({"lora": LoraOptions(targets=("qkv",))}, "has no linear layer 'qkv': it has down_proj, gate_proj"),
    ],
)
def test_an_option_that_an_audio_llm_lacks_is_refused_before_weights_are_loaded(
    tiny_folder, changes, message, monkeypatch
):
    monkeypatch.setattr("speechlm_icl.audio_llm.start.load_checkpoint", None)
    check(tiny_folder("qwen2_audio"))
    check(tiny_folder("qwen2_audio"), options=IclOptions(projector_steps=0))
    with pytest.raises(UserError, match=message):
        check(tiny_folder("qwen2_audio"), **changes)


def test_a_family_of_one_clip_cannot_be_meta_trained(tiny_folder):
    with pytest.raises(UserError, match="takes one clip in a prompt, so it cannot learn to read others"):
        check(tiny_folder("audioflamingo3"))


def test_which_names_are_audio_llms(tiny_folder, tmp_path):
    assert is_audio_llm_name(str(tiny_folder("qwen2_audio")))
    assert not is_audio_llm_name("tiny-llama")
    assert not is_audio_llm_name("some/file.gguf")
    (tmp_path / "audio_llm.json").write_text("{}")
    with pytest.raises(UserError, match="was meta-trained already"):
        is_audio_llm_name(str(tmp_path))


def test_an_experiment_that_would_give_it_an_encoder_is_refused(tiny_folder):
    options = asdict(IclOptions()) | {
        "language_model": str(tiny_folder("gemma4")),
        "lora": LoraOptions(),
    }
    with pytest.raises(UserError, match="is an audio LLM, which has its own encoder: train it with `perser"):
        ROUTE.check({"icl_train": options}, {"speech-lm"})


def test_an_adapter_of_a_tower_needs_a_tower():
    with pytest.raises(UserError, match="'tiny-llama' has no audio tower"):
        check_language_model("tiny-llama", LoraOptions(audio=True))


def test_a_sequence_that_is_too_long_is_refused_before_weights_are_loaded(tiny_folder, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder("qwen2_audio"), folder)
    (folder / "model.safetensors").write_bytes(b"")
    task = Task("anna", tuple("abcde"), (("angry",),) * 5)
    seconds = {name: len(samples) / 16_000 for name, samples in CLIPS.items()}
    asked = (str(folder), EMOTIONS, PromptOptions(), [task], 4, seconds.__getitem__)
    check_sequences_fit(*asked)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = 50
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"of 4 enrolled clips takes .* but the context of"):
        check_sequences_fit(*asked)


@pytest.fixture(scope="module")
def saved(tiny_folder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a trained model."""
    model, config = learner_of(tiny_folder("qwen2_audio"))
    folder = tmp_path_factory.mktemp("trained")
    save_trained(config, model.language_model, model.binding, folder)
    return folder


def test_a_model_that_binds_pairs_does_not_write_after_an_enrollment(saved):
    llm = load_audio_llm(saved)
    asked = [llm.chat.user("What?", QUERY)]
    assert isinstance(llm.write(asked, [QUERY], 2), str)
    with pytest.raises(UserError, match="trained with bound pairs, so it scores labels after an enrollment"):
        llm.write([*asked, llm.chat.assistant("sad"), *asked], [QUERY, QUERY], 2)


def test_a_trained_model_takes_labels_of_a_persons_own(saved):
    words = EmotionSet(("proud", "weary"))
    assert np.isfinite(scores_of(load_audio_llm(saved).with_labels(EMOTIONS)).numpy()).all()
    assert load_audio_llm(saved, words).wording.labels == words.names
