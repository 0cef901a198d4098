"""Apps whose tasks the scenarios run in workers. They find out by variables of the environment where to write."""
