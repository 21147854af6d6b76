"""Training and batch work on Ray Data and Ray Train."""
