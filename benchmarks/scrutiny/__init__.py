"""What the honest report is made of: pairs of unseen people under every condition, their scores, and the verdict."""
