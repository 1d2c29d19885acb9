"""What comes in: inference events, delayed labels, changes; decoded and checked against the contract."""
