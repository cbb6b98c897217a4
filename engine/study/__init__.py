"""From runs to an answer: replicates, study design, comparisons, contrasts."""
