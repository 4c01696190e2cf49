"""Export a recognizer as a folder that transformers can load, too."""

from __future__ import annotations

import json
from pathlib import Path

from meta_perser.adaptation.meta_trained import RATES_FILE
from meta_perser.inference import UNTUNED, UntunedModel, load_model
from meta_perser.modeling_hf import write_transformers_files
from meta_perser.recognizer.model import CHECKSUMMED, CONFIG, saved_settings
from perser.export.folder import copy_safe_files
from perser.io.checksums import write_checksums
from perser.io.json_files import read_json
from perser.route import Exported

META_TRAINED = """A speech emotion recognizer that was meta-trained (Meta-PerSER, arXiv 2505.16220) to be
personalized: gradient steps with learned rates on a few clips that a person labeled adapt its weights."""

PROXIMAL = """A speech emotion recognizer that was meta-trained to be personalized: it solves for the head
that fits a few clips that a person labeled best while it stays close to its own."""

AVERAGE = """A speech emotion recognizer trained on the labels of many listeners together; to personalize it,
its head is fine-tuned on a few clips that a person labeled."""

CLASSIFIER = """An audio classifier of transformers, with its own weights; to personalize it, a bias of each
emotion is fitted to a few clips that a person labeled."""

CODE = """\
import meta_perser.auto  # registers it with the Auto classes
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

extractor = AutoFeatureExtractor.from_pretrained("MODEL")
model = AutoModelForAudioClassification.from_pretrained("MODEL")  # not personalized
logits = model(**extractor("clip.wav", return_tensors="pt")).logits
print(model.config.id2label[int(logits[0].argmax())], logits.softmax(dim=-1).tolist())

# or by a pipeline, which takes samples; for a file's name it needs the program ffmpeg
import soundfile
from transformers import pipeline

samples, rate = soundfile.read("clip.wav", dtype="float32")
print(pipeline("audio-classification", model="MODEL")({"raw": samples, "sampling_rate": rate}))"""

METHODS = {"meta-perser": ("meta-perser",), "ssl-e": ("entire-zero", "head-few"), "linear": ("linear-few",)}


def export_gradient_model(folder: Path, out: Path) -> Exported:
    """Write the recognizer in a folder to `out` (`perser.route.Route.export`). Raises UserError for a model
    that `GradientModel` refuses."""
    model = load_model(folder)
    if isinstance(model, UntunedModel):
        return _export_classifier(model, out)
    emotions = model.emotions
    copy_safe_files(folder, out)
    named = (read_json(folder / CONFIG) or {}).get("encoder")  # instead of an encoder in the folder
    if (folder / "encoder").is_dir():
        copy_safe_files(folder / "encoder", out / "encoder")
    _shorten_encoder_name(out / CONFIG)
    write_transformers_files(out, emotions)
    write_checksums(out, CHECKSUMMED)
    summary = META_TRAINED if (out / RATES_FILE).is_file() else AVERAGE
    if saved_settings(folder).get("solver") == "proximal":
        summary = PROXIMAL
    return Exported(
        summary=summary,
        transformers_code=CODE,
        methods=METHODS,
        trained_on=saved_settings(folder).get("trained_on"),
        bases={} if named is None else {named["name"]: None},
    )


def _export_classifier(model: UntunedModel, out: Path) -> Exported:
    """Write an audio classifier of transformers in our form, with which it adapts in the same way."""
    encoder = {"name": Path(model.model.encoder.name).name, "seed": 0}
    model.model.save_pretrained(out, **{UNTUNED: True}, encoder=encoder)
    write_transformers_files(out, model.emotions)
    write_checksums(out, CHECKSUMMED)
    return Exported(summary=CLASSIFIER, transformers_code=CODE, methods={})


def _shorten_encoder_name(config: Path) -> None:
    """Keep only the name of the encoder's folder: where it is on this machine is of no use elsewhere."""
    content = json.loads(config.read_text(encoding="utf-8"))
    encoder = content["extra"].get("encoder")
    if encoder is not None and Path(encoder["name"]).expanduser().is_dir():
        encoder["name"] = Path(encoder["name"]).expanduser().resolve().name
        config.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
