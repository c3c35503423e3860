"""The verbs of ``semicycle``: their options, and what each hands on.

Nothing slow is imported before a verb has read its options.
"""
