"""Assemble: events to columnar blocks, one per model and segment. Stateless but for the batch at hand.

``column``    JSON values of one feature to arrays
``vectors``   embeddings of one name, reduced to norm and direction
``block``     the columns of one model and segment, with times and source offsets
``assemble``  records to blocks
``labels``    delayed labels joined to their predictions
``wire``      a block as bytes, for the exchange topic
"""
