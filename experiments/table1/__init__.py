"""Kim et al., Table I: plan, cells, studies, report."""
