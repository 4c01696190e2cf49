"""Tiny random checkpoints of each family of audio LLMs with its real processor, saved as the Hub's are."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import (
    AudioFlamingo3Config,
    AudioFlamingo3ForConditionalGeneration,
    AudioFlamingo3Processor,
    Gemma3nAudioFeatureExtractor,
    Gemma3nConfig,
    Gemma3nForConditionalGeneration,
    Gemma3nProcessor,
    Gemma4AudioFeatureExtractor,
    Gemma4Config,
    Gemma4ForConditionalGeneration,
    Gemma4ImageProcessor,
    Gemma4Processor,
    Gemma4VideoProcessor,
    GraniteSpeechConfig,
    GraniteSpeechFeatureExtractor,
    GraniteSpeechForConditionalGeneration,
    GraniteSpeechProcessor,
    Phi4MultimodalConfig,
    Phi4MultimodalFeatureExtractor,
    Phi4MultimodalForCausalLM,
    Phi4MultimodalImageProcessor,
    Phi4MultimodalProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5OmniConfig,
    Qwen2_5OmniForConditionalGeneration,
    Qwen2_5OmniProcessor,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3OmniMoeConfig,
    Qwen3OmniMoeForConditionalGeneration,
    Qwen3OmniMoeProcessor,
    SiglipImageProcessor,
    VoxtralConfig,
    VoxtralForConditionalGeneration,
    VoxtralProcessor,
    WhisperFeatureExtractor,
)

TEXTS = [
    "You hear recordings of speech. Answer each with the emotion that is heard in it. angry happy sad and"
]

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'audio' %}AUDIO"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

GEMMA = (
    "{{ bos_token }}{% for message in messages %}<start_of_turn>"
    "{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'audio' %}<audio_soft_token>"
    "{% else %}{{ part['text'] | trim }}{% endif %}{% endfor %}{% endif %}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)

LOUD, LOUDER = (
    ("multi_modal_projector", "audio_tower.proj", "projector.linear", "embed_audio", "for_speech"),
    8.0,
)
"""Parts of the names of the weights between clips and text, and how much larger they are made."""

WIDE = 0.3
"""Standard deviation of random weights, so that attention is far from uniform."""


def chat_tokenizer(
    template: str, named: dict[str, str], others: tuple[str, ...] = ()
) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer with a chat template and special tokens.

    Args:
        template: the chat template.
        named: special tokens that are attributes of the tokenizer, such as `audio_token`.
        others: further special tokens.
    """
    trainer = BpeTrainer(
        vocab_size=300,
        special_tokens=["<pad>", "<s>", *dict.fromkeys([*named.values(), *others])],
        initial_alphabet=ByteLevel.alphabet(),
    )
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        extra_special_tokens=named,
        additional_special_tokens=list(others),
        chat_template=template,
    )


def small_text(tokenizer: PreTrainedTokenizerFast, **more) -> dict:
    size = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": None}
    return (
        {"vocab_size": len(tokenizer), "num_key_value_heads": 2, "initializer_range": WIDE}
        | size
        | ids
        | more
    )


