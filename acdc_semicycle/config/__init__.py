"""The bundle's configuration: where its files are, what an overlay may say, how a run starts.

The command line imports from here first, so nothing slow is imported at this level.
"""
