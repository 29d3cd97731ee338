"""Pictures of arrays and pieces: floor 3, so that training can draw what it measures."""
