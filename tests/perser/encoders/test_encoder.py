"""Compare every family with transformers' own forward pass, and test batching and what adaptation needs."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from transformers import (
    Data2VecAudioConfig,
    HubertConfig,
    HubertForCTC,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperModel,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from perser.encoders.encoder import SpeechEncoder, pad
from perser.encoders.family import mean_pool
from perser.encoders.loading import TINY_NAMES
from perser.errors import UserError

SECONDS = (0.93, 0.31, 1.27, 0.4)
CONV_NAMES = [name for name in TINY_NAMES if name != "tiny-whisper"]


def waveforms(seconds=SECONDS, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [0.1 * torch.randn(int(16_000 * length), generator=generator) for length in seconds]


def _small(config_class, **extra):
    return config_class(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        conv_dim=[16] * 7,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        **extra,
    )


LARGE_MODELS = {
    "wav2vec2-stable": (
        Wav2Vec2Model,
        _small(Wav2Vec2Config, do_stable_layer_norm=True, feat_extract_norm="layer"),
    ),
    "hubert-stable": (
        HubertModel,
        _small(HubertConfig, do_stable_layer_norm=True, feat_extract_norm="layer"),
    ),
    "hubert-batch-norm": (HubertModel, _small(HubertConfig, conv_pos_batch_norm=True)),
    "wavlm-stable": (WavLMModel, _small(WavLMConfig, do_stable_layer_norm=True, feat_extract_norm="layer")),
}
EVERY = [*TINY_NAMES, *LARGE_MODELS]
FRAMES = {"tiny-whisper": 48, "tiny-ast": 62}
"""Of 0.96 s, where they are not 47: AST has 5 x 12 patches and two tokens for every clip."""


@pytest.fixture(scope="session")
def encoders(tmp_path_factory):
    """All tiny encoders, and encoders with the options of large models, loaded from folders.

    Their norms have random weights, so that a missing norm is noticed.
    """
    made = {name: SpeechEncoder.from_name(name) for name in TINY_NAMES}
    for name, (model_class, config) in LARGE_MODELS.items():
        folder = tmp_path_factory.mktemp(name)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            model = model_class(config)
            for module in model.modules():
                if (
                    isinstance(module, torch.nn.LayerNorm | torch.nn.BatchNorm1d)
                    and module.weight is not None
                ):
                    torch.nn.init.normal_(module.weight, mean=1.0, std=0.3)
                    torch.nn.init.normal_(module.bias, std=0.3)
        model.save_pretrained(folder)
        Wav2Vec2FeatureExtractor(do_normalize=name != "hubert-batch-norm").save_pretrained(folder)
        made[name] = SpeechEncoder.from_name(str(folder))
    return made


def alone(encoder, waveform):
    frames = encoder.frontend([waveform])[0]
    return encoder.hidden_states(frames[None], None)


def transformers_states(encoder, waveform):
    """Return the hidden states of transformers' own forward pass (Whisper: with the clip as window)."""
    model = encoder.model
    if isinstance(model, WhisperEncoder):
        mel = WhisperFeatureExtractor()(
            waveform.numpy(), sampling_rate=16_000, padding="longest", truncation=False, return_tensors="pt"
        ).input_features
        positions = mel.shape[-1] // 2
        config = WhisperConfig(**(model.config.to_dict() | {"max_source_positions": positions}))
        shorter = WhisperEncoder(config).eval()
        weights = model.state_dict()
        weights["embed_positions.weight"] = weights["embed_positions.weight"][:positions]
        shorter.load_state_dict(weights)
        output = shorter(mel[..., : 2 * positions], output_hidden_states=True)
    elif model.config.model_type in ("wav2vec2-bert", "audio-spectrogram-transformer"):
        inputs = encoder._extractor(waveform.numpy(), sampling_rate=16_000, return_tensors="pt")
        output = model(**inputs, output_hidden_states=True)
        if model.config.model_type == "wav2vec2-bert":  # the frames that the mask leaves in
            real = inputs.attention_mask[0].bool()
            states = [*output.hidden_states[:-1], output.last_hidden_state]
            return [state[:, real] for state in states]
    else:
        values = waveform
        if encoder._extractor.do_normalize:
            values = (waveform - waveform.mean()) / (waveform.var(unbiased=False) + 1e-7).sqrt()
        output = model(values[None], output_hidden_states=True)
    if model.config.model_type == "sew":  # one state for two frames, and 0 at an odd last one
        squeezed = [state.repeat_interleave(2, dim=1) for state in output.hidden_states[:-1]]
        odd = output.last_hidden_state.shape[1] % 2
        return [*(F.pad(state, (0, 0, 0, odd)) for state in squeezed), output.last_hidden_state]
    # transformers 5 leaves the final norm out of some models' hidden_states[-1]; its output has it in all.
    return [*output.hidden_states[:-1], output.last_hidden_state]


