"""Torch modules. They know tensors only: no scene, no sensor, no file."""

from hsgeo.networks.abundance_unet import AbundanceUNet
from hsgeo.networks.attention import ChannelAttention, WindowAttention
from hsgeo.networks.cdformer import CDFormer
from hsgeo.networks.guided import GuidedNet
from hsgeo.networks.layers import GatedFeedForward, noise_embedding
from hsgeo.networks.vs2m import VS2M, VS2MShape

__all__ = [
    "VS2M",
    "AbundanceUNet",
    "CDFormer",
    "ChannelAttention",
    "GatedFeedForward",
    "GuidedNet",
    "VS2MShape",
    "WindowAttention",
    "noise_embedding",
]
