"""Figures, intervals, fidelity, memorization and the HTML report; numpy arrays and finished run folders in."""
