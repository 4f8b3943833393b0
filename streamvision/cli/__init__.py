"""argv -> one command. Each command lives in a module of its own and is imported only when it is called."""
