"""Many runs and the tables made of them: the grid, the runs, their progress and results.

`semicycle table` is the door.
"""
