"""Import and export of the formats that others read."""