@pytest.mark.parametrize("name", EVERY)
def test_hidden_states_are_those_of_transformers(encoders, name):
    encoder, waveform = encoders[name], waveforms((0.96,))[0]
    with torch.no_grad():
        states, expected = alone(encoder, waveform), transformers_states(encoder, waveform)
    assert len(states) == len(expected) == encoder.num_layers + 1
    for state, reference in zip(states, expected, strict=True):
        assert state.shape == (1, FRAMES.get(name, 47), encoder.hidden_size)
        torch.testing.assert_close(state, reference, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", EVERY)
def test_an_utterance_does_not_depend_on_its_batch(encoders, name, attention):
    encoder, clips = encoders[name], waveforms()
    encoder.set_attention(attention)
    try:
        with torch.no_grad():
            frames, mask = pad(encoder.frontend(clips))
            together = encoder.hidden_states(frames, mask)
            for row, clip in enumerate(clips):
                encoder.set_attention("eager")
                for state, own in zip(together, alone(encoder, clip), strict=True):
                    torch.testing.assert_close(state[row, mask[row]], own[0], atol=1e-4, rtol=1e-4)
                    pooled = mean_pool(state, mask)[row]
                    torch.testing.assert_close(pooled, own[0].mean(dim=0), atol=1e-4, rtol=1e-4)
    finally:
        encoder.set_attention("eager")


@pytest.mark.parametrize("name", EVERY)
def test_values_in_the_padding_do_not_matter(encoders, name):
    encoder = encoders[name]
    frames, mask = pad(encoder.frontend(waveforms()))
    garbage = torch.where(mask[..., None], frames, torch.full_like(frames, 50.0))
    with torch.no_grad():
        for clean, dirty in zip(
            encoder.hidden_states(frames, mask), encoder.hidden_states(garbage, mask), strict=True
        ):
            torch.testing.assert_close(dirty[mask], clean[mask], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_layers_can_be_run_piecewise(encoders, name):
    encoder = encoders[name]
    frames, mask = pad(encoder.frontend(waveforms()))
    with torch.no_grad():
        states = encoder.hidden_states(frames, mask)
        for start in range(encoder.num_layers + 1):
            tail = encoder.run_layers(states[start] if start < encoder.num_layers else states[0], mask, start)
            assert len(tail) == encoder.num_layers - start
            for state, whole in zip(tail, states[start + 1 :], strict=True):
                torch.testing.assert_close(state[mask], whole[mask])
        first = encoder.run_layers(states[0], mask, stop=1)
    assert len(first) == 1
    torch.testing.assert_close(first[0][mask], states[1][mask])


@pytest.mark.parametrize("name", EVERY)
def test_every_trunk_parameter_learns_and_the_front_end_does_not(encoders, name):
    encoder = encoders[name].train()
    frames, mask = pad(encoder.frontend(waveforms()))
    assert not frames.requires_grad
    loss = sum(mean_pool(state, mask).square().mean() for state in encoder.hidden_states(frames, mask))
    gradients = torch.autograd.grad(
        loss, encoder.trunk_parameters()
    )  # raises an error if a parameter is unused
    assert all(gradient.isfinite().all() for gradient in gradients)
    front = sum(parameter.numel() for parameter in encoder.parameters() if not parameter.requires_grad)
    assert (front > 0) == bool(encoder._family.front_modules(encoder.model))  # w2v-BERT's is the spectrogram
    assert all(parameter.requires_grad for parameter in encoder.trunk_parameters())


@pytest.mark.parametrize("name", EVERY)
def test_training_mode_changes_nothing(encoders, name):
    encoder = encoders[name]
    frames, mask = pad(encoder.frontend(waveforms()))
    with torch.no_grad():
        expected = encoder.eval()(frames, mask)[-1][mask]
        for _ in range(2):
            torch.testing.assert_close(encoder.train()(frames, mask)[-1][mask], expected, atol=0, rtol=0)


@pytest.mark.parametrize("name", EVERY)
def test_second_order_gradients_through_fast_weights(encoders, name, monkeypatch):
    """The outer gradient through one inner step, along a direction, equals a central difference."""
    softmax = F.softmax
    # AST's is in float32, which is too coarse for a difference.
    monkeypatch.setattr(F, "softmax", lambda scores, dim, dtype=None: softmax(scores, dim=dim))
    encoder = encoders[name]
    frames, mask = pad(encoder.frontend(waveforms((0.3, 0.2))))
    frames, state = frames.double(), {key: value.double() for key, value in encoder.state_dict().items()}
    names = [key for key, value in encoder.named_parameters() if value.requires_grad]

    def loss(parameters):
        states = torch.func.functional_call(encoder, state | parameters, (frames, mask))
        return sum(mean_pool(hidden, mask).tanh().square().mean() for hidden in states)

    def after_a_step(parameters):
        gradients = torch.autograd.grad(loss(parameters), list(parameters.values()), create_graph=True)
        pairs = zip(parameters.items(), gradients, strict=True)
        return loss({key: value - 0.5 * gradient for (key, value), gradient in pairs})

    slow = {key: state[key].clone().requires_grad_() for key in names}
    generator = torch.Generator().manual_seed(3)
    direction = {key: torch.randn(slow[key].shape, generator=generator).double() for key in names}
    outer = torch.autograd.grad(after_a_step(slow), list(slow.values()))
    along = sum((gradient * direction[key]).sum() for key, gradient in zip(names, outer, strict=True))

    def shifted(amount):
        return {key: (slow[key] + amount * direction[key]).detach().requires_grad_() for key in names}

    step = 1e-7
    numerical = (after_a_step(shifted(step)) - after_a_step(shifted(-step))) / (2 * step)
    torch.testing.assert_close(along.detach(), numerical.detach(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", CONV_NAMES)
def test_vmap_over_tasks_without_padding(encoders, name):
    encoder = encoders[name]
    clips = torch.stack(encoder.frontend(waveforms((0.2,) * 4)))
    parameters = dict(encoder.named_parameters())

    def last(frames):
        return torch.func.functional_call(encoder, parameters, (frames, None))[-1]

    with torch.no_grad():
        batched = torch.vmap(last)(clips.view(2, 2, *clips.shape[1:]))
        torch.testing.assert_close(batched.flatten(0, 1), last(clips), atol=1e-5, rtol=1e-5)


def test_sdpa_agrees_with_eager(encoders):
    for name in EVERY:
        encoder = encoders[name]
        frames, mask = pad(encoder.frontend(waveforms()))
        with torch.no_grad():
            eager = encoder(frames, mask)[-1][mask]
            encoder.set_attention("sdpa")
            sdpa = encoder(frames, mask)[-1][mask]
            encoder.set_attention("eager")
        torch.testing.assert_close(sdpa, eager, atol=1e-5, rtol=1e-5)


def test_whisper_reads_long_audio_in_windows(tmp_path):
    """A clip of more than two windows is encoded as three separate windows, alone or in a batch."""
    config = WhisperConfig(
        d_model=16, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=16, max_source_positions=50
    )
    WhisperEncoder(config).save_pretrained(tmp_path)
    WhisperFeatureExtractor().save_pretrained(tmp_path)
    encoder = SpeechEncoder.from_name(str(tmp_path))
    clip, short = waveforms((2.3, 0.4))
    with torch.no_grad():
        parts = [alone(encoder, part) for part in clip.split(16_000)]
        expected = [torch.cat(states, dim=1)[0] for states in zip(*parts, strict=True)]
        frames, mask = pad(encoder.frontend([short, clip]))
        assert mask.sum(dim=1).tolist() == [20, 115]
        for whole, state, reference in zip(
            alone(encoder, clip), encoder.hidden_states(frames, mask), expected, strict=True
        ):
            torch.testing.assert_close(whole[0], reference, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(state[1, mask[1]], reference, atol=1e-5, rtol=1e-5)


def test_whisper_at_its_full_window_is_the_forward_of_transformers(encoders):
    encoder, waveform = encoders["tiny-whisper"], waveforms((30.0,))[0]
    mel = WhisperFeatureExtractor()(
        waveform.numpy(), sampling_rate=16_000, return_tensors="pt"
    ).input_features
    with torch.no_grad():
        expected = encoder.model(mel).last_hidden_state
        torch.testing.assert_close(alone(encoder, waveform)[-1], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", TINY_NAMES)
@pytest.mark.parametrize("samples", [1, 160, 399, 400])
def test_a_very_short_clip_gives_a_frame(encoders, name, samples):
    frames = encoders[name].frontend([0.1 * torch.ones(samples)])[0]
    assert frames.shape == (62 if name == "tiny-ast" else 1, encoders[name].front_size)
    assert frames.isfinite().all()


def test_tiny_weights_come_from_the_seed_alone():
    before = torch.random.get_rng_state()
    first, again, other = (SpeechEncoder.from_name("tiny-wavlm", seed=seed) for seed in (5, 5, 6))
    assert torch.equal(before, torch.random.get_rng_state())
    assert first.fingerprint("all") == again.fingerprint("all") != other.fingerprint("all")


@pytest.mark.parametrize("name", EVERY)
def test_a_saved_encoder_is_the_same_encoder(encoders, name, tmp_path):
    encoder, clip = encoders[name], waveforms((0.5,))[0]
    encoder.save_pretrained(tmp_path)
    assert {"config.json", "model.safetensors", "preprocessor_config.json"} <= {
        f.name for f in tmp_path.iterdir()
    }
    loaded = SpeechEncoder.from_name(str(tmp_path))
    with torch.no_grad():
        for state, reference in zip(alone(loaded, clip), alone(encoder, clip), strict=True):
            torch.testing.assert_close(state, reference, atol=0, rtol=0)
    for part in ("frontend", "all"):
        assert loaded.fingerprint(part) == encoder.fingerprint(part)


@pytest.mark.parametrize("name", TINY_NAMES)
def test_fingerprints_follow_the_weights(name):
    encoder = SpeechEncoder.from_name(name)
    front, whole = encoder.fingerprint("frontend"), encoder.fingerprint("all")
    assert front != whole
    with torch.no_grad():
        encoder.trunk_parameters()[-1].view(-1)[0] += 1e-3
    assert encoder.fingerprint("frontend") == front
    assert encoder.fingerprint("all") != whole
    whole = encoder.fingerprint("all")
    if name == "tiny-wav2vec2-bert":  # its front-end has no weights
        return
    frozen = next(value for value in encoder.parameters() if not value.requires_grad and value.dim() >= 3)
    with torch.no_grad():
        frozen.view(-1)[0] += 1e-3
    assert encoder.fingerprint("frontend") != front
    assert encoder.fingerprint("all") != whole


def test_normalization_is_part_of_the_front_end(tmp_path):
    encoder = SpeechEncoder.from_name("tiny-hubert")
    encoder.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert settings["do_normalize"] is True
    clip = waveforms((0.5,))[0]
    torch.testing.assert_close(
        encoder.frontend([7 * clip + 1])[0], encoder.frontend([clip])[0], atol=1e-4, rtol=1e-4
    )
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings | {"do_normalize": False}))
    assert SpeechEncoder.from_name(str(tmp_path)).fingerprint("frontend") != encoder.fingerprint("frontend")


@pytest.mark.parametrize("model_class", [WhisperModel, WhisperForConditionalGeneration])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_encoder_is_loaded_from_a_complete_whisper_checkpoint(tmp_path, model_class, dtype):
    config = WhisperConfig(
        d_model=16, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=16, decoder_layers=1,
        decoder_attention_heads=2, decoder_ffn_dim=16, vocab_size=40, pad_token_id=0, bos_token_id=0,
        eos_token_id=0, decoder_start_token_id=0, max_source_positions=60,
    )  # fmt: skip
    whisper = model_class(config).to(dtype)
    whisper.save_pretrained(tmp_path)
    WhisperFeatureExtractor().save_pretrained(tmp_path)
    encoder = SpeechEncoder.from_name(str(tmp_path))
    expected = whisper.get_encoder().float().state_dict()
    for key, value in encoder.model.state_dict().items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, expected[key], atol=0, rtol=0)


def test_a_checkpoint_with_a_head_gives_its_encoder(tmp_path):
    whole = HubertForCTC(_small(HubertConfig, vocab_size=8))
    whole.save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    encoder = SpeechEncoder.from_name(str(tmp_path))
    torch.testing.assert_close(
        encoder.model.encoder.layers[0].attention.q_proj.weight,
        whole.hubert.encoder.layers[0].attention.q_proj.weight,
    )


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no config\.json") as error:
        SpeechEncoder.from_name(str(tmp_path))
    assert str(tmp_path) in one_line(error)


@pytest.mark.parametrize("config", ['{"model_type": "bert"}', "{}"])
def test_an_unsupported_model_type_names_the_supported_ones(tmp_path, config):
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(UserError, match="data2vec-audio, whisper") as error:
        SpeechEncoder.from_name(str(tmp_path))
    one_line(error)


def test_a_broken_config_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="cannot read") as error:
        SpeechEncoder.from_name(str(tmp_path))
    one_line(error)


@pytest.mark.parametrize("missing", ["model.safetensors", "preprocessor_config.json"])
def test_an_incomplete_folder_is_refused(tmp_path, missing):
    SpeechEncoder.from_name("tiny-wav2vec2").save_pretrained(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(UserError, match=r"cannot load the encoder|has no weights") as error:
        SpeechEncoder.from_name(str(tmp_path))
    one_line(error)


def test_weights_of_another_model_are_not_replaced_by_random_ones(tmp_path):
    SpeechEncoder.from_name("tiny-wav2vec2").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 5}))
    with pytest.raises(UserError, match="lack") as error:
        SpeechEncoder.from_name(str(tmp_path))
    one_line(error)


def test_the_error_without_network_names_alternatives(monkeypatch):
    def unreachable(*args, **kwargs):
        raise ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unreachable)
    with pytest.raises(UserError, match="tiny-wav2vec2") as error:
        SpeechEncoder.from_name("nobody/no-such-encoder")
    assert "model folder" in one_line(error)


@pytest.mark.parametrize("name", ["/no/such/folder", "./nothing-here", "tiny-bert"])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(UserError, match="tiny-whisper") as error:
        SpeechEncoder.from_name(name)
    assert name in one_line(error)


def test_data2vec_front_end_has_its_own_config_type():
    assert isinstance(SpeechEncoder.from_name("tiny-data2vec").model.config, Data2VecAudioConfig)


def test_pad_and_mean_pool():
    frames, mask = pad([torch.ones(3, 2), 5 * torch.ones(1, 2)])
    assert frames.shape == (2, 3, 2)
    assert mask.tolist() == [[True] * 3, [True, False, False]]
    frames[1, 1:] = 99.0
    assert mean_pool(frames, mask).tolist() == [[1, 1], [5, 5]]
    assert mean_pool(frames[:, :1], None).tolist() == [[1, 1], [5, 5]]
