"""The two-layer network and its training."""
