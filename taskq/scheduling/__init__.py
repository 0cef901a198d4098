"""Schedules: their files, what is kept of them in Kafka, and beat, which sends their tasks when they are due."""
