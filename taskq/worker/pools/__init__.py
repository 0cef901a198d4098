"""What runs the tasks: `prefork`, `threads`, `asyncio`, `solo`, behind the Protocol of protocol.py."""
