"""The one loop: feed, train, evaluate, generate, checkpoints, logs, resuming; and the verbs built on it."""
