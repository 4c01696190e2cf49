"""The recognizer: encoder trunk -> weighted layer sum -> mean over time -> two linear layers.

Meta-PerSER, section 2.1 (the s3prl recipe). The time mean is taken before the layer sum. Both are linear, so
they commute, and of the hidden states below the lowest moving layer only the means are needed: a cache holds
them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from meta_perser.options import CONFIG
from meta_perser.recognizer.clip_batch import Bucket, ClipBatch
from meta_perser.recognizer.head import HeadAlone, HeadLayers
from meta_perser.scope import lora_rank, lowest_trainable_layer, refuse_below_windows
from perser.device import to_device
from perser.encoders.encoder import SpeechEncoder
from perser.encoders.lora import is_adapter
from perser.encoders.structure_copy import structure_copy
from perser.errors import UserError, explain_damage
from perser.io.checksums import tensors_sha256, verify_checksums, write_checksums
from perser.io.folders import did_you_mean
from perser.io.json_files import read_json
from perser.labels import Emotions, EmotionSet
from perser.starter import check_weights
from perser.training.checkpoint import moving_parameters

WEIGHTS = "recogniser.safetensors"

CHECKSUMMED = (CONFIG, "*.safetensors", "encoder/*")
"""The files of a saved model whose checksums are written and verified."""

_FIELDS = ("emotions", "scope", "head_size", "kept_layers", "frame_window", "logit_scale", "extra")


class EmotionRecognizer(HeadLayers):
    """Maps a `ClipBatch`, made for the same scope, to logits over the emotions.

    Args:
        encoder: the speech encoder; its front-end stays frozen.
        emotions: the classes.
        scope: what moves (see `meta_perser.scope`); everything else has requires_grad False.
        head_size: width of the first linear layer (256 in s3prl).
        kept_layers: how many of the lowest layers no training changes, of this model or of those that start
            from it: their outputs are read from disk. None: training may change them all.
        frame_window: frames whose mean enters the layers above those (applied by `ClipSource`).
        logit_scale: whether the logits are multiplied by a scale that moves with the head (not in the paper).
            As the biases learn how readily a person gives each emotion, the scale learns how sharply they
            tell emotions apart.
    """

    state_mean: Tensor
    state_scale: Tensor

    def __init__(
        self,
        encoder: SpeechEncoder,
        emotions: EmotionSet,
        scope: str = "all",
        head_size: int = 256,
        kept_layers: int | None = None,
        frame_window: int = 1,
        logit_scale: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.emotions = emotions
        self.kept_layers = kept_layers
        self.frame_window = frame_window
        self.trained_parameters = 0
        """How many parameters the training moved that this model was loaded from."""
        states = encoder.num_layers + 1
        self.layer_logits = nn.Parameter(torch.zeros(states))
        self.projector = nn.Linear(encoder.hidden_size, head_size)
        self.classifier = nn.Linear(head_size, len(emotions))
        # One-dimensional, because a scalar cannot be sharded.
        self.log_scale = nn.Parameter(torch.zeros(1)) if logit_scale else None
        # The dimensions of hidden states differ in scale by orders of magnitude. One step size for all of
        # them needs standardized states. Fitted once on training utterances.
        self.register_buffer("state_mean", torch.zeros(states, encoder.hidden_size))
        self.register_buffer("state_scale", torch.ones(states, encoder.hidden_size))
        self.set_scope(scope)

    def lowest_layer_of(self, scope: str) -> int | None:
        """Return the lowest layer that a scope moves, see `lowest_trainable_layer`.

        Raises UserError for what is no scope of this encoder, or moves layers below those that read means of
        several frames.
        """
        lowest = lowest_trainable_layer(scope, self.encoder.num_layers)
        refuse_below_windows(scope, lowest, self.kept_layers, self.frame_window)
        return lowest

    def set_scope(self, scope: str) -> None:
        """Choose what moves from now on.

        The scope `lora` adds adapters; leaving it merges them into the encoder's weights, so that the logits
        stay the same. Raises UserError as `lowest_layer_of` does.
        """
        self.lowest_layer = self.lowest_layer_of(scope)
        self.scope = scope
        rank = lora_rank(scope)
        self.encoder.set_adapters(rank, start=self.lowest_layer or 0)
        if rank is None:
            moving = self.encoder.trunk_parameters(start=self.lowest_layer)
        else:
            moving = self.encoder.adapter_parameters()
        self.requires_grad_(False)
        for parameter in moving:
            parameter.requires_grad_(True)
        self.projector.requires_grad_(True)
        self.classifier.requires_grad_(True)
        self.layer_logits.requires_grad_(scope != "linears")
        if self.log_scale is not None:
            self.log_scale.requires_grad_(scope != "linears")

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """Return everything that moves, theta of MAML: name to parameter, in a fixed order."""
        return moving_parameters(self)

    def with_labels(self, labels: EmotionSet) -> EmotionRecognizer:
        """Return the recognizer with a head of zeros over these labels; it shares all other weights."""
        copy, own = structure_copy(self, ()), self.classifier
        head = nn.Linear(own.in_features, len(labels), device=own.weight.device, dtype=own.weight.dtype)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        copy.emotions, copy.classifier = labels, head
        return copy

    def standardized(self, mean: Tensor, scale: Tensor) -> EmotionRecognizer:
        """Return the recognizer with another standardization, (L + 1, D) each; it shares all others."""
        copy = structure_copy(self, ())
        copy.state_mean, copy.state_scale = mean.to(self.state_mean), scale.to(self.state_scale)
        return copy

    @property
    def standardizes(self) -> bool:
        """Whether hidden states are not read as they are."""
        return bool((self.state_mean != 0).any() or (self.state_scale != 1).any())

    def standardize(self, pooled: Tensor) -> None:
        """Fit the standardization of hidden states to `pooled` (num_utterances, L + 1, D)."""
        self.state_mean.copy_(pooled.mean(dim=0))
        self.state_scale.copy_(pooled.std(dim=0).clamp(min=1e-3))

    def targets(self, labels: Sequence[Emotions]) -> Tensor:
        """Return label distributions (num_utterances, num_emotions) on the model's device, in its dtype."""
        # Copied: the alignment of NumPy's memory would show in the last digit of matrix products.
        targets = torch.tensor(self.emotions.distribution(labels)).to(self.layer_logits.dtype)
        return to_device(targets, self.layer_logits.device)

    def embed(self, batch: ClipBatch) -> Tensor:
        """Return the weighted layer sum of time means, (B, D)."""
        return self.layer_sum(self.states(batch))

    def forward(self, batch: ClipBatch) -> Tensor:
        """Return logits (B, num_emotions)."""
        return self.classify(self.states(batch))

    def states(self, batch: ClipBatch) -> Tensor:
        """Return the standardized time means of all hidden states, (B, L + 1, D)."""
        return (self.pooled_states(batch) - self.state_mean) / self.state_scale

    def pooled_states(self, batch: ClipBatch) -> Tensor:
        """Return the time means of all hidden states, in the batch's order, (B, L + 1, D)."""
        if not batch.buckets:
            return batch.lower
        means = torch.cat([self._moving_means(bucket) for bucket in batch.buckets])
        order = torch.cat([bucket.positions for bucket in batch.buckets]).argsort()
        return torch.cat([batch.lower, means[order]], dim=1)

    def _moving_means(self, bucket: Bucket) -> Tensor:
        """Return the time means of the hidden states that move, (b, num_moving, D)."""
        if self.lowest_layer is None:
            moving = self.encoder.hidden_states(bucket.frames, bucket.mask)
        else:
            moving = self.encoder.run_layers(bucket.frames, bucket.mask, start=self.lowest_layer)
        return torch.stack([self.encoder.pool(hidden, bucket.mask) for hidden in moving], dim=1)

    def save_pretrained(self, folder: Path, **extra: object) -> None:
        """Write the model to a folder, and `extra` with it, which `saved_settings` reads.

        `encoder/` has transformers' layout, without adapters; the weights of head and adapters, and the
        settings as JSON, are beside it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.encoder.save_pretrained(folder / "encoder")
        own = {name: value.contiguous() for name, value in self.state_dict().items() if _is_own(name)}
        save_file(own, folder / WEIGHTS)
        config = {
            "emotions": self.emotions.names,
            "scope": self.scope,
            "head_size": self.projector.out_features,
            "kept_layers": self.kept_layers,
            "frame_window": self.frame_window,
            "logit_scale": self.log_scale is not None,
            "extra": extra,
        }
        (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
        write_checksums(folder, CHECKSUMMED)

    def fingerprint(self) -> str:
        """Return a sha256 over every weight and setting that the logits depend on."""
        window = f"{self.frame_window} frames from {self.kept_layers}" if self.frame_window > 1 else ""
        own = {name: value for name, value in self.state_dict().items() if _is_own(name)}
        return tensors_sha256(self.encoder.fingerprint("all") + window, own)

    @classmethod
    def from_pretrained(cls, folder: Path) -> EmotionRecognizer:
        """Load what `save_pretrained` wrote. Raises UserError where the folder holds no recognizer."""
        config = _read_config(folder)
        verify_checksums(Path(folder))
        with explain_damage(f"the model in {folder}", "train it again"):
            model = cls(
                _encoder_of(Path(folder), config),
                EmotionSet(tuple(config["emotions"])),
                config["scope"],
                config["head_size"],
                config["kept_layers"],
                config["frame_window"],
                config["logit_scale"],
            )
            weights = load_file(Path(folder) / WEIGHTS)
            if "log_scale" in weights:
                weights["log_scale"] = weights["log_scale"].reshape(1)  # a scalar in older models
            missing, unexpected = model.load_state_dict(weights, strict=False)
        if unexpected or any(map(_is_own, missing)):
            raise UserError(f"{folder}: {WEIGHTS} does not fit {CONFIG}: train it again")
        model.trained_parameters = sum(
            parameter.numel() for parameter in model.trainable_parameters().values()
        )
        return model


def _encoder_of(folder: Path, config: dict[str, Any]) -> SpeechEncoder:
    """Return the encoder in a model's folder, or the one that its config names instead.

    Raises UserError where that cannot be had, or has other weights than in training.
    """
    named = config.get("encoder")
    if named is None:
        return SpeechEncoder.from_name(str(folder / "encoder"))
    encoder = SpeechEncoder.from_name(named["name"])
    check_weights(named["name"], encoder.fingerprint("all"), named["fingerprint"])
    return encoder


def moving_part(model: nn.Module, batch: ClipBatch) -> tuple[nn.Module, Any]:
    """Return what has to be computed again whenever moving weights change, and what it reads.

    Of a recognizer whose head alone moves, that is the head, and its states; of any other module, all of it,
    and the batch.
    """
    if isinstance(model, EmotionRecognizer) and not batch.buckets:
        return HeadAlone(model), model.states(batch)
    return model, batch


def _is_own(name: str) -> bool:
    """Return whether a weight belongs to the recognizer, not to the encoder, which is saved separately."""
    return not name.startswith("encoder.") or is_adapter(name)


def saved_settings(folder: Path) -> dict[str, Any]:
    """Return the settings saved beside the weights: rates, steps, class weights.

    Raises UserError where the folder holds no recognizer.
    """
    extra = _read_config(folder)["extra"]
    if not isinstance(extra, dict):
        raise UserError(f"{Path(folder) / CONFIG} is damaged (extra): train the model again")
    return extra


def _read_config(folder: Path) -> dict[str, Any]:
    path = Path(folder) / CONFIG
    if not path.exists():
        raise UserError(
            f"{folder} holds no {CONFIG}{did_you_mean(Path(folder))}: train a model there with "
            "`perser pretrain` or `perser meta-train`"
        )
    config = read_json(path) or {}
    if missing := [name for name in _FIELDS if name not in config]:
        raise UserError(f"{path} is damaged (no {missing[0]}): train the model again")
    return config
