"""Report a comparison: the report's pages, tables, plots and verdicts, from results.json."""
