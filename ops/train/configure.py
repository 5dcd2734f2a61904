"""The reader's architecture as a transformers configuration. Sizes only: no weights."""

from __future__ import annotations

from transformers import Glm4vConfig

from train import vocabulary as v
from train.geometry import MERGE, PAGE_WIDTH, PATCH


def reader_config() -> Glm4vConfig:
    """Glm4v with 12.0 M parameters (23.9 MB in 16 bit): 2.7 M see, 9.3 M read.

    `mrope_section` has sixteen sections of one frequency instead of three long ones: transformers
    deals sections to t, h and w in turn, so every axis gets high and low frequencies. With three
    sections the column axis would hold only the slowest turns and neighbours would look alike.
    """
    return Glm4vConfig(
        text_config={
            "vocab_size": v.VOCAB_SIZE,
            "hidden_size": 384,
            "intermediate_size": 480,
            "num_hidden_layers": 8,
            "num_attention_heads": 6,
            "num_key_value_heads": 6,
            "max_position_embeddings": 8192,
            "pad_token_id": v.PAD,
            "attention_bias": True,  # vLLM drops these biases where this is not said
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 500.0,
                "partial_rotary_factor": 0.5,
                "mrope_section": [1] * 16,
            },
        },
        vision_config={
            "depth": 3,
            "hidden_size": 192,
            "num_heads": 4,
            "in_channels": 3,
            "image_size": PAGE_WIDTH,
            "out_hidden_size": 384,
            "intermediate_size": 640,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
            "rope_parameters": {"rope_type": "axial", "rope_theta": 100.0},
        },
        image_start_token_id=v.PAGE_OPEN,
        image_token_id=v.IMAGE,
        image_end_token_id=v.PAGE_CLOSE,
        video_start_token_id=v.ID["<|begin_of_video|>"],
        video_token_id=v.ID["<|video|>"],
        video_end_token_id=v.ID["<|end_of_video|>"],
        tie_word_embeddings=True,
    )
