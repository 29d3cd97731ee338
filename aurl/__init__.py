"""Distributed hyperparameter search for variational autoencoders of symbolic music."""
