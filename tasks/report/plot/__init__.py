"""How a figure is drawn: panels, axes, marks, legend, colours."""
