"""Before a long run: open every slide, say what is wrong, and what the run will take."""
