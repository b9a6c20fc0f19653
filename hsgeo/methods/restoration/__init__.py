"""Restoration methods: one scene in, the same scene with less noise, fewer gaps or more pixels out."""
