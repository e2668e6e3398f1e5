"""What is on disk: netCDF trees with their provenance, and tables of the user's own."""
