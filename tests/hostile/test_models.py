"""A hostile model folder gives the saved model or an error of one line. No pickle is opened, no code run."""

from __future__ import annotations

import ast
import builtins
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from meta_perser.adaptation.lslr import make_rates
from meta_perser.adaptation.meta_trained import MetaPerSER
from meta_perser.options import LslrOptions
from meta_perser.recognizer.model import EmotionRecognizer
from perser.encoders.encoder import SpeechEncoder
from perser.errors import UserError
from perser.inference.recognizer import Recognizer
from perser.installed_routes import find_models, load_route_model
from perser.labels import EmotionSet
from speechlm_icl.model.base_model import base_config, find_base, load_base
from speechlm_icl.model.language_model import LoraOptions
from speechlm_icl.model.processing import SpeechLMProcessor
from speechlm_icl.model.speech_lm import SpeechLMForICL, new_model
from speechlm_icl.projectors.base import ProjectorOptions
from speechlm_icl.prompt.prompt import PromptOptions, word_tokenizer

from .corruption import Trap, corrupted, examples, result_or_error, untouched

EMOTIONS = EmotionSet(("angry", "happy", "sad"))
ROOT = Path(__file__).parents[2]


def save_meta_perser(folder: Path) -> None:
    model = EmotionRecognizer(SpeechEncoder.from_name("tiny-whisper"), EMOTIONS, "head", 8)
    rates = make_rates(list(model.trainable_parameters()), 2, 0.3, LslrOptions())
    MetaPerSER(model, rates, LslrOptions(), 2, 4, torch.ones(3), 0.05).save_pretrained(folder)


def save_speech_lm(folder: Path, language_model: str = "tiny-llama") -> None:
    encoder = SpeechEncoder.from_name("tiny-whisper")
    model = new_model(
        EMOTIONS,
        encoder="tiny-whisper",
        feature_shape=(encoder.num_layers + 1, encoder.hidden_size),
        language_model=language_model,
        lora=LoraOptions(r=2),
        prompt=PromptOptions(),
        projector=ProjectorOptions(width=8),
    )
    model.save_pretrained(folder)


def save_language_model(folder: Path) -> Path:
    tokenizer = word_tokenizer(["angry happy sad and \n What does this person hear ?"])
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["meta-perser", "speech-lm"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / request.param
    {"meta-perser": save_meta_perser, "speech-lm": save_speech_lm}[request.param](folder)
    return folder


def test_an_intact_model_is_loaded(saved: Path):
    assert Recognizer.from_pretrained(saved).emotions == EMOTIONS


@examples(12)
@given(data=st.data(), has_checksums=st.booleans())
def test_a_corrupted_model_is_refused(saved: Path, tmp_path: Path, data: st.DataObject, has_checksums: bool):
    """With checksums it always is; without them, as in old models, it is if the file cannot be read."""
    folder = tmp_path / "model"
    shutil.copytree(saved, folder, dirs_exist_ok=True)
    files = sorted(json.loads((folder / "checksums.json").read_text()))
    file = folder / data.draw(st.sampled_from(files))
    before = file.read_bytes()
    file.write_bytes(data.draw(corrupted(before)))
    if not has_checksums:
        (folder / "checksums.json").unlink()
    with untouched(tmp_path):
        loaded = result_or_error(lambda: load_route_model(folder))
        list(find_models(tmp_path))
    assert loaded is None or not has_checksums or file.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"../../secret": "1"}', b'{"/etc/passwd": "1"}'])
def test_damaged_checksums_are_refused_and_open_no_file_outside(content: bytes, saved: Path, tmp_path: Path):
    shutil.copytree(saved, tmp_path / "model")
    (tmp_path / "model" / "checksums.json").write_bytes(content)
    with untouched(tmp_path), pytest.raises(UserError, match=r"is damaged|lacks"):
        load_route_model(tmp_path / "model")


