"""Which workers run: policy, one worker's life, the reconciler."""
