"""Sending tasks: what a message is made of, and how it is handed to the broker."""
