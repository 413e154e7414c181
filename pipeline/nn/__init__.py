"""The two-layer network and its training, for many models at once."""
