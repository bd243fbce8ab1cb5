"""Tiny policies of LeRobot's own classes, with random weights, saved as LeRobot saves them.

They stand in for trained ones where only the class matters: what they answer means nothing.
"""

import json
from pathlib import Path

import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from lerobot.policies.rtc.configuration_rtc import RTCConfig
from lerobot.policies.smolvla.configuration_smolvla import SmolVLAConfig

DIM = 14
STATS = {
    "observation.state": {
        "mean": torch.zeros(DIM),
        "std": torch.ones(DIM),
        "min": -torch.ones(DIM),
        "max": torch.ones(DIM),
    },
    "action": {
        "mean": torch.linspace(-1, 1, DIM),
        "std": torch.linspace(0.5, 2, DIM),
        "min": torch.linspace(-3, -1, DIM),
        "max": torch.linspace(1, 4, DIM),
    },
}


def features(**cameras):
    """Inputs and outputs for ALOHA's 14 numbers and cameras of these sizes."""
    pictures = {
        f"observation.images.{name}": PolicyFeature(FeatureType.VISUAL, (3, *size)) for name, size in cameras.items()
    }
    state, action = PolicyFeature(FeatureType.STATE, (DIM,)), PolicyFeature(FeatureType.ACTION, (DIM,))
    return {"input_features": {"observation.state": state, **pictures}, "output_features": {"action": action}}


def save(config, folder):
    """A policy of this configuration with its processors."""
    torch.manual_seed(0)
    policy = get_policy_class(config.type)(config)
    for parameter in policy.parameters():
        parameter.data = parameter.data.float()
    policy.save_pretrained(folder)
    stats = {
        **STATS,
        **{key: {"mean": torch.zeros(3, 1, 1), "std": torch.ones(3, 1, 1)} for key in config.image_features},
    }
    for processor in make_pre_post_processors(config, dataset_stats=stats):
        processor.save_pretrained(folder)
    return folder


def diffusion(folder):
    """Looks at two observations, gives four actions of a horizon of eight, from noise."""
    config = DiffusionConfig(
        **features(top=(48, 64)),
        device="cpu",
        n_obs_steps=2,
        horizon=8,
        n_action_steps=4,
        down_dims=(16, 32),
        n_groups=4,
        kernel_size=3,
        diffusion_step_embed_dim=16,
        num_train_timesteps=4,
        spatial_softmax_num_keypoints=4,
        crop_shape=None,
        use_group_norm=True,
        pretrained_backbone_weights=None,
    )
    config.normalization_mapping = {"VISUAL": "IDENTITY", "STATE": "MIN_MAX", "ACTION": "MIN_MAX"}
    return save(config, folder)


def smolvla(folder, vlm):
    """Reads language, gives ten actions from noise, and knows real-time chunking."""
    config = SmolVLAConfig(
        **features(camera1=(48, 64)),
        device="cpu",
        chunk_size=10,
        n_action_steps=10,
        resize_imgs_with_padding=(64, 64),
        empty_cameras=1,
        vlm_model_name=str(tiny_vlm(vlm)),
        num_vlm_layers=2,
        num_steps=4,
        rtc_config=RTCConfig(enabled=True, execution_horizon=6),
    )
    return save(config, folder)


def tiny_vlm(folder):
    """What SmolVLA loads of its language model, without weights: configuration, tokenizer, image processor."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, SmolVLMConfig, SmolVLMImageProcessor

    words = ["<pad>", "<unk>", "<end_of_utterance>", "<fake_token_around_image>", "<image>", "<global-img>"]
    words += ["Pick", "Place", "the", "cube", "peg"]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    named = {"end_of_utterance_token": words[2], "fake_image_token": words[3], "image_token": words[4]}
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens={**named, "global_image_token": words[5]},
    )
    fast.save_pretrained(folder)
    SmolVLMImageProcessor(size={"longest_edge": 64}, max_image_size={"longest_edge": 64}).save_pretrained(folder)
    text = {
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "vocab_size": len(words),
        "pad_token_id": 0,
    }
    vision = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 16,
    }
    SmolVLMConfig(
        text_config=text, vision_config=vision, image_token_id=4, scale_factor=2, pad_token_id=0
    ).save_pretrained(folder)
    settings = Path(folder) / "processor_config.json"
    settings.write_text(json.dumps({"processor_class": "SmolVLMProcessor", "image_seq_len": 4}))
    return folder
