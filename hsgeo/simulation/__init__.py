"""Simulated scenes: a drawn land seen by two sensors, and reduced-resolution pairs of real scenes."""
