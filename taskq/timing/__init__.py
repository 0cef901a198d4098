"""What waits for its time: the records of it, the shards that keep it, and the thread that hosts them."""
