"""Middleware for other people's libraries. Each module needs its extra; nothing else of taskq imports them."""
