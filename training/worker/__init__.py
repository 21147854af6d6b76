"""What one Ray Train worker does; `loop` is the way in."""
