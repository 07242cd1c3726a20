"""An evaluation → a terminal table, CSV, JSON and one HTML page that opens offline."""
