"""Training terms, in nats per sequence: tensors in, tensors out."""
