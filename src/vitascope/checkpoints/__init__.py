"""Other people's files: what lies in them and under which names, read as data and never unpickled. One file a thing, a plain table a dialect."""
