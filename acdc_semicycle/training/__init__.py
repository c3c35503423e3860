"""One run of training: the trainer, what is shown while it runs, what is saved of it.

Methods come as objectives; nothing here knows one from another.
"""
