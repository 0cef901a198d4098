"""The command line: one file a group of commands. The only package that imports click."""
