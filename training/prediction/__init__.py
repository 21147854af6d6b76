"""Videos to scores on Ray Data, and the rows of a batch prediction."""
