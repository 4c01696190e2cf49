"""What the HTML report has beside the tables: who gains, the picture of it, plain words, style and script."""
