"""What the paper compares with: the same two methods on each, so the trainer does not change."""
