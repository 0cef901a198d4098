"""What is measured: taskq, and beside it others that do the same. Each module is a worker's app, and says how it is driven."""
