"""In what numbers networks are trained."""

from __future__ import annotations

import torch


def bfloat16_pays(device: torch.device) -> bool:
    """Whether a step is faster with numbers of 16 bits: on GPUs and CPUs that multiply matrices of them.

    For training alone: in a fusion their rounding would show where tiles meet.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and getattr(torch.cpu, "_is_amx_tile_supported", bool)()
