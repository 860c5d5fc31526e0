"""The settings of a study, as a user writes them in its TOML file."""
