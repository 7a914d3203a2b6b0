"""One supervised process: its slot, lock and record, spawn or adoption, output, and end."""
