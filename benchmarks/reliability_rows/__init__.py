"""The rows of ``reliability.py``: a file of each kind."""
