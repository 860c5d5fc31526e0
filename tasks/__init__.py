"""The steps of a study, in groups by what they are about."""
