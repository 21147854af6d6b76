"""Which videos there are, and how each is opened."""
