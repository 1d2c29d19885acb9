"""The post-mortem: a blameless draft of what happened, made of what the ledger has and of nothing else. Pure.

``record``      what goes in: the incident, its timeline, its deliveries, the confirmed cause, the corrective actions
``claims``      what comes out: sections of claims, each with the entries that it rests on, or said to be unknown
``overview``    Summary and Impact
``course``      Detect, Triage, Mitigate
``whys``        five questions
``checks``      corrective actions: validation rules that would have noticed it, and ``contract`` as a data contract
``draft``       all of it together, and as a document for ``receivers.formats``
``likeness``    how like an incident is to a past one

A draft names no person, and calls no suspect a cause: a person confirms one (`streamdrift incidents postmortem --cause`).
"""
