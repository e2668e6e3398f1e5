"""NumPyro programs as functions of arrays: their arguments, sites and plates, and what interacts in them."""
