"""Tables 1 and 2 of the paper: the grid, its runs, how far they are, and what came of them."""
