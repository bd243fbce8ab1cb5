"""Makes checkpoints. Runs in the Python that has transformers.

usage: checkpoints.py tiny FOLDER
       checkpoints.py prismatic FOLDER SOURCE     SOURCE: OpenVLA's own prismatic/extern/hf
"""

import importlib
import json
import shutil
import sys
from pathlib import Path

import torch

MASK = [True] * 6 + [False]


def statistics(scale):
    return {"action": {"q01": [-scale] * 6 + [0.0], "q99": [scale * 2] * 6 + [1.0], "mask": MASK}}


def tiny(folder):
    package = imported(Path(__file__).parent / "tiny", folder)
    config = package("configuration_tiny").TinyConfig(norm_stats={"lab": statistics(1.0), "bench": statistics(0.1)})
    torch.manual_seed(0)
    package("modeling_tiny").TinyForActionPrediction(config).save_pretrained(folder)
    merge(
        folder / "config.json",
        auto_map={
            "AutoConfig": "configuration_tiny.TinyConfig",
            "AutoModelForVision2Seq": "modeling_tiny.TinyForActionPrediction",
        },
    )
    processor = {"processor_class": "TinyProcessor", "auto_map": {"AutoProcessor": "processing_tiny.TinyProcessor"}}
    merge(folder / "processor_config.json", **processor)
    merge(folder / "preprocessor_config.json", **processor)


def prismatic(folder, source):
    """OpenVLA's own classes, as small as they go: two ViT-tiny and a Llama of two layers."""
    package = imported(source, folder)
    text = {
        "vocab_size": 32064,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "pad_token_id": 32000,
    }
    config = package("configuration_prismatic").OpenVLAConfig(
        vision_backbone_id="dinosiglip-vit-so-224px",
        llm_backbone_id="llama2-7b-pure",
        image_resize_strategy="resize-naive",
        text_config=text,
        timm_model_ids=["vit_tiny_patch16_224", "vit_tiny_patch16_224"],
        norm_stats={"bridge_orig": statistics(0.05), "libero_object_no_noops": statistics(0.5)},
    )
    torch.manual_seed(0)
    package("modeling_prismatic").OpenVLAForActionPrediction(config).save_pretrained(folder)
    processing = package("processing_prismatic")
    pictures = processing.PrismaticImageProcessor(
        use_fused_vision_backbone=True,
        image_resize_strategy="resize-naive",
        input_sizes=[(3, 224, 224)] * 2,
        interpolations=["bicubic"] * 2,
        means=[(0.5, 0.5, 0.5)] * 2,
        stds=[(0.5, 0.5, 0.5)] * 2,
    )
    pictures.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    auto = {
        "AutoConfig": "configuration_prismatic.OpenVLAConfig",
        "AutoImageProcessor": "processing_prismatic.PrismaticImageProcessor",
        "AutoProcessor": "processing_prismatic.PrismaticProcessor",
        "AutoModelForVision2Seq": "modeling_prismatic.OpenVLAForActionPrediction",
    }
    merge(folder / "config.json", auto_map=auto)
    merge(folder / "preprocessor_config.json", processor_class="PrismaticProcessor", auto_map=auto)


def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    text = Tokenizer(models.BPE(unk_token="<unk>"))
    text.pre_tokenizer = pre_tokenizers.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    text.train_from_iterator(
        ["In: What action should the robot take to pick up the cube?\nOut:"],
        trainers.BpeTrainer(special_tokens=["<unk>", "<s>", "</s>"], initial_alphabet=alphabet, show_progress=False),
    )
    text.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=text,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        model_input_names=["input_ids", "attention_mask"],
    )


def imported(source, folder):
    """Import the modules of a copy of `source` that lies in the checkpoint's own folder."""
    folder.mkdir(parents=True)
    for file in source.glob("*.py"):
        if file.name != "__init__.py":
            shutil.copy(file, folder)
    sys.path.insert(0, str(folder.parent))
    return lambda name: importlib.import_module(f"{folder.name}.{name}")


def merge(file, **entries):
    content = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(content | entries))


if __name__ == "__main__":
    kind, *paths = sys.argv[1:]
    {"tiny": tiny, "prismatic": prismatic}[kind](*map(Path, paths))
