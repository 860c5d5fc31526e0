"""Text as words and tokens: what every group of steps shares."""