def test_pickles_in_place_of_weights_run_no_code(saved: Path, tmp_path: Path):
    for weights in sorted(path.relative_to(saved) for path in saved.rglob("*.safetensors")):
        for has_checksums in (True, False):
            folder = tmp_path / f"{weights.name}-{has_checksums}"
            shutil.copytree(saved, folder, dirs_exist_ok=True)
            (folder / weights).write_bytes(pickle.dumps(Trap(tmp_path / "mark")))
            if not has_checksums:
                (folder / "checksums.json").unlink()
            with untouched(tmp_path), pytest.raises(UserError):
                load_route_model(folder)
            torch.save(Trap(tmp_path / "mark"), folder / weights)
            with untouched(tmp_path), pytest.raises(UserError):
                load_route_model(folder)


def load_encoder(folder: Path) -> object:
    return SpeechEncoder.from_name(str(folder))


def load_language_model(folder: Path) -> object:
    return load_base(str(folder), "float32")


def save_encoder(folder: Path) -> Path:
    SpeechEncoder.from_name("tiny-wav2vec2").save_pretrained(folder)
    return folder


KINDS = [(save_encoder, load_encoder), (save_language_model, load_language_model)]


@pytest.mark.parametrize(("save", "load"), KINDS)
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pth", "last.ckpt"])
def test_a_folder_with_only_pickles_is_refused(save: Callable, load: Callable, name, tmp_path):
    folder = save(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    torch.save(Trap(tmp_path / "mark"), folder / name)
    with (
        untouched(tmp_path),
        pytest.raises(UserError, match=rf"pickles alone \({name}\).*save it as safetensors"),
    ):
        load(folder)


@pytest.mark.parametrize(("save", "load"), KINDS)
def test_pickles_beside_safetensors_are_ignored(save: Callable, load: Callable, tmp_path: Path):
    folder = save(tmp_path / "model")
    torch.save(Trap(tmp_path / "mark"), folder / "pytorch_model.bin")
    with untouched(tmp_path):
        assert load(folder) is not None


@pytest.mark.parametrize(("save", "load"), KINDS)
@pytest.mark.parametrize("shard", ["evil.bin", "../evil.safetensors", "/tmp/evil.safetensors"])
def test_an_index_that_names_a_pickle_or_an_outside_file_is_refused(
    save: Callable, load: Callable, shard: str, tmp_path: Path
):
    folder = save(tmp_path / "model")
    names = list(load_file(folder / "model.safetensors"))
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": dict.fromkeys(names, shard)})
    )
    torch.save(Trap(tmp_path / "mark"), folder / "evil.bin")
    with untouched(tmp_path), pytest.raises(UserError, match="no safetensors file of its folder"):
        load(folder)


@pytest.mark.parametrize(("save", "load"), KINDS)
def test_a_base_folder_with_an_adapter_is_refused(save: Callable, load: Callable, tmp_path: Path):
    folder = save(tmp_path / "model")
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "x"}')
    torch.save(Trap(tmp_path / "mark"), folder / "adapter_model.bin")
    with untouched(tmp_path), pytest.raises(UserError, match="adapter"):
        load(folder)


