"""The page that shows what predict and evaluate left in a folder.

Everything it shows is read from files; nothing is computed anew.
"""
