"""Language models: trained, loaded, scored, and generating."""
