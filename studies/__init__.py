"""Studies behind the pages of docs/: each is a command that writes its table and its figure."""
