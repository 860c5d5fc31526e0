"""Language models: trained, loaded, scored and asked."""
