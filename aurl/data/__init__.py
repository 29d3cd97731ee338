"""Music in: MIDI, pieces, tokens, corpora and batches."""
