"""Text as bytes, pictures as they are; travels with the tiny checkpoint."""

from typing import ClassVar

import numpy as np
from transformers import BatchFeature, ProcessorMixin


class TinyProcessor(ProcessorMixin):
    attributes: ClassVar[list[str]] = []

    def __call__(self, text, image):
        tokens = np.frombuffer(text.encode(), np.uint8).astype(np.int64)[None]
        pixels = np.asarray(image.convert("RGB"), np.float32).transpose(2, 0, 1)[None] / 255
        data = {"input_ids": tokens, "attention_mask": np.ones_like(tokens), "pixel_values": pixels}
        return BatchFeature(data, tensor_type="pt")
