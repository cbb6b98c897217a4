"""How close synthetic images are to real ones, and to single train images."""
