"""The demo: recorded flights as the traffic of a delay-prediction model, with three incidents put in.

``flights``    reads the recording (``flights.csv.gz``; where it is from: ``SOURCE.md``).
``incidents``  plays it as inference events, with the incidents of ``INCIDENTS`` put in at fixed event times.
``receiver``   a local webhook receiver that checks signatures and keeps what it was sent.
``timeline``   prints the incidents as they unfold.

None of them runs the pipeline; ``app.demo`` joins them to it.
"""
