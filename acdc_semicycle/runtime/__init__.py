"""What everything else stands on: errors, files, signals, processes, versions, the environment.

Imports nothing of this package from outside this folder.
"""
