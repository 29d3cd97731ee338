"""Evaluation metrics: arrays in, numbers out."""
