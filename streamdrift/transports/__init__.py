"""The only stream I/O: Kafka, files, and memory for tests and the embedded pipeline."""
