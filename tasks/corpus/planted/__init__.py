"""The planted world: documents and tasks whose right answers are known."""
