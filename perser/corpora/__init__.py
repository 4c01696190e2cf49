"""One file a corpus: its published layout, untouched, into the two tables and the card."""
