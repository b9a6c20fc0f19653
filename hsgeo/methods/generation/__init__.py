"""Generation methods."""
