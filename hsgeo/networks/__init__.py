"""Torch modules. They know tensors only: no scene, no sensor, no file."""

from hsgeo.networks.attention import ChannelAttention, WindowAttention
from hsgeo.networks.cdformer import CDFormer
from hsgeo.networks.guided import GuidedNet
from hsgeo.networks.layers import GatedFeedForward, noise_embedding

__all__ = ["CDFormer", "ChannelAttention", "GatedFeedForward", "GuidedNet", "WindowAttention", "noise_embedding"]
