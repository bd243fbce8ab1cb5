"""A random model that answers like OpenVLA's, token by token; travels with its checkpoint.

It stands for the 7B weights alone: it is loaded by transformers, looks at picture and text, and bins and scales its
tokens back as OpenVLA does.
"""

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from .configuration_tiny import TinyConfig

BINS = 256


class TinyForActionPrediction(PreTrainedModel):
    config_class = TinyConfig
    _supports_sdpa = True

    def __init__(self, config):
        super().__init__(config)
        self.norm_stats = config.norm_stats
        self.bin_centers = (np.linspace(-1, 1, BINS)[:-1] + np.linspace(-1, 1, BINS)[1:]) / 2
        self.projector = torch.nn.Linear(3 * 28 * 28, config.hidden_size)
        self.language_model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=2 * BINS,
                hidden_size=config.hidden_size,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                initializer_range=0.5,
            )
        )
        self.post_init()

    def _init_weights(self, module):
        if module is self.projector:
            module.weight.data.normal_(std=0.05)
            module.bias.data.zero_()

    def get_input_embeddings(self):
        return self.language_model.get_input_embeddings()

    def get_output_embeddings(self):
        return self.language_model.get_output_embeddings()

    def predict_action(self, input_ids, pixel_values, unnorm_key, do_sample, attention_mask=None):
        assert not do_sample
        limits = self.norm_stats[unnorm_key]["action"]
        seen = torch.nn.functional.avg_pool2d(pixel_values - 0.5, 8).flatten(1)
        picture = self.projector(seen)[:, None]
        embeddings = self.get_input_embeddings()(input_ids) + picture
        tokens = []
        for _ in limits["q01"]:
            logits = self.language_model(inputs_embeds=embeddings, use_cache=False).logits
            token = logits[:, -1:].argmax(-1)
            tokens.append(int(token))
            embeddings = torch.cat([embeddings, self.get_input_embeddings()(token) + picture], dim=1)
        normalized = self.bin_centers[np.clip(np.array(tokens) - BINS, 0, BINS - 2)]
        low, high = np.array(limits["q01"]), np.array(limits["q99"])
        return np.where(limits["mask"], 0.5 * (normalized + 1) * (high - low) + low, normalized)
