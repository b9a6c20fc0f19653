"""Quality of generated tiles, which have no truth: how like the scene they are, and how unlike copies of it."""
