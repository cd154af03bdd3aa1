"""Other people's files, read as data and never unpickled: what lies in them, and under which names."""
