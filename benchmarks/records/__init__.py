"""The runs this project quotes: each measures one thing whole, and writes one record."""
