"""What the trainer is measured against, each written the way its own documentation teaches."""
