"""The training loop, its evaluation and its files."""
