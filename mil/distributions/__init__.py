"""What predicted distributions look like, and whether they are right: tables and figures."""
