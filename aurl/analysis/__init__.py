"""What the dimensions of a latent space do to the music that is decoded from them."""
