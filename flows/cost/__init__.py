"""What a study will cost, before anything is spent."""
