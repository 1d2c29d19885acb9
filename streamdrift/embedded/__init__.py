"""The pipeline without Kafka: recorded events in, alerts, incidents and a report out, by the same stages as the services.

``run``        events through the pipeline
``incidents``  their incidents, by the escalation worker's own policy
``summary``    what a run came to, as JSON, as a sentence, as a report
``replay``     what `streamdrift replay` does
``demo``       what `streamdrift demo` does: with the escalation worker and a webhook receiver
"""
