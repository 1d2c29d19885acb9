"""Assemble: events to columnar blocks, one per model and segment; stateless but for the batch at hand. And labels joined.

``column``    JSON values of one feature to arrays
``vectors``   embeddings of one name, reduced to norm and direction
``block``     the columns of one model and segment, with times and source offsets
``assemble``  records to blocks
``wire``      a block as bytes, for the exchange topic
``fresh``     which rows of a block were not seen before
``labels``    delayed labels joined to their predictions: the rule
``held``      what the join knows of each model
``waiting``   predictions that wait for their labels, within bounds
``measures``  error, loss and calibration of one prediction
"""
