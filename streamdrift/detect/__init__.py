"""Detect: blocks to alerts. A pure function of the events in order and the state that they left.

``baseline``      the reference window, and what is read off it
``adwin``, ``page_hinkley``, ``ks``   detectors, one file each, behind ``base.Detector``
``confirm``       the scan that a candidate must pass
``calibration``, ``dependence``   what is normal for its sums, by the reference's own restlessness
``faults``        missing, invalid and unseen values: a scan of shares
``embedding``     vectors of one name to the series that watch them
``series``        one feature in one segment: learns, watches, opens and resolves its alert
``traffic``       a model's arrivals: silence, volume, shares of its segments
``bank``          all series of a worker
"""
