"""Why training will not learn, with the cause and its cure: of data, and of a program that trains."""
