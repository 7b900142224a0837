"""What is hidden, moved or replaced. Functions of (ids, what may be touched, rng); the vocabulary is an argument."""