def small_whisper(**more) -> dict:
    size = {"d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 24}
    return {"num_mel_bins": 128, "max_source_positions": 1500, "initializer_range": WIDE} | size | more


QWEN_TOKENS = {
    "audio_token": "<|AUDIO|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
    "image_token": "<|IMAGE|>",
    "video_token": "<|VIDEO|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
}
QWEN_AUDIO = "<|audio_bos|><|AUDIO|><|audio_eos|>"


def qwen2_audio(folder: Path) -> None:
    tokenizer = chat_tokenizer("", QWEN_TOKENS, ("<|im_start|>", "<|im_end|>"))
    config = Qwen2AudioConfig(
        audio_config=small_whisper() | {"model_type": "qwen2_audio_encoder"},
        text_config=small_text(tokenizer) | {"model_type": "qwen2"},
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )
    Qwen2AudioForConditionalGeneration(config).save_pretrained(folder)
    extractor = WhisperFeatureExtractor(feature_size=128)
    Qwen2AudioProcessor(extractor, tokenizer).save_pretrained(folder)


OMNI_ROPE = {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10000.0}


def omni_tokenizer() -> PreTrainedTokenizerFast:
    return chat_tokenizer(CHATML.replace("AUDIO", QWEN_AUDIO), QWEN_TOKENS, ("<|im_start|>", "<|im_end|>"))


def save_omni_processor(processor: type, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Save a processor of Qwen-Omni, which takes images and videos too."""
    processor(
        image_processor=Qwen2VLImageProcessor(),
        video_processor=Qwen2VLVideoProcessor(),
        feature_extractor=WhisperFeatureExtractor(feature_size=128),
        tokenizer=tokenizer,
        chat_template=tokenizer.chat_template,
    ).save_pretrained(folder)


def qwen2_5_omni(folder: Path) -> None:
    tokenizer, rope = omni_tokenizer(), OMNI_ROPE
    ids = tokenizer.convert_tokens_to_ids
    thinker = {
        "audio_config": small_whisper(n_window=50, output_dim=32),
        "vision_config": {
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": 32,
            "fullatt_block_indexes": [0],
        },
        "text_config": small_text(tokenizer, rope_parameters=rope),
        "audio_token_index": ids("<|AUDIO|>"),
        "image_token_index": ids("<|IMAGE|>"),
        "video_token_index": ids("<|VIDEO|>"),
        "audio_start_token_id": ids("<|audio_bos|>"),
        "vision_start_token_id": ids("<|vision_bos|>"),
        "vision_end_token_id": ids("<|vision_eos|>"),
        "audio_end_token_id": ids("<|audio_eos|>"),
        "initializer_range": WIDE,
    }
    config = Qwen2_5OmniConfig(thinker_config=thinker, enable_audio_output=False)
    Qwen2_5OmniForConditionalGeneration(config).save_pretrained(folder)
    save_omni_processor(Qwen2_5OmniProcessor, tokenizer, folder)


def qwen3_omni(folder: Path) -> None:
    tokenizer, rope = omni_tokenizer(), OMNI_ROPE
    ids = tokenizer.convert_tokens_to_ids
    thinker = {
        "audio_config": small_whisper(n_window=50, output_dim=32, downsample_hidden_size=8),
        "vision_config": {
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": 32,
            "deepstack_visual_indexes": [0],
        },
        "text_config": small_text(
            tokenizer, rope_parameters=rope, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16
        ),
        "audio_token_id": ids("<|AUDIO|>"),
        "image_token_id": ids("<|IMAGE|>"),
        "video_token_id": ids("<|VIDEO|>"),
        "audio_start_token_id": ids("<|audio_bos|>"),
        "vision_start_token_id": ids("<|vision_bos|>"),
        "vision_end_token_id": ids("<|vision_eos|>"),
        "initializer_range": WIDE,
    }
    config = Qwen3OmniMoeConfig(thinker_config=thinker, enable_audio_output=False)
    Qwen3OmniMoeForConditionalGeneration(config).save_pretrained(folder)
    save_omni_processor(Qwen3OmniMoeProcessor, tokenizer, folder)


def granite_speech(folder: Path) -> None:
    tokenizer = chat_tokenizer(
        CHATML.replace("AUDIO", "<|audio|>"), {"audio_token": "<|audio|>"}, ("<|im_start|>", "<|im_end|>")
    )
    config = GraniteSpeechConfig(
        text_config=small_text(tokenizer) | {"model_type": "granite"},
        encoder_config={
            "input_dim": 160,
            "num_layers": 2,
            "hidden_dim": 16,
            "num_heads": 2,
            "dim_head": 8,
            "output_dim": 8,
            "context_size": 20,
            "max_pos_emb": 32,
            "initializer_range": WIDE,
        },
        projector_config={
            "model_type": "blip_2_qformer",
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 16,
            "encoder_hidden_size": 16,
            "initializer_range": WIDE,
        },
        audio_token_index=tokenizer.convert_tokens_to_ids("<|audio|>"),
        has_lora_adapter=False,
        initializer_range=WIDE,
    )
    GraniteSpeechForConditionalGeneration(config).save_pretrained(folder)
    processor = GraniteSpeechProcessor(
        GraniteSpeechFeatureExtractor(), tokenizer, chat_template=tokenizer.chat_template
    )
    processor.save_pretrained(folder)


def audioflamingo3(folder: Path) -> None:
    tokenizer = chat_tokenizer(
        CHATML.replace("AUDIO", "<sound>"), {"audio_token": "<sound>"}, ("<|im_start|>", "<|im_end|>")
    )
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    config = AudioFlamingo3Config(
        audio_config=size | {"model_type": "audioflamingo3_encoder", "initializer_range": WIDE},
        text_config=small_text(tokenizer) | {"model_type": "qwen2"},
        audio_token_id=tokenizer.convert_tokens_to_ids("<sound>"),
    )
    AudioFlamingo3ForConditionalGeneration(config).save_pretrained(folder)
    extractor = WhisperFeatureExtractor(feature_size=128)
    AudioFlamingo3Processor(extractor, tokenizer, chat_template=tokenizer.chat_template).save_pretrained(
        folder
    )


def voxtral(folder: Path) -> None:
    """Needs mistral-common, whose tokenizer Voxtral's processor uses."""
    from transformers import MistralCommonBackend

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tekken.json").write_text(json.dumps(tekken_tokenizer()), encoding="utf-8")
    tokenizer = MistralCommonBackend(str(folder / "tekken.json"))
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    config = VoxtralConfig(
        audio_config=size | {"model_type": "voxtral_encoder", "initializer_range": WIDE},
        text_config=small_text(tokenizer)
        | {"model_type": "llama", "head_dim": 8, "vocab_size": tokenizer.vocab_size},
        audio_token_id=24,
    )
    VoxtralForConditionalGeneration(config).save_pretrained(folder)
    VoxtralProcessor(WhisperFeatureExtractor(feature_size=128), tokenizer).save_pretrained(folder)


TEKKEN_TOKENS = (
    "<unk> <s> </s> [INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] [/TOOL_RESULTS] "
    "[TOOL_CALLS] [IMG] <pad> [IMG_BREAK] [IMG_END] [PREFIX] [MIDDLE] [SUFFIX] [SYSTEM_PROMPT] "
    "[/SYSTEM_PROMPT] [TOOL_CONTENT] <SPECIAL_20> <SPECIAL_21> <SPECIAL_22> <SPECIAL_23> [AUDIO] "
    "[BEGIN_AUDIO] <SPECIAL_26> <SPECIAL_27> <SPECIAL_28> <SPECIAL_29> <SPECIAL_30> <SPECIAL_31> "
    "<SPECIAL_32> <SPECIAL_33> [TRANSCRIBE]"
)
"""Voxtral's special tokens, by id."""


def tekken_tokenizer() -> dict:
    """Return the content of a `tekken.json` of single bytes, with Voxtral's special tokens."""
    names = TEKKEN_TOKENS.split()
    special = [{"rank": rank, "token_str": name, "is_control": True} for rank, name in enumerate(names)]
    vocab = [
        {"rank": byte, "token_bytes": base64.b64encode(bytes([byte])).decode(), "token_str": chr(byte)}
        for byte in range(256)
    ]
    return {
        "vocab": vocab,
        "special_tokens": special,
        "config": {
            "pattern": r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+",
            "num_vocab_tokens": 256,
            "default_vocab_size": 256 + len(names),
            "default_num_special_tokens": len(names),
            "version": "v7",
        },
        "version": 1,
        "type": "Tekken",
        "audio": {
            "sampling_rate": 16000,
            "frame_rate": 12.5,
            "audio_encoding_config": {"num_mel_bins": 128, "hop_length": 160, "window_size": 400},
            "chunk_length_s": 30.0,
        },
    }


GEMMA_TOKENS = {
    "audio_token": "<audio_soft_token>",
    "boa_token": "<start_of_audio>",
    "eoa_token": "<end_of_audio>",
    "image_token": "<image_soft_token>",
    "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>",
}


def gemma_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """Return the ids of clips and images in the configuration of a Gemma; that of a clip's end has another
    name in each."""
    ids = tokenizer.convert_tokens_to_ids
    return {
        "boa_token_id": ids("<start_of_audio>"),
        "audio_token_id": ids("<audio_soft_token>"),
        "image_token_id": ids("<image_soft_token>"),
        "boi_token_id": ids("<start_of_image>"),
        "eoi_token_id": ids("<end_of_image>"),
    }


def gemma3n(folder: Path) -> None:
    tokenizer = chat_tokenizer(GEMMA, GEMMA_TOKENS, ("<start_of_turn>", "<end_of_turn>"))
    size = len(tokenizer)
    config = Gemma3nConfig(
        text_config=small_text(
            tokenizer,
            head_dim=8,
            vocab_size=size + 16,
            vocab_size_per_layer_input=size,
            hidden_size_per_layer_input=8,
            num_hidden_layers=4,
            num_kv_shared_layers=2,
            layer_types=["sliding_attention", "full_attention"] * 2,
            sliding_window=64,
            laurel_rank=4,
            activation_sparsity_pattern=[0.0] * 4,
        ),
        audio_config={
            "vocab_size": 8,
            "vocab_offset": size + 8,
            "hidden_size": 16,
            "conf_num_attention_heads": 2,
            "conf_num_hidden_layers": 1,
            "sscp_conv_channel_size": [8, 4],
            "initializer_range": WIDE,
        },
        vision_config={
            "vocab_size": 8,
            "vocab_offset": size,
            "hidden_size": 16,
            "architecture": "test_efficientnet",
        },
        **gemma_ids(tokenizer),
        eoa_token_id=tokenizer.convert_tokens_to_ids("<end_of_audio>"),
        initializer_range=WIDE,
    )
    Gemma3nForConditionalGeneration(config).save_pretrained(folder)
    Gemma3nProcessor(
        Gemma3nAudioFeatureExtractor(),
        SiglipImageProcessor(),
        tokenizer,
        chat_template=tokenizer.chat_template,
    ).save_pretrained(folder)


def gemma4(folder: Path) -> None:
    tokenizer = chat_tokenizer(GEMMA, GEMMA_TOKENS, ("<start_of_turn>", "<end_of_turn>", "<|video|>"))
    config = Gemma4Config(
        text_config=small_text(
            tokenizer,
            head_dim=8,
            global_head_dim=16,
            vocab_size_per_layer_input=len(tokenizer),
            hidden_size_per_layer_input=8,
            num_hidden_layers=4,
            num_kv_shared_layers=2,
            layer_types=["sliding_attention", "full_attention"] * 2,
            sliding_window=64,
        ),
        audio_config={
            "hidden_size": 16,
            "num_attention_heads": 2,
            "num_hidden_layers": 1,
            "subsampling_conv_channels": [128, 4],  # the first one has to be the number of mel bins
            "output_proj_dims": 16,
            "initializer_range": WIDE,
        },
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 8,
        },
        **gemma_ids(tokenizer),
        eoa_token_index=tokenizer.convert_tokens_to_ids("<end_of_audio>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video|>"),
        initializer_range=WIDE,
    )
    Gemma4ForConditionalGeneration(config).save_pretrained(folder)
    Gemma4Processor(
        Gemma4AudioFeatureExtractor(),
        Gemma4ImageProcessor(),
        tokenizer,
        Gemma4VideoProcessor(),
        chat_template=tokenizer.chat_template,
    ).save_pretrained(folder)


def phi4_multimodal(folder: Path) -> None:
    named = {"audio_token": "<|audio|>", "image_token": "<|image|>"}
    template = (
        "{% for message in messages %}<|{{ message['role'] }}|>{% if message['content'] is string %}"
        "{{ message['content'] }}{% else %}{% for part in message['content'] %}"
        "{% if part['type'] == 'audio' %}<|audio|>{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
        "{% endif %}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    tokenizer = chat_tokenizer(template, named, ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>"))
    tokenizer.image_token_id, tokenizer.audio_token_id = map(
        tokenizer.convert_tokens_to_ids, ("<|image|>", "<|audio|>")
    )
    config = Phi4MultimodalConfig(
        **small_text(tokenizer),
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0},
        audio_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_blocks": 2,
            "num_attention_heads": 2,
            "ext_pw_out_channel": 16,
            "depthwise_separable_out_channel": 16,
            "nemo_conv_channels": 8,
            "initializer_range": WIDE,
            "audio_token_id": tokenizer.convert_tokens_to_ids("<|audio|>"),
        },
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_token_id": tokenizer.convert_tokens_to_ids("<|image|>"),
        },
    )
    Phi4MultimodalForCausalLM(config).save_pretrained(folder)
    Phi4MultimodalProcessor(
        Phi4MultimodalImageProcessor(), Phi4MultimodalFeatureExtractor(), tokenizer, chat_template=template
    ).save_pretrained(folder)


