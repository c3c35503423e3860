"""Whom to annotate next, and which slices: candidates, their ranking, and drafts to mend.

A candidate is a patient with scans whose masks the network was not trained on. ``semicycle next`` is made of these.
"""
