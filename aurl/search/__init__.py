"""Search spaces, trials and the sweep itself."""
