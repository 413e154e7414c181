"""Charts as SVG and images as PNG."""
