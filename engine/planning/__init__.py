"""What memory the stages of a run will need, computed before anything is allocated for them."""
