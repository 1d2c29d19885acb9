"""Service level objectives of models: what counts as good, how much of the budget is left, and when its burning is worth a page.

``measures``    what detection counts, per model and minute of event time, and its form on the wire
``indicators``  which of these counts an objective is about
``openslo``     objectives as OpenSLO files have them
``counts``      good and total over rolling windows
``burn``        budgets, burn rates, and when they open and close an alert

Pure: no clock, no files but those that ``openslo`` is handed, no Kafka.
"""