@pytest.fixture
def evil_code(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return code that would create a file; the test fails if anything asks whether to run it."""
    monkeypatch.setattr(builtins, "input", lambda *_: pytest.fail("asked whether to run its code"))
    return "from pathlib import Path\nPath(__file__ + '.mark').touch()\nclass Evil: pass\n"


@pytest.mark.parametrize("kind", ["llama", "evil"])
@pytest.mark.parametrize("load", [load_encoder, load_language_model])
def test_code_that_comes_with_a_model_is_not_run(load: Callable, kind: str, evil_code: str, tmp_path: Path):
    folder = save_language_model(tmp_path / "model")
    (folder / "evil.py").write_text(evil_code)
    classes = {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"}
    config = json.loads((folder / "config.json").read_text()) | {"model_type": kind, "auto_map": classes}
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    tokenizer |= {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    with untouched(tmp_path):
        result_or_error(lambda: load(folder))
        result_or_error(lambda: base_config(find_base(str(folder))))


def test_code_that_comes_with_a_processor_is_not_run(evil_code: str, tmp_path: Path):
    save_speech_lm(tmp_path / "model")
    model = SpeechLMForICL.from_pretrained(tmp_path / "model")
    SpeechLMProcessor.of(model).save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "evil.py").write_text(evil_code)
    path = tmp_path / "model" / "tokenizer_config.json"
    config = json.loads(path.read_text()) | {"auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}}
    path.write_text(json.dumps(config | {"tokenizer_class": "Evil"}))
    with untouched(tmp_path), pytest.raises((ValueError, OSError, UserError)):
        SpeechLMProcessor.from_pretrained(tmp_path / "model")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"peft_type": "LORA", "megatron_config": {"a": 1}, "megatron_core": "evil"},
            "no plain LoRA adapter",
        ),
        ({"peft_type": "PREFIX_TUNING"}, "no plain LoRA adapter"),
        (None, "holds no adapter_model.safetensors"),
    ],
)
def test_an_adapter_from_a_pickle_or_of_another_kind_is_refused(
    change: dict | None, message: str, tmp_path: Path
):
    base = save_language_model(tmp_path / "base")
    save_speech_lm(tmp_path / "model", str(base))
    (tmp_path / "model" / "checksums.json").unlink()
    adapter = tmp_path / "model" / "adapter"
    if change is None:
        (adapter / "adapter_model.safetensors").unlink()
        torch.save(Trap(tmp_path / "mark"), adapter / "adapter_model.bin")
    else:
        config = json.loads((adapter / "adapter_config.json").read_text()) | change
        (adapter / "adapter_config.json").write_text(json.dumps(config))
    with untouched(tmp_path), pytest.raises(UserError, match=message):
        SpeechLMForICL.from_pretrained(tmp_path / "model")


@examples(12)
@given(data=st.data())
@pytest.mark.parametrize(("save", "load"), KINDS)
def test_a_corrupted_transformers_folder_gives_a_model_or_an_error(
    save: Callable, load: Callable, tmp_path: Path, data: st.DataObject
):
    folder = save(tmp_path / "model")
    file = folder / data.draw(st.sampled_from(sorted(path.name for path in folder.iterdir())))
    file.write_bytes(data.draw(corrupted(file.read_bytes())))
    with untouched(tmp_path):
        result_or_error(lambda: load(folder))


def test_weights_of_other_shapes_are_refused(tmp_path: Path):
    save_meta_perser(tmp_path / "model")
    (tmp_path / "model" / "checksums.json").unlink()
    weights = load_file(tmp_path / "model" / "recogniser.safetensors")
    flat = {name: weight.flatten() for name, weight in weights.items()}
    save_file(flat, tmp_path / "model" / "recogniser.safetensors")
    with pytest.raises(UserError, match="is damaged"):
        load_route_model(tmp_path / "model")


FORBIDDEN = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def test_no_code_in_the_packages_opens_a_pickle_or_trusts_a_models_code():
    """Check every call and import of the packages."""
    faults = []
    for package in ("perser", "meta_perser", "speechlm_icl", "benchmarks"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    names = {alias.name.split(".")[0] for alias in node.names} | {getattr(node, "module", "")}
                    faults += [f"{path.name}: imports {name}" for name in names & FORBIDDEN]
                if isinstance(node, ast.Call):
                    called = ast.unparse(node.func)
                    arguments = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                    unsafe = called in ("torch.load", "eval", "exec", "os.system", "yaml.load") and (
                        arguments.get("weights_only") != "True"
                    )
                    trusting = arguments.get("trust_remote_code", "False") != "False"
                    if unsafe or trusting or arguments.get("allow_pickle", "False") != "False":
                        faults.append(f"{path.name}:{node.lineno}: {called}")
    assert faults == []
