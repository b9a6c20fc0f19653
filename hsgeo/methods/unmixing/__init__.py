"""Unmixing methods: endmembers by one look at the whole scene, abundances tile by tile."""
