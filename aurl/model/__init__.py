"""The Transformer VAE, in pure torch."""
