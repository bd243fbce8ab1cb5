"""Configuration of the tiny stand-in; travels with its checkpoint."""

from transformers import PretrainedConfig


class TinyConfig(PretrainedConfig):
    model_type = "tiny_openvla"

    def __init__(self, norm_stats=None, hidden_size=16, llm_backbone_id="llama2-7b-pure", **kwargs):
        self.norm_stats, self.hidden_size, self.llm_backbone_id = norm_stats, hidden_size, llm_backbone_id
        super().__init__(**kwargs)
