"""Property tests have no deadline: these machines are slow and noisy, and time is not what is tested."""

from hypothesis import settings

settings.register_profile("taskgram", deadline=None)
settings.load_profile("taskgram")
