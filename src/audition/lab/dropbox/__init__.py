"""Camera Dropbox: its rules as a table, exact learning on it, environments and pictures."""