FAMILIES: dict[str, Callable[[Path], None]] = {
    "qwen2_audio": qwen2_audio,
    "qwen2_5_omni": qwen2_5_omni,
    "qwen3_omni_moe": qwen3_omni,
    "voxtral": voxtral,
    "granite_speech": granite_speech,
    "gemma3n": gemma3n,
    "gemma4": gemma4,
    "audioflamingo3": audioflamingo3,
    "phi4_multimodal": phi4_multimodal,
}


NEEDS = {
    "qwen2_5_omni": ("torchvision",),
    "qwen3_omni_moe": ("torchvision",),
    "voxtral": ("mistral_common",),
    "gemma3n": ("torchvision", "timm"),
    "gemma4": ("torchvision",),
    "phi4_multimodal": ("torchvision",),
}
"""Packages without which a family's checkpoint cannot be built."""


def save_tiny(family: str, folder: Path) -> Path:
    """Write a tiny random checkpoint of a family, and return its folder."""
    torch.manual_seed(0)
    FAMILIES[family](folder)
    make_clips_count(folder)
    return folder


def make_clips_count(folder: Path) -> None:
    """Make the weights between clips and text larger: with random weights, clips would change the answers
    too little for a test to notice a wrong one."""
    file = folder / "model.safetensors"
    weights = load_file(file)
    for name, weight in weights.items():
        if any(part in name for part in LOUD) and weight.is_floating_point():
            weight *= LOUDER
    save_file(weights, file, metadata={"format": "pt"})
