"""Tiny models and an artificial task without an encoder: features by utterance id."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from perser.episodes.episode import Task
from perser.labels import EmotionSet
from speechlm_icl.model.language_model import LoraOptions
from speechlm_icl.model.speech_lm import SpeechLMForICL, new_model
from speechlm_icl.projectors.base import ProjectorOptions, read_clips
from speechlm_icl.prompt.prompt import PromptOptions, word_tokenizer

EMOTIONS = EmotionSet(("angry", "happy", "sad"))
LAYERS, SIZE = 3, 5


@dataclass
class FakeStore:
    """Replaces a FeatureStore of pooled features."""

    features: dict[str, torch.Tensor]
    level: str = "pooled"

    def __getitem__(self, utterance_id: str) -> torch.Tensor:
        return self.features[utterance_id]

    def num_rows(self, utterance_id: str) -> int:
        return len(self.features[utterance_id])

    def stack(self, utterance_ids: Sequence[str]) -> torch.Tensor:
        return torch.stack([self.features[utterance_id] for utterance_id in utterance_ids])


@pytest.fixture
def emotions() -> EmotionSet:
    return EMOTIONS


@pytest.fixture
def store() -> FakeStore:
    """60 utterances u0 ... u59; utterance i is of class i modulo 3."""
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(3, LAYERS, SIZE, generator=generator)
    noise = 0.3 * torch.randn(60, LAYERS, SIZE, generator=generator)
    return FakeStore({f"u{i}": centers[i % 3] + noise[i] for i in range(60)})


@pytest.fixture
def tasks() -> list[Task]:
    """12 persons who agree on classes 0 and 1. What they call class 2 is known only from their enrollment."""
    tasks = []
    for person in range(12):
        words = [EMOTIONS.names[0], EMOTIONS.names[1], EMOTIONS.names[person % 3]]
        labels = tuple((words[i % 3],) for i in range(60))
        tasks.append(Task(f"p{person}", tuple(f"u{i}" for i in range(60)), labels))
    return tasks


def make_model(language_model: str = "tiny-llama", **options) -> SpeechLMForICL:
    """Return a random model of this file's emotions and feature shape, in evaluation mode."""
    torch.manual_seed(1)
    return new_model(
        options.pop("emotions", EMOTIONS),
        encoder=options.pop("encoder", "tiny-whisper"),
        feature_shape=options.pop("feature_shape", (LAYERS, SIZE)),
        language_model=language_model,
        lora=options.pop("lora", LoraOptions(r=4)),
        prompt=PromptOptions(**options.pop("prompt", {})),
        projector=ProjectorOptions(**({"width": 16} | options)),
    ).eval()


def save_llama(folder, vocabulary: int, hidden_size: int = 64, intermediate_size: int = 128) -> None:
    """Save a random Llama of two layers, initialized so that its attention is far from uniform."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory):
    """A local causal language model, saved as the Hub's are."""
    folder = tmp_path_factory.mktemp("base") / "llama"
    tokenizer = word_tokenizer(["angry happy sad glad very and \n What does this person hear ?"])
    save_llama(folder, len(tokenizer))
    tokenizer.save_pretrained(folder)
    return folder


CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<turn>' + message['role'] + '\n' + message['content'] + '<end>\n' }}"
    "{% endfor %}"
)


def make_chat_tokenizer(template: str = CHAT_TEMPLATE) -> PreTrainedTokenizerFast:
    """Return a tokenizer of words with special tokens and a chat template."""
    tokenizer = word_tokenizer(["angry happy sad very glad and \n What is heard ? system user assistant"])
    tokenizer.add_special_tokens({"bos_token": "<s>", "eos_token": "<end>"})
    tokenizer.add_special_tokens({"additional_special_tokens": ["<turn>"]})
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture
def chat_tokenizer():
    """`make_chat_tokenizer`, for tests that need other templates."""
    return make_chat_tokenizer


@pytest.fixture(scope="session")
def chat_folder(tmp_path_factory):
    """A local causal language model with a chat template."""
    folder = tmp_path_factory.mktemp("chat") / "llama"
    tokenizer = make_chat_tokenizer()
    save_llama(folder, len(tokenizer))
    tokenizer.save_pretrained(folder)
    return folder


PROJECTORS = {
    "pooled": {},
    "two tokens a clip": {"kind": "attention", "tokens_per_clip": 2},
    "by length": {"kind": "stack", "windows_per_token": 2},
}
"""Options of projectors with a fixed and with a variable number of embeddings."""


@pytest.fixture(scope="module", params=["tiny-llama", "adapter"])
def language_model(request, llama_folder) -> str:
    return "tiny-llama" if request.param == "tiny-llama" else str(llama_folder)


@pytest.fixture(scope="module", params=list(PROJECTORS))
def audio_model(request, language_model) -> SpeechLMForICL:
    """A random model for the features of the encoder `tiny-whisper`, in evaluation mode."""
    instruction = {"instruction": "What does this person hear ?"}
    options = PROJECTORS[request.param] | {"prompt": instruction, "feature_shape": (4, 64)}
    model = make_model(language_model, **options)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return model


@pytest.fixture
def model() -> SpeechLMForICL:
    return make_model()


@pytest.fixture
def build():
    """`make_model`, for tests that need other options."""
    return make_model


@pytest.fixture
def full_pass_scores():
    """A function that scores labels by a forward pass of the language model over each prompt and label."""

    @torch.no_grad()
    def scores(model, store, support, answers, queries) -> torch.Tensor:
        template = model.prompt.template
        rows = []
        for query in queries:
            clips = read_clips(store, [*support, query])
            row = []
            for emotion, label in enumerate(model.prompt.labels):
                batch = model.batch([model.prompt.encode([*answers, [emotion]])], clips)
                logits = model.language_model.causal(inputs_embeds=model.embed(batch, clips)).logits[0]
                log_probabilities = logits.log_softmax(dim=-1)
                first = len(logits) - len(label) - len(template.end + template.following)
                row.append(sum(log_probabilities[first + i - 1, token] for i, token in enumerate(label)))
            rows.append(torch.stack(row))
        return torch.stack(rows)

    return scores


def write_gguf(path, folder) -> None:
    """Write the Llama of a folder as a GGUF file in float32, with a byte-level vocabulary."""
    import gguf

    model = AutoModelForCausalLM.from_pretrained(folder)
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    tokens = ["<s>", "<end>", *sorted(ByteLevel.alphabet()), "an", "sa"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL] * 2 + [gguf.TokenType.NORMAL] * (len(tokens) - 2))
    writer.add_token_merges(["a n", "s a"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, value in model.state_dict().items():
        array = value.float().numpy()
        for layer, heads in (("q_proj", config.num_attention_heads), ("k_proj", config.num_key_value_heads)):
            if layer in name:  # GGUF's Llama interleaves the halves of the rotary positions
                array = array.reshape(heads, 2, -1, array.shape[1]).swapaxes(1, 2).reshape(array.shape)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), array.copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="session")
def byte_llama(tmp_path_factory):
    """The folder of a Llama with the vocabulary of `gguf_file`."""
    folder = tmp_path_factory.mktemp("bytes")
    save_llama(folder, vocabulary=260, hidden_size=32, intermediate_size=48)
    return folder


@pytest.fixture(scope="session")
def gguf_file(byte_llama, tmp_path_factory):
    """The model of `byte_llama` as a GGUF file."""
    file = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(file, byte_llama)
    return file
