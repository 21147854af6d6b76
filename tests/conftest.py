"""Property tests are the same at each run and take the time they need: a slow machine makes no test fail."""

from hypothesis import settings

settings.register_profile("aura", deadline=None, derandomize=True)
settings.load_profile("aura")
