"""From scores to figures, intervals and a report."""
