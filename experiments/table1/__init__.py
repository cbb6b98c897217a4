"""Kim et al., Table I: plan, cells, report."""
