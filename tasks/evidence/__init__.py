"""The join that every measure needs, made once and before them."""
