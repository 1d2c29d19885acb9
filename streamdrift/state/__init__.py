"""State as bytes: what objects are made of (``codec``), and how that is put into records (``records``)."""
