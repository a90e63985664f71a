"""The harness: what every checkpoint is scored on, and how checkpoints compare. It trains nothing and draws nothing."""
