"""The report: one page that holds everything a reader needs to judge a run, and works offline."""
